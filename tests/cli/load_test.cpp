// The load generator's parts that need no server.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "cli/conversations.h"
#include "cli/load_figures.h"
#include "cli/load_prompts.h"
#include "cli/load_run.h"

namespace weft::cli {
namespace {

using ::testing::ElementsAre;

TEST(Arrivals, FollowTheRateAndTheSeed) {
  EXPECT_THAT(arrival_times(3, INFINITY, 1, 0), ElementsAre(0, 0, 0));
  const auto times = arrival_times(4000, 50, 1, 7);
  EXPECT_TRUE(std::ranges::is_sorted(times));
  EXPECT_NEAR(times.back(), 4000 / 50.0, 1e-6);
  EXPECT_EQ(times, arrival_times(4000, 50, 1, 7));
  EXPECT_NE(times, arrival_times(4000, 50, 1, 8));
  // A gamma distribution's gaps vary by 1 / sqrt(shape) of their mean.
  for (const double burstiness : {0.25, 1.0, 16.0}) {
    const auto at = arrival_times(20'000, 50, burstiness, 3);
    double sum = 0, squares = 0;
    for (size_t i = 1; i < at.size(); ++i) {
      sum += at[i] - at[i - 1];
      squares += (at[i] - at[i - 1]) * (at[i] - at[i - 1]);
    }
    const double n = static_cast<double>(at.size() - 1), middle = sum / n;
    EXPECT_NEAR(std::sqrt(squares / n - middle * middle) / middle, 1 / std::sqrt(burstiness),
                0.1 / std::sqrt(burstiness));
  }
}

TEST(Arrivals, FollowARampFromItsFirstRateToItsLast) {
  constexpr int kCount = 20'000;
  // Of the 400 requests around one.
  const auto rate_at = [](const std::vector<double>& times, int middle) {
    return 400 /
           (times[static_cast<size_t>(middle + 200)] - times[static_cast<size_t>(middle - 200)]);
  };
  const auto even = arrival_times(kCount, RampUp{false, 10, 90}, 100, 1);
  EXPECT_TRUE(std::ranges::is_sorted(even));
  EXPECT_NEAR(rate_at(even, 200), 10, 2);
  EXPECT_NEAR(rate_at(even, kCount / 2), 50, 3);
  EXPECT_NEAR(rate_at(even, kCount - 201), 90, 5);
  const auto factors = arrival_times(kCount, RampUp{true, 10, 90}, 100, 1);
  EXPECT_NEAR(rate_at(factors, kCount / 2), 30, 2);
  EXPECT_NEAR(rate_at(factors, kCount - 201), 90, 5);
  EXPECT_EQ(factors, arrival_times(kCount, RampUp{true, 10, 90}, 100, 1));
  EXPECT_EQ(arrival_times(1, RampUp{false, 1, 2}, 1, 0).size(), 1u);
}

TEST(LoadDataset, FilesWantAPath) {
  for (const char* name : {"custom", "sharegpt"}) {
    LoadDataset dataset;
    dataset.name = name;
    try {
      dataset.make(true);
      ADD_FAILURE() << name;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr(std::string(name) + " needs --dataset-path"));
    }
  }
}

TEST(LoadDataset, RandomPromptsHaveTheirLengths) {
  LoadDataset dataset;
  dataset.num_prompts = 200;
  dataset.random_input_len = 50;
  dataset.random_output_len = 20;
  dataset.random_prefix_len = 7;
  dataset.vocab_size = 1000;
  for (const LoadPrompt& prompt : dataset.make(true)) {
    EXPECT_EQ(prompt.ids.size(), 57u);
    EXPECT_EQ(prompt.output_len, 20);
    EXPECT_TRUE(std::ranges::all_of(prompt.ids, [](int32_t id) { return id >= 256 && id < 1000; }));
    EXPECT_TRUE(std::equal(prompt.ids.begin(), prompt.ids.begin() + 7,
                           dataset.make(true).front().ids.begin()));
  }
  dataset.random_range_ratio = 0.5F;
  int64_t least = 1000, most = 0;
  for (const LoadPrompt& prompt : dataset.make(true)) {
    least = std::min(least, prompt.output_len);
    most = std::max(most, prompt.output_len);
  }
  EXPECT_EQ(least, 10);
  EXPECT_EQ(most, 30);
  const LoadPrompt words = dataset.make(false).front();
  EXPECT_TRUE(words.ids.empty());
  EXPECT_FALSE(words.text.empty());
}

TEST(LoadDataset, PrefixesRepeat) {
  LoadDataset dataset;
  dataset.name = "prefix_repetition";
  dataset.num_prompts = 6;
  dataset.prefix_len = 8;
  dataset.suffix_len = 4;
  dataset.num_prefixes = 3;
  const auto prompts = dataset.make(true);
  const auto prefix = [&](size_t i) {
    return std::vector(prompts[i].ids.begin(), prompts[i].ids.begin() + 8);
  };
  EXPECT_EQ(prefix(0), prefix(3));
  EXPECT_NE(prefix(0), prefix(1));
  EXPECT_NE(prompts[0].ids, prompts[3].ids);
  EXPECT_EQ(prompts[0].ids.size(), 12u);
}

TEST(LoadDataset, CustomLinesAreReadOrRefused) {
  LoadDataset dataset;
  dataset.name = "custom";
  dataset.num_prompts = 3;
  dataset.path = testing::TempDir() + "weft_load_custom.jsonl";
  std::ofstream(dataset.path)
      << "{\"prompt\": \"a\", \"output_tokens\": 5}\n\n{\"prompt\": \"b\"}\n";
  const auto prompts = dataset.make(true);
  EXPECT_EQ(prompts[0].text, "a");
  EXPECT_EQ(prompts[1].text, "b");
  EXPECT_EQ(prompts[2].text, "a");
  EXPECT_EQ(prompts[0].output_len, 256);
  dataset.custom_output_len = -1;
  EXPECT_THROW(dataset.make(true), Error);  // the second line says none
  std::ofstream(dataset.path) << "nonsense\n";
  EXPECT_THROW(dataset.make(true), Error);
}

// A token a byte.
std::vector<int64_t> bytes_of(const std::vector<std::string>& texts) {
  std::vector<int64_t> sizes;
  for (const std::string& text : texts) sizes.push_back(static_cast<int64_t>(text.size()));
  return sizes;
}

TEST(LoadDataset, ConversationsAreThoseOfShareGpt) {
  LoadDataset dataset;
  dataset.name = "sharegpt";
  dataset.num_prompts = 5;
  dataset.path = testing::TempDir() + "weft_load_sharegpt.json";
  const auto entry = [](const std::string& question, const std::string& answer) {
    return nlohmann::json{{"id", "x"},
                          {"conversations",
                           {{{"from", "human"}, {"value", question}},
                            {{"from", "gpt"}, {"value", answer}},
                            {{"from", "human"}, {"value", "and then?"}}}}};
  };
  const std::string long_text(1025, 'a');
  nlohmann::json file = {entry("first", "answer"),
                         entry("second", "an answer"),
                         entry("one", "too short a question"),
                         entry("too short an answer", "no"),
                         entry(long_text, "answer"),
                         entry("too long", long_text + long_text)};
  file.push_back({{"conversations", {{{"value", "asked in vain"}}}}});
  file.push_back({{"conversations", nullptr}});
  file.push_back({{"id", "y"}});
  std::ofstream(dataset.path) << file;
  const auto prompts = dataset.make(true, bytes_of);
  std::map<std::string, std::pair<int64_t, int64_t>> lengths;
  for (const LoadPrompt& prompt : prompts)
    lengths[prompt.text] = {prompt.input_len, prompt.output_len};
  EXPECT_EQ(lengths, (std::map<std::string, std::pair<int64_t, int64_t>>{{"first", {5, 6}},
                                                                         {"second", {6, 9}}}));
  ASSERT_EQ(prompts.size(), 5u);  // two of them, again and again
  EXPECT_EQ(prompts[0].text, prompts[2].text);
  dataset.sharegpt_output_len = 7;  // a short answer is no reason to leave one out then
  dataset.num_prompts = 3;
  for (const LoadPrompt& prompt : dataset.make(true, bytes_of)) EXPECT_EQ(prompt.output_len, 7);
  for (const char* text : {"{}", "[]", "[{\"conversations\": []}]", "[{\"conversations\""}) {
    std::ofstream(dataset.path) << text;
    EXPECT_THROW(dataset.make(true, bytes_of), Error) << text;
  }
  std::ofstream(dataset.path) << nlohmann::json{entry("one", "no")};
  EXPECT_THROW(
      dataset.make(true, [](const auto& texts) { return std::vector<int64_t>(texts.size(), 3); }),
      Error);
}

TEST(LoadDataset, ConversationsAreShuffledByTheSeed) {
  std::vector<Exchanged> known;
  for (int i = 0; i < 300; ++i) known.push_back({"question " + std::to_string(i), "answer"});
  const auto texts = [&](uint64_t seed) {
    std::vector<std::string> chosen;
    for (const LoadPrompt& prompt : choose_conversations(known, 200, 0, seed, bytes_of))
      chosen.push_back(prompt.text);
    return chosen;
  };
  EXPECT_EQ(texts(1), texts(1));
  EXPECT_NE(texts(1), texts(2));
  const auto once = texts(1);
  EXPECT_EQ(std::set(once.begin(), once.end()).size(), 200u);
}

LoadAnswer answer_at(double sent, std::vector<double> pieces, int64_t output) {
  LoadAnswer answer;
  answer.sent_s = sent;
  answer.pieces_s = std::move(pieces);
  answer.ended_s = answer.pieces_s.back();
  answer.input_tokens = 10;
  answer.output_tokens = output;
  return answer;
}

TEST(LoadFigures, AreThoseOfVllm) {
  LoadRun run;
  run.seconds = 4;
  run.cpu_seconds = 1;
  run.answers.push_back(answer_at(0, {0.5, 1.0, 1.5}, 3));  // ttft 500, tpot 500, e2el 1500
  run.answers.push_back(answer_at(1, {1.1, 1.3}, 5));       // ttft 100, tpot 50, e2el 300
  run.answers.push_back(answer_at(2, {2.2}, 1));            // ttft 200, no tpot
  run.answers.push_back({});
  run.answers.back().error = "HTTP 429: full";
  LoadFigureOptions options;
  options.percentiles = {50, 99.9};
  options.goodput_ms = parse_goodput({"ttft:201", "tpot:100"});
  options.detailed = true;
  const auto figures = load_json(run, options);
  const std::map<std::string, double> expected = {{"duration", 4},
                                                  {"completed", 3},
                                                  {"failed", 1},
                                                  {"total_input_tokens", 30},
                                                  {"total_output_tokens", 9},
                                                  {"request_throughput", 0.75},
                                                  {"request_goodput", 0.5},
                                                  {"output_throughput", 2.25},
                                                  {"total_token_throughput", 9.75},
                                                  {"max_concurrent_requests", 2},
                                                  {"client_cpu_share", 0.25},
                                                  {"mean_ttft_ms", 800.0 / 3},
                                                  {"median_ttft_ms", 200},
                                                  {"mean_tpot_ms", 275},
                                                  {"mean_itl_ms", 400},
                                                  {"median_e2el_ms", 300},
                                                  {"p50_tpot_ms", 275},
                                                  {"p99.9_ttft_ms", 499.4}};
  for (const auto& [key, value] : expected) {
    ASSERT_TRUE(figures.contains(key)) << key;
    EXPECT_NEAR(figures[key].get<double>(), value, 1e-6) << key;
  }
  EXPECT_EQ(figures["errors_by_reason"]["HTTP 429: full"], 1);
  EXPECT_EQ(figures["errors"][3], "HTTP 429: full");
  EXPECT_EQ(figures["input_lens"].size(), 4u);
  EXPECT_FALSE(load_lines(figures, options).empty());
}

TEST(LoadFigures, OptionsAreChecked) {
  EXPECT_THAT(parse_percentiles("50,99.9"), ElementsAre(50, 99.9));
  EXPECT_THROW(parse_percentiles("101"), Error);
  EXPECT_THROW(parse_percentiles("50,"), Error);
  EXPECT_THROW(parse_metrics("ttft,tptt"), Error);
  EXPECT_EQ(parse_goodput({"ttft:200 e2el:9"}).at("e2el"), 9);
  for (const char* target : {"ttft", "ttft:", "ttft:x", "ttft:-1", "itl:5", "speed:5"})
    EXPECT_THROW(parse_goodput({target}), Error) << target;
}

TEST(LoadBody, IsThatOfTheRoute) {
  LoadTarget target;
  target.model = "m";
  target.fields = R"({"ignore_eos": true, "min_tokens": 3, "stream_options": {}})";
  const auto completion = nlohmann::json::parse(load_body(target, {"", {5, 6}, 9}));
  EXPECT_EQ(completion["prompt"], (std::vector<int>{5, 6}));
  EXPECT_EQ(completion["max_tokens"], 9);
  EXPECT_EQ(completion["ignore_eos"], true);
  EXPECT_EQ(completion["min_tokens"], 3);
  EXPECT_EQ(completion["stream_options"], nlohmann::json::object());
  target.fields = "{}";
  target.is_chat = true;
  const auto chat = nlohmann::json::parse(load_body(target, {"hello", {}, 9}));
  EXPECT_EQ(chat["messages"][0]["content"], "hello");
  EXPECT_EQ(chat["max_completion_tokens"], 9);
  EXPECT_EQ(chat["stream_options"]["include_usage"], true);
}

}  // namespace
}  // namespace weft::cli
