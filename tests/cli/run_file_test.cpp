#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "cli/answer_file.h"
#include "cli/fake_engine.h"
#include "cli/spooled_input.h"

namespace weft::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;

// Answers by custom_id, less what the clock and the state of the cache decide.
using Answers = std::map<std::string, json>;

Answers answers_in(const std::string& text) {
  Answers answers;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    json answer = json::parse(line);
    json& body = answer["response"]["body"];
    body.erase("created");
    if (body.contains("usage")) body["usage"].erase("prompt_tokens_details");
    const std::string custom_id = answer["custom_id"];
    EXPECT_TRUE(answers.emplace(custom_id, std::move(answer)).second) << custom_id;
  }
  return answers;
}

class RunFile : public testing::Test {
 protected:
  void SetUp() override {
    folder_ =
        fs::temp_directory_path() / ("weft_run_file_" + std::to_string(::getpid()) + "_" +
                                     testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
    // Each prompt has an answer of its own.
    program_.state.reply = [](const engine::Request& request, int choice) {
      return "<" + FakeTokenizer().decode(request.prompt_ids, true) + std::to_string(choice) + ">";
    };
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path write(const std::string& text, const std::string& name = "prompts.jsonl") {
    std::ofstream(folder_ / name, std::ios::binary) << text;
    return folder_ / name;
  }
  std::string out_text() const {
    std::ifstream in(out(), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  fs::path out() const { return folder_ / "answers.jsonl"; }

  int run(const fs::path& file, std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"run", ".", "--file", file};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return program_.run(arguments);
  }
  int run_to_out(const fs::path& file, std::vector<std::string> more = {}) {
    more.insert(more.end(), {"--out", out()});
    return run(file, more);
  }
  fs::path write_numbered(int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += "{\"prompt\": \"prompt " + std::to_string(i) + "\"}\n";
    return write(text);
  }

  fs::path folder_;
  Program program_;
};

TEST_F(RunFile, AnswersEveryKindOfLine) {
  const fs::path file = write(
      R"({"custom_id": "chat", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": [{"role": "user", "content": "hi"}]}})"
      "\n"
      R"({"custom_id": "text", "method": "POST", "url": "/v1/completions", "body": {"prompt": "once", "max_tokens": 100}})"
      "\n\n"
      R"({"prompt": "alone"})"
      "\r\n"
      R"("bare")");
  ASSERT_EQ(run(file), 0) << program_.err;
  const Answers answers = answers_in(program_.out);
  ASSERT_EQ(answers.size(), 4u);
  const json& chat = answers.at("chat")["response"]["body"];
  EXPECT_EQ(answers.at("chat")["response"]["status_code"], 200);
  EXPECT_TRUE(answers.at("chat")["error"].is_null());
  EXPECT_EQ(chat["object"], "chat.completion");
  EXPECT_EQ(chat["model"], fs::current_path().filename().string());  // as the server calls "."
  EXPECT_EQ(chat["choices"][0]["message"],
            json::parse(R"({"role": "assistant", "content": "<user:hi\n0>"})"));
  EXPECT_EQ(chat["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(chat["usage"]["prompt_tokens"], 8);
  EXPECT_EQ(chat["usage"]["completion_tokens"], 11);
  EXPECT_EQ(chat["usage"]["total_tokens"], 19);
  const json& text = answers.at("text")["response"]["body"];
  EXPECT_EQ(text["object"], "text_completion");
  EXPECT_EQ(text["choices"][0]["text"], "<\x01once0>");
  EXPECT_EQ(answers.at("line-4")["response"]["body"]["choices"][0]["message"]["content"],
            "<user:alone\n0>");
  EXPECT_EQ(answers.at("line-5")["response"]["body"]["choices"][0]["message"]["content"],
            "<user:bare\n0>");
  EXPECT_THAT(program_.err, HasSubstr("4 lines answered in "));
}

TEST_F(RunFile, ManyAreAnsweredAtOnceInAWindow) {
  ASSERT_EQ(run(write_numbered(100)), 0) << program_.err;
  EXPECT_EQ(answers_in(program_.out).size(), 100u);
  const auto window = static_cast<size_t>(4 * program_.state.loaded_with.max_num_seqs);
  EXPECT_EQ(program_.state.most_open, std::min<size_t>(window, 100));
}

TEST_F(RunFile, MistakesAreShownBeforeTheModelIsLoaded) {
  const fs::path file = write(
      "{\"prompt\": \"good\"}\n{\"prompt\": 5}\n{\"prompt\": \"x\", \"top_p\": 2}\nnonsense\n");
  EXPECT_EQ(run_to_out(file), 2);
  EXPECT_THAT(program_.err, AllOf(HasSubstr("line 2: prompt is 5"), HasSubstr("line 3: top_p is 2"),
                                  HasSubstr("line 4 is no JSON")));
  EXPECT_EQ(program_.state.num_loads, 0);
  EXPECT_FALSE(fs::exists(out()));
}

TEST_F(RunFile, ManyMistakesAreCounted) {
  std::string text;
  for (int i = 0; i < 20; ++i) text += "5\n";
  EXPECT_EQ(run(write(text)), 2);
  EXPECT_THAT(program_.err, AllOf(HasSubstr("line 8 is 5"), Not(HasSubstr("line 9 is 5")),
                                  HasSubstr("and 12 lines more")));
}

TEST_F(RunFile, CustomIdsAreUnique) {
  EXPECT_EQ(run(write("{\"custom_id\": \"a\", \"prompt\": \"x\"}\n\"y\"\n"
                      "{\"custom_id\": \"a\", \"prompt\": \"z\"}\n")),
            2);
  EXPECT_THAT(program_.err, HasSubstr("lines 1 and 3 have one custom_id, 'a'"));
  EXPECT_EQ(run(write("\"x\"\n{\"custom_id\": \"line-1\", \"prompt\": \"y\"}\n")), 2);
  EXPECT_THAT(program_.err, HasSubstr("lines 1 and 2 have one custom_id, 'line-1'"));
}

TEST_F(RunFile, FilesThatAreNoneAreRefused) {
  EXPECT_EQ(run(folder_ / "missing.jsonl"), 2);
  EXPECT_THAT(program_.err, HasSubstr("cannot be read"));
  EXPECT_EQ(run(folder_), 2);
  EXPECT_THAT(program_.err, HasSubstr("is no file"));
  EXPECT_EQ(run(write(" \n\r\n")), 2);
  EXPECT_THAT(program_.err, HasSubstr("holds no request"));
  const fs::path file = write("\"x\"\n");
  EXPECT_EQ(run(file, {"--out", file}), 2);
  EXPECT_THAT(program_.err, HasSubstr("name the same file"));
  EXPECT_EQ(run(file, {"--out", "/nowhere/answers.jsonl"}), 2);
  EXPECT_THAT(program_.err, HasSubstr("cannot be written"));
  EXPECT_THAT(program_.err, HasSubstr("make the folder first"));
  EXPECT_EQ(program_.state.num_loads, 0);
}

TEST_F(RunFile, OptionsThatContradictAFileAreRefused) {
  const fs::path file = write("\"x\"\n");
  for (const std::vector<std::string>& more :
       {std::vector<std::string>{"-p", "x"}, {"--prompt-ids", "1"}, {"--json"}}) {
    EXPECT_EQ(run(file, more), 2);
    EXPECT_THAT(program_.err, HasSubstr("are both given"));
  }
  EXPECT_EQ(program_.run({"run", ".", "-p", "x", "--out", "y"}), 2);
  EXPECT_THAT(program_.err, HasSubstr("--out needs --file"));
  EXPECT_EQ(program_.run({"run", ".", "-p", "x", "--overwrite"}), 2);
  EXPECT_THAT(program_.err, HasSubstr("--overwrite needs --file"));
  program_.environment["WEFT_PROMPT"] = "x";  // weaker than the flag
  EXPECT_EQ(run(file), 0) << program_.err;
}

TEST_F(RunFile, OptionsAreTheDefaultsOfLines) {
  const fs::path file = write(
      "\"x\"\n"
      "{\"prompt\": \"x\", \"temperature\": 2}\n"
      "{\"url\": \"/v1/completions\", \"body\": {\"prompt\": \"x\"}}\n");
  ASSERT_EQ(run(file), 0) << program_.err;
  const auto& submitted = program_.state.submitted;
  ASSERT_EQ(submitted.size(), 3u);
  EXPECT_EQ(submitted[0].sampling.temperature, 0.0f);
  EXPECT_EQ(submitted[0].sampling.max_tokens, 512);
  EXPECT_EQ(submitted[1].sampling.temperature, 2.0f);
  EXPECT_EQ(submitted[2].sampling.temperature, 1.0f);
  EXPECT_EQ(submitted[2].sampling.max_tokens, 16);
  ASSERT_EQ(run(file, {"--temperature", "0.5", "-n", "9", "--stop", "q", "--logits-hash"}), 0);
  EXPECT_EQ(submitted[3].sampling.temperature, 0.5f);
  EXPECT_EQ(submitted[4].sampling.temperature, 2.0f);
  EXPECT_EQ(submitted[5].sampling.temperature, 0.5f);
  EXPECT_EQ(submitted[5].sampling.max_tokens, 9);
  EXPECT_THAT(submitted[5].sampling.stop, ElementsAre("q"));
  EXPECT_EQ(submitted[5].sampling.top_p, 1.0f);
  EXPECT_TRUE(answers_in(program_.out)
                  .at("line-3")["response"]["body"]["choices"][0]["logits_hash"]
                  .is_string());
  ASSERT_EQ(run(file, {"--top-p", "0.5", "--top-k", "7", "--stop-token-ids", "9"}), 0);
  for (size_t line = 6; line < 9; ++line) {
    EXPECT_EQ(submitted[line].sampling.top_p, 0.5f);
    EXPECT_EQ(submitted[line].sampling.top_k, 7);
    EXPECT_THAT(submitted[line].sampling.stop_token_ids, ElementsAre(9));
  }
}

TEST_F(RunFile, AnswersEndWhereTheContextDoes) {
  program_.state.max_model_len = 20;
  ASSERT_EQ(run(write("{\"prompt\": \"hi\", \"ignore_eos\": true}\n")), 0) << program_.err;
  EXPECT_EQ(program_.state.submitted[0].sampling.max_tokens, 20 - 8);
  // As `weft run -p` cuts it.
  ASSERT_EQ(run(write("{\"prompt\": \"hi\", \"min_tokens\": 100}\n")), 0) << program_.err;
  EXPECT_EQ(program_.state.submitted[1].sampling.min_tokens, 20 - 8);
}

TEST_F(RunFile, PromptsAreCutToTheContextWhereTheyAskForIt) {
  program_.state.max_model_len = 20;
  const std::string words(50, 'x');
  ASSERT_EQ(run(write(R"({"prompt": ")" + words +
                      R"(", "truncate_prompt_tokens": -1, "max_tokens": 5})")),
            0)
      << program_.err;
  EXPECT_EQ(program_.state.submitted.at(0).prompt_ids.size(), 15u);
}

TEST_F(RunFile, ALineThatFailsDoesNotStopTheOthers) {
  program_.state.max_model_len = 40;
  program_.state.fails_in_a_step = "broken";
  const fs::path file =
      write("\"one\"\n\"" + std::string(50, 'x') + "\"\n\"broken\"\n\"refused\"\n\n\"two\"\n");
  program_.state.reply = {};
  EXPECT_EQ(run_to_out(file), 1);
  const Answers answers = answers_in(out_text());
  ASSERT_EQ(answers.size(), 5u);
  EXPECT_EQ(answers.at("line-2")["response"]["status_code"], 400);
  EXPECT_EQ(answers.at("line-2")["response"]["body"]["error"]["message"], "the prompt is too long");
  EXPECT_EQ(answers.at("line-2")["error"]["message"], "the prompt is too long");
  EXPECT_EQ(answers.at("line-3")["response"]["status_code"], 500);
  EXPECT_THAT(answers.at("line-3")["error"]["message"].get<std::string>(), HasSubstr("layer 3"));
  EXPECT_EQ(answers.at("line-4")["error"]["message"], "the template says no");
  EXPECT_TRUE(answers.at("line-6")["error"].is_null());
  EXPECT_THAT(program_.err, AllOf(HasSubstr("3 failed"), HasSubstr("line 2 (line-2): the prompt")));
  EXPECT_THAT(program_.err, HasSubstr("weft: 3 lines failed, first line 2"));
  EXPECT_THAT(program_.err, HasSubstr("in its line of " + out().string()));
  // They are answered: a second run has nothing to do, and says with its exit code how it stands.
  EXPECT_EQ(run_to_out(file), 1);
  EXPECT_THAT(program_.err, HasSubstr("3 of these failed"));
  EXPECT_EQ(program_.state.num_loads, 1);
}

TEST_F(RunFile, SeveralPromptsOfALineAreOneAnswer) {
  program_.state.fails_in_a_step = "broken";
  const fs::path file = write(
      R"({"url": "/v1/completions", "body": {"prompt": ["a", "bb"], "n": 2, "max_tokens": 50}})"
      "\n"
      R"({"url": "/v1/completions", "body": {"prompt": ["a", "broken", "c"], "max_tokens": 50}})");
  EXPECT_EQ(run(file), 1);
  const Answers answers = answers_in(program_.out);
  const json& body = answers.at("line-1")["response"]["body"];
  ASSERT_EQ(body["choices"].size(), 4u);
  EXPECT_EQ(body["choices"][3]["index"], 3);
  EXPECT_EQ(body["choices"][3]["text"],
            "<\x01"
            "bb1>");
  EXPECT_EQ(body["usage"]["prompt_tokens"], 5);
  EXPECT_FALSE(answers.at("line-2")["error"].is_null());
  EXPECT_EQ(program_.state.cancelled.size(), 2u);  // the other two prompts of the failed line
}

TEST_F(RunFile, LogprobsHaveTheShapesOfTheApi) {
  const fs::path file = write(
      R"({"custom_id": "c", "body": {"messages": [{"role": "user", "content": "x"}], "logprobs": true, "top_logprobs": 1, "max_tokens": 2, "prompt_logprobs": 0}})"
      "\n"
      R"({"custom_id": "t", "url": "/v1/completions", "body": {"prompt": "ab", "logprobs": 1, "echo": true, "max_tokens": 1, "return_token_ids": true}})"
      "\n"
      R"({"custom_id": "e", "url": "/v1/completions", "body": {"prompt": "ab", "logprobs": 1, "echo": true, "max_tokens": 0}})");
  ASSERT_EQ(run(file), 0) << program_.err;
  const Answers answers = answers_in(program_.out);
  const json& chat = answers.at("c")["response"]["body"];
  EXPECT_EQ(chat["choices"][0]["logprobs"]["content"][0],
            json::parse(R"({"token": "<", "logprob": -0.25, "bytes": [60],
              "top_logprobs": [{"token": "z", "logprob": -0.125, "bytes": [122]}]})"));
  EXPECT_TRUE(chat["prompt_logprobs"][0].is_null());
  EXPECT_EQ(chat["prompt_logprobs"][1]["115"]["logprob"], -1.0);
  const json& text = answers.at("t")["response"]["body"]["choices"][0];
  EXPECT_EQ(text["text"],
            "\x01"
            "ab<");
  EXPECT_EQ(text["logprobs"]["tokens"], json::parse(R"(["\u0001", "a", "b", "<"])"));
  EXPECT_EQ(text["logprobs"]["token_logprobs"], json::parse("[null, -1.0, -1.0, -0.25]"));
  EXPECT_EQ(text["logprobs"]["text_offset"], json::parse("[0, 1, 2, 3]"));
  EXPECT_EQ(text["logprobs"]["top_logprobs"][3], json::parse(R"({"z": -0.125, "<": -0.25})"));
  EXPECT_EQ(text["token_ids"], json::parse("[60]"));
  EXPECT_EQ(text["prompt_token_ids"], json::parse("[1, 97, 98]"));
  const json& judged = answers.at("e")["response"]["body"];
  EXPECT_EQ(judged["choices"][0]["text"],
            "\x01"
            "ab");
  EXPECT_EQ(judged["choices"][0]["logprobs"]["tokens"].size(), 3u);
  EXPECT_EQ(judged["usage"]["completion_tokens"], 0);
}

TEST_F(RunFile, CtrlCKeepsWhatIsFinishedAndTheNextRunGoesOn) {
  const fs::path file = write_numbered(40);
  ASSERT_EQ(run_to_out(file), 0) << program_.err;
  const Answers undisturbed = answers_in(out_text());
  ASSERT_EQ(undisturbed.size(), 40u);
  fs::remove(out());

  program_.state.on_step = [](int64_t step) {
    if (step % 100 == 60) raise(SIGINT);
  };
  program_.state.stats = {};
  EXPECT_EQ(run_to_out(file), 130);
  EXPECT_THAT(program_.err, HasSubstr("the same command goes on from there"));
  const Answers first = answers_in(out_text());
  EXPECT_FALSE(first.empty());
  EXPECT_LT(first.size(), 40u);
  EXPECT_FALSE(program_.state.cancelled.empty());

  program_.state.on_step = {};
  program_.state.submitted.clear();
  EXPECT_EQ(run_to_out(file), 0) << program_.err;
  EXPECT_THAT(program_.err, HasSubstr(std::to_string(first.size()) + " of 40 lines are answered"));
  EXPECT_EQ(program_.state.submitted.size(), 40 - first.size());
  EXPECT_EQ(answers_in(out_text()), undisturbed);
}

TEST_F(RunFile, ATornLastLineIsDoneAgain) {
  const fs::path file = write_numbered(6);
  ASSERT_EQ(run_to_out(file), 0);
  const std::string whole = out_text();
  for (const size_t torn : {size_t{1}, size_t{20}, size_t{200}}) {
    fs::resize_file(out(), whole.size() - torn);
    EXPECT_EQ(run_to_out(file), 0) << program_.err;
    EXPECT_THAT(program_.err, HasSubstr("was torn"));
    EXPECT_EQ(answers_in(out_text()), answers_in(whole));
  }
}

TEST_F(RunFile, AFinishedFileLoadsNothing) {
  const fs::path file = write_numbered(3);
  ASSERT_EQ(run_to_out(file), 0);
  EXPECT_EQ(run_to_out(file), 0);
  EXPECT_THAT(program_.err, HasSubstr("3 of 3 lines are answered"));
  EXPECT_EQ(program_.state.num_loads, 1);
  EXPECT_EQ(run_to_out(file, {"--overwrite"}), 0);
  EXPECT_EQ(program_.state.num_loads, 2);
  EXPECT_EQ(answers_in(out_text()).size(), 3u);
}

TEST_F(RunFile, AnswersOfOtherRequestsAreNotMixedIn) {
  const fs::path file = write_numbered(3);
  ASSERT_EQ(run_to_out(file), 0);
  for (const std::vector<std::string>& more : {std::vector<std::string>{"--temperature", "0.7"},
                                               {"--kv-cache-dtype", "q8"},
                                               {"--top-p", "0.9"},
                                               {"--top-k", "5"},
                                               {"--min-p", "0.1"},
                                               {"--typical-p", "0.9"},
                                               {"--repetition-penalty", "1.1"},
                                               {"--presence-penalty", "0.1"},
                                               {"--frequency-penalty", "0.1"},
                                               {"--min-tokens", "2"},
                                               {"--stop-token-ids", "9"}}) {
    EXPECT_EQ(run_to_out(file, more), 2);
    EXPECT_THAT(program_.err, HasSubstr("answers another request 'line-1' than line 1"));
  }
  write("\"prompt 0\"\n\"changed\"\n\"prompt 2\"\n");
  EXPECT_EQ(run_to_out(file), 2);
}

// Files of one model's name may hold it in other types, whose answers have other bits.
TEST_F(RunFile, AnswersOfAnotherFileOfTheModelAreNotMixedIn) {
  const fs::path file = write_numbered(3);
  fs::create_directories(folder_ / "model");
  write("weights", "model/model.gguf");
  const auto go_on = [&] {
    return program_.run({"run", folder_ / "model", "--file", file, "--out", out()});
  };
  ASSERT_EQ(go_on(), 0) << program_.err;
  const std::string first = out_text();
  write("other weights", "model/model.gguf");
  EXPECT_EQ(go_on(), 2) << "nothing is left to do, and still it is another model's";
  write("weights", "model/model.gguf");
  EXPECT_EQ(go_on(), 0) << program_.err;
  const json body = json::parse(first.substr(0, first.find('\n')))["response"]["body"];
  EXPECT_THAT(body["system_fingerprint"].get<std::string>(), StartsWith("fp_"));
  write_numbered(4);
  write("other weights", "model/model.gguf");
  EXPECT_EQ(go_on(), 2);
  EXPECT_THAT(program_.err, AllOf(HasSubstr("holds answers of another model"),
                                  HasSubstr(body["system_fingerprint"].get<std::string>())));
  EXPECT_EQ(out_text(), first);
  write("weights", "model/model.gguf");
  // The same by another name goes on, another one does not.
  fs::rename(folder_ / "model", folder_ / "renamed");
  const auto as_renamed = [&] {
    return program_.run({"run", folder_ / "renamed", "--file", file, "--out", out()});
  };
  write("other weights", "renamed/model.gguf");
  EXPECT_EQ(as_renamed(), 2);
  EXPECT_THAT(program_.err, HasSubstr("holds answers of model, and this is renamed"));
  write("weights", "renamed/model.gguf");
  EXPECT_EQ(as_renamed(), 0) << program_.err;
  EXPECT_EQ(answers_in(out_text()).size(), 4u);
}

// Lines may be taken out of the file; what answered them stays, and is spoken of.
TEST_F(RunFile, AnswersOfLinesThatAreGoneAreSpokenOf) {
  ASSERT_EQ(run_to_out(write_numbered(5)), 0);
  EXPECT_THAT(program_.err, Not(HasSubstr("also holds")));
  ASSERT_EQ(run_to_out(write_numbered(3)), 0);
  EXPECT_THAT(program_.err, HasSubstr("also holds 2 answers of requests that are not in"));
  EXPECT_EQ(answers_in(out_text()).size(), 5u);
}

TEST_F(RunFile, CtrlCIsHeardWhereEveryLineFails) {
  std::string text = "\"first\"\n";
  for (int i = 0; i < 50; ++i) text += "\"refused\"\n";
  program_.state.reply = [](const engine::Request&, int) {
    raise(SIGINT);
    return std::string("never");
  };
  EXPECT_EQ(run_to_out(write(text)), 130);
  EXPECT_EQ(answers_in(out_text()).size(), 0u);
}

// One that fails at once is done as well.
TEST_F(RunFile, FailedLinesCountAsProgress) {
  EXPECT_EQ(run(write("\"one\"\n\"refused\"\n\"refused\"\n")), 1);
  EXPECT_THAT(program_.err, HasSubstr("answering: 3 in "));
}

TEST_F(RunFile, WhatIsNoFileOfAnswersIsLeftAlone) {
  const fs::path file = write_numbered(2);
  for (const std::string text : {"my notes", "my notes\nof today\n", "{\"id\":\"x\"}\n"}) {
    write(text, "answers.jsonl");
    EXPECT_EQ(run_to_out(file), 2) << text;
    EXPECT_THAT(program_.err, HasSubstr("is no answer"));
    EXPECT_EQ(out_text(), text);
  }
  ASSERT_EQ(run_to_out(file, {"--overwrite"}), 0);
  const std::string line = out_text().substr(0, out_text().find('\n') + 1);
  write(line + line, "answers.jsonl");
  EXPECT_EQ(run_to_out(file), 2);
  EXPECT_THAT(program_.err, HasSubstr("line 2 of " + out().string() + " answers"));
}

TEST_F(RunFile, ALostRankLeavesWhatIsFinished) {
  program_.state.on_step = [](int64_t step) {
    if (step == 30) throw Error(ErrorKind::kCommunication, "rank 1 is silent");
  };
  const fs::path file = write_numbered(20);
  EXPECT_EQ(run_to_out(file), 5);
  EXPECT_THAT(program_.err,
              AllOf(HasSubstr("rank 1 is silent"), HasSubstr("the same command goes on")));
  const size_t first = answers_in(out_text()).size();
  EXPECT_GT(first, 0u);
  program_.state.on_step = {};
  EXPECT_EQ(run_to_out(file), 0);
  EXPECT_EQ(answers_in(out_text()).size(), 20u);
}

TEST_F(RunFile, StandardInputIsAFileToo) {
  const std::string lines = "{\"prompt\": \"one\"}\n{\"prompt\": \"two\"}\n";
  ASSERT_EQ(run(write(lines)), 0) << program_.err;
  const std::string expected = program_.out;
  program_.input = lines;
  ASSERT_EQ(run("-"), 0) << program_.err;
  EXPECT_EQ(answers_in(program_.out), answers_in(expected));
  ASSERT_EQ(run_to_out("-"), 0) << program_.err;
  EXPECT_EQ(run_to_out("-"), 0) << program_.err;  // and goes on like one
  EXPECT_THAT(program_.err, HasSubstr("2 of 2 lines are answered"));
  program_.input = "{\"prompt\": 7}\n";
  EXPECT_EQ(run("-"), 2);
  EXPECT_THAT(program_.err, HasSubstr("standard input: line 1: prompt is 7"));
  program_.input = "";
  EXPECT_EQ(run("-"), 2);
  EXPECT_THAT(program_.err, HasSubstr("standard input holds no request"));
}

TEST_F(RunFile, LinesBeyondOnePieceAreKeptWhole) {
  const std::string text = "{\"prompt\": \"" + std::string(40'000, 'x') + "\"}\n";
  std::istringstream in(text + text + text);
  const SpooledInput spooled(in);
  std::ifstream again(spooled.path());
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(again), {}), text + text + text);
}

