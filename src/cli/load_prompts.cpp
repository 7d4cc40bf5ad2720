#include "cli/load_prompts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "base/error.h"
#include "base/random.h"
#include "cli/conversations.h"
#include "cli/workload.h"

namespace weft::cli {
namespace {

// Streams of random numbers: prompts have their own, these are what they share.
constexpr uint64_t kInputStream = uint64_t{1} << 40, kOutputStream = kInputStream + 1,
                   kPrefixStream = kInputStream + (1 << 20);
// The first ids of a vocabulary are its special tokens and single bytes.
constexpr int64_t kFirstPlainId = 256;
constexpr int64_t kMaxOutputLen = int64_t{1} << 20;

// Words that are one token each in the vocabularies of the families that Weft knows.
constexpr const char* kWords[] = {
    "the",  "of",    "and",  "to",   "in",    "is",    "that", "for",  "it",    "was",   "on",
    "are",  "as",    "with", "they", "be",    "at",    "one",  "have", "this",  "from",  "or",
    "had",  "by",    "not",  "but",  "what",  "some",  "we",   "can",  "out",   "other", "were",
    "all",  "there", "when", "up",   "use",   "your",  "how",  "said", "an",    "each",  "she",
    "time", "if",    "will", "way",  "about", "many",  "then", "them", "write", "would", "like",
    "so",   "these", "her",  "long", "make",  "thing", "see",  "him",  "two"};

// A length of [mean * (1 - ratio), mean * (1 + ratio)].
int64_t spread(int64_t mean, double ratio, uint64_t seed, uint64_t stream, uint64_t index) {
  const auto low = std::max<int64_t>(1, std::llround(static_cast<double>(mean) * (1 - ratio)));
  const auto high =
      std::max(low, static_cast<int64_t>(std::llround(static_cast<double>(mean) * (1 + ratio))));
  const auto width = static_cast<uint64_t>(high - low + 1);
  return low + static_cast<int64_t>(uniform_bits(seed, stream, index) % width);
}

class Writer {
 public:
  Writer(bool as_ids, int64_t vocab_size, uint64_t seed)
      : as_ids_(as_ids), vocab_size_(vocab_size), seed_(seed) {}

  void add(int64_t count, uint64_t stream, LoadPrompt* prompt) const {
    const int64_t first = vocab_size_ > 2 * kFirstPlainId ? kFirstPlainId : 0;
    for (int64_t i = 0; i < count; ++i) {
      const uint64_t bits = uniform_bits(seed_, stream, static_cast<uint64_t>(i));
      if (as_ids_) {
        prompt->ids.push_back(static_cast<int32_t>(
            first + static_cast<int64_t>(bits % static_cast<uint64_t>(vocab_size_ - first))));
      } else {
        if (!prompt->text.empty()) prompt->text += ' ';
        prompt->text += kWords[bits % std::size(kWords)];
      }
    }
  }

 private:
  bool as_ids_;
  int64_t vocab_size_;
  uint64_t seed_;
};

[[noreturn]] void refuse_line(const std::string& path, size_t number, const char* why) {
  throw Error(ErrorKind::kUsage, fmt::format("{} line {}: {}", path, number, why), "",
              R"(a line is {"prompt": "...", "output_tokens": 128}; the number may be missing)");
}

std::vector<LoadPrompt> read_custom(const std::string& path, int num_prompts, int64_t output_len) {
  std::ifstream file(path);
  if (!file) {
    throw Error(ErrorKind::kUsage, fmt::format("cannot read '{}'", path), "",
                "name a file of JSON lines with --dataset-path");
  }
  std::vector<LoadPrompt> prompts;
  size_t number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const nlohmann::json json = nlohmann::json::parse(line, nullptr, false);
    if (!json.is_object() || !json.contains("prompt") || !json["prompt"].is_string())
      refuse_line(path, number, "no object with a prompt");
    LoadPrompt prompt{json["prompt"].get<std::string>(), {}, output_len, 0};
    if (output_len < 0) {
      const nlohmann::json length = json.value("output_tokens", nlohmann::json());
      if (!length.is_number_integer() || length.get<int64_t>() < 1 ||
          length.get<int64_t>() > kMaxOutputLen)
        refuse_line(path, number, "--custom-output-len is -1 and output_tokens no number of them");
      prompt.output_len = length.get<int64_t>();
    }
    prompts.push_back(std::move(prompt));
  }
  if (prompts.empty()) throw Error(ErrorKind::kUsage, fmt::format("{} holds no prompt", path));
  // Fewer lines than prompts are asked again from the first.
  const size_t num_lines = prompts.size(), wanted = static_cast<size_t>(num_prompts);
  prompts.reserve(wanted);
  for (size_t i = 0; prompts.size() < wanted; ++i) prompts.push_back(prompts[i % num_lines]);
  prompts.resize(wanted);
  return prompts;
}

}  // namespace