TEST_F(RunFile, AnswersThatCannotBeWrittenEndWithAWord) {
  std::ostream full(nullptr);
  AnswerFile answers(full);
  try {
    answers.write("{}");
    FAIL() << "written";
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_code(), 2);
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr("standard output could not be written"), HasSubstr("--out")));
  }
  EXPECT_EQ(run(write_numbered(1), {"--out", "/dev/full"}), 2);
  EXPECT_THAT(program_.err, HasSubstr("/dev/full is no file"));
}

TEST_F(RunFile, NotesAreSaidOnce) {
  program_.state.has_template = false;
  ASSERT_EQ(run(write("{\"prompt\": \"x\", \"stream\": true}\n{\"prompt\": \"y\", \"stream\": "
                      "true}\n")),
            0);
  EXPECT_THAT(program_.err, HasSubstr("stream is left aside"));
  EXPECT_THAT(program_.err, HasSubstr("no chat template"));
  EXPECT_EQ(program_.state.submitted[0].prompt_ids[0], 1);  // plain, with BOS
  ASSERT_EQ(run(write("\"x\"\n"), {"--quiet"}), 0);
  EXPECT_EQ(program_.err, "");
}

TEST_F(RunFile, BadWordsAndSaltsReachTheEngine) {
  ASSERT_EQ(run(write(R"({"prompt": "x", "bad_words": ["no"], "cache_salt": "s", "priority": 3})")),
            0)
      << program_.err;
  const engine::Request& request = program_.state.submitted.at(0);
  EXPECT_THAT(request.sampling.bad_words, ElementsAre(ElementsAre('n', 'o')));
  EXPECT_NE(request.cache_salt, 0u);
  EXPECT_EQ(request.priority, 3);
}

TEST_F(RunFile, FilesFromOtherSystemsAreRead) {
  ASSERT_EQ(run(write("\xef\xbb\xbf\"a\"\r\n\"b\"\r\n")), 0) << program_.err;
  EXPECT_EQ(answers_in(program_.out).size(), 2u);
}

}  // namespace
}  // namespace weft::cli