void LoadDataset::declare(OptionSet* options) {
  options->group("Prompts");
  options->add("--dataset-name", &name,
               {"NAME",
                "random: equal lengths; mixed: lengths as of chats; prefix_repetition: shared "
                "beginnings; custom: a file; sharegpt: a file of recorded conversations",
                "",
                {"random", "mixed", "prefix_repetition", "custom", "sharegpt"}});
  options->add("--num-prompts", &num_prompts, {"N", "requests"}, 1, 10'000'000);
  options->add("--seed", &seed, {"N", "of prompts, lengths and arrivals"});
  options->add("--random-input-len,--input-len", &random_input_len, {"TOKENS", "of a prompt"}, 1,
               kMaxOutputLen);
  options->add("--random-output-len,--output-len", &random_output_len, {"TOKENS", "of an answer"},
               1, kMaxOutputLen);
  options->add("--random-range-ratio", &random_range_ratio,
               {"R", "lengths are spread evenly over (1 - R) to (1 + R) of these"}, 0.0F, 0.999F);
  options->add("--random-prefix-len", &random_prefix_len,
               {"TOKENS", "that all prompts begin with, besides their own"}, 0, kMaxOutputLen);
  options->add("--random-vocab-size", &vocab_size,
               {"N", "ids of random prompts lie below it; no more than the model has"}, 2, 1 << 24);
  options->add("--prefix-repetition-prefix-len", &prefix_len, {"TOKENS", "of a shared beginning"},
               1, kMaxOutputLen);
  options->add("--prefix-repetition-suffix-len", &suffix_len, {"TOKENS", "of a prompt's own end"},
               1, kMaxOutputLen);
  options->add("--prefix-repetition-num-prefixes", &num_prefixes, {"N", "different beginnings"}, 1,
               1 << 20);
  options->add("--prefix-repetition-output-len", &repetition_output_len, {"TOKENS", "of an answer"},
               1, kMaxOutputLen);
  options->add("--dataset-path", &path,
               {"FILE", "of custom prompts, a JSON object a line; or of ShareGPT"});
  options->add("--custom-output-len", &custom_output_len,
               {"TOKENS", "of an answer; -1: each line's output_tokens"}, -1, kMaxOutputLen);
  options->add("--sharegpt-output-len", &sharegpt_output_len,
               {"TOKENS", "of an answer", "as long as the recorded one"}, 1, kMaxOutputLen);
}

std::vector<LoadPrompt> LoadDataset::make(bool as_ids, const CountTokens& count_tokens) const {
  if (path.empty() && (name == "custom" || name == "sharegpt"))
    throw Error(ErrorKind::kUsage, fmt::format("--dataset-name {} needs --dataset-path", name),
                "its prompts are those of a file");
  if (name == "custom") return read_custom(path, num_prompts, custom_output_len);
  if (name == "sharegpt")
    return choose_conversations(read_conversations(path), static_cast<size_t>(num_prompts),
                                sharegpt_output_len, seed, count_tokens);
  const Writer writer(as_ids, vocab_size, seed);
  const std::vector<Lengths> chats =
      name == "mixed" ? chat_lengths(num_prompts, seed) : std::vector<Lengths>();
  std::vector<LoadPrompt> prompts(static_cast<size_t>(num_prompts));
  for (size_t i = 0; i < prompts.size(); ++i) {
    LoadPrompt& prompt = prompts[i];
    if (name == "mixed") {
      writer.add(chats[i].input, i, &prompt);
      prompt.output_len = chats[i].output;
    } else if (name == "prefix_repetition") {
      writer.add(prefix_len, kPrefixStream + i % static_cast<uint64_t>(num_prefixes), &prompt);
      writer.add(suffix_len, i, &prompt);
      prompt.output_len = repetition_output_len;
    } else {
      writer.add(random_prefix_len, kPrefixStream, &prompt);
      writer.add(spread(random_input_len, random_range_ratio, seed, kInputStream, i), i, &prompt);
      prompt.output_len = spread(random_output_len, random_range_ratio, seed, kOutputStream, i);
    }
  }
  return prompts;
}

std::string LoadDataset::mend_of_length() const {
  if (name == "random") return "shorten them with --random-input-len and --random-output-len";
  if (name == "prefix_repetition")
    return "shorten them with --prefix-repetition-prefix-len, -suffix-len and -output-len";
  if (name == "custom") return "shorten them in --dataset-path, or with --custom-output-len";
  if (name == "sharegpt") return "shorten their answers with --sharegpt-output-len";
  return "choose another --dataset-name";
}

std::vector<double> arrival_times(int count, double rate, double burstiness, uint64_t seed) {
  std::vector<double> times(static_cast<size_t>(count), 0.0);
  if (!std::isfinite(rate)) return times;
  std::mt19937_64 bits(seed);
  std::gamma_distribution<double> gap(burstiness, 1.0 / (rate * burstiness));
  double at = 0;
  for (double& time : times) time = at += gap(bits);
  if (at > 0) {
    const double scale = static_cast<double>(count) / rate / at;
    for (double& time : times) time *= scale;
  }
  return times;
}

std::vector<double> arrival_times(int count, const RampUp& ramp, double burstiness, uint64_t seed) {
  std::vector<double> times;
  std::mt19937_64 bits(seed);
  double at = 0;
  for (int i = 0; i < count; ++i) {
    const double part = static_cast<double>(i) / std::max(1, count - 1);
    const double rate = ramp.is_exponential ? ramp.first * std::pow(ramp.last / ramp.first, part)
                                            : ramp.first + (ramp.last - ramp.first) * part;
    at += std::gamma_distribution<double>(burstiness, 1.0 / (rate * burstiness))(bits);
    times.push_back(at);
  }
  return times;
}

}  // namespace weft::cli
