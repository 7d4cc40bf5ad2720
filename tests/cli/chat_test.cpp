#include "cli/chat.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <deque>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cli/chat_file.h"
#include "cli/engine_partner.h"
#include "cli/fake_engine.h"
#include "cli/prompt.h"

namespace weft::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// A chat in which `lines` are typed one after the other, then Ctrl-D.
struct ChatRun {
  FakeState state;
  std::ostringstream out, err;
  ChatParameters parameters;
  int code = -1;

  ChatRun& type(std::vector<std::string> lines, const std::string& system = "") {
    std::deque<std::string> left(lines.begin(), lines.end());
    std::istringstream in;
    Console console{in, out, err, true, true, true};
    FakeEngine engine(state);
    const ReadLine read = [&](const std::string&) {
      if (left.empty()) return TypedLine{TypedLine::Kind::kEnd, ""};
      const std::string line = left.front();
      left.pop_front();
      if (line == "^C") return TypedLine{TypedLine::Kind::kInterrupt, ""};
      return TypedLine{TypedLine::Kind::kText, line};
    };
    const auto partner = make_engine_partner(engine, {"tiny"});
    code = chat(*partner, {.system = system}, parameters, read, console);
    return *this;
  }
};

TEST(Chat, KeepsTheConversation) {
  ChatRun run;
  run.type({"One?", "Two?"}, "Be brief.");
  EXPECT_EQ(run.code, 0);
  ASSERT_EQ(run.state.requests.size(), 2u);
  EXPECT_EQ(run.state.prompt(0), "system:Be brief.\nuser:One?\n");
  EXPECT_EQ(run.state.prompt(1), "system:Be brief.\nuser:One?\nassistant:Tokyo.\nuser:Two?\n");
  EXPECT_EQ(run.out.str(), "Tokyo.\nTokyo.\n\n");
}

// They took no time, and the rate is of the others.
TEST(Chat, StatsTellCachedTokensApart) {
  ChatRun run;
  run.state.cached_of_prompt = 4;
  run.type({"/stats", "One?"});
  const size_t count = run.state.requests.at(0).prompt_ids.size();
  EXPECT_THAT(run.err.str(), HasSubstr(fmt::format("prompt      {} tokens (4 of them cached) in "
                                                   "0.500 s: {}.0 tokens/s",
                                                   count, 2 * (count - 4))));
}

TEST(Chat, ResetAndSystemForget) {
  ChatRun run;
  run.type({"One?", "/reset", "Two?", "/system Rhyme.", "Three?", "/system", "Four?"});
  EXPECT_EQ(run.state.prompt(1), "user:Two?\n");
  EXPECT_EQ(run.state.prompt(2), "system:Rhyme.\nuser:Three?\n");
  EXPECT_EQ(run.state.prompt(3), "user:Four?\n");
}

TEST(Chat, QuitHelpAndUnknownCommands) {
  ChatRun run;
  run.type({"/help", "/rest", "/quit", "not read"});
  EXPECT_EQ(run.code, 0);
  EXPECT_TRUE(run.state.requests.empty());
  EXPECT_THAT(run.err.str(), HasSubstr("/system [TEXT]"));
  EXPECT_THAT(run.err.str(), HasSubstr("did you mean /reset?"));
}

TEST(Chat, EmptyLinesAskNothingAndABackslashGoesOn) {
  ChatRun run;
  run.type({"", "  ", "first\\", "second"});
  ASSERT_EQ(run.state.requests.size(), 1u);
  EXPECT_EQ(run.state.prompt(0), "user:first\nsecond\n");
}

TEST(Chat, CtrlCTwiceEndsIt) {
  EXPECT_EQ(ChatRun().type({"^C", "^C", "not read"}).code, 130);
  ChatRun run;
  run.type({"^C", "One?", "^C", "Two?"});
  EXPECT_EQ(run.code, 0);
  EXPECT_EQ(run.state.requests.size(), 2u);
}

TEST(Chat, AFailedRequestIsForgottenAndTheChatGoesOn) {
  ChatRun run;
  run.state.throw_usage_on_generate = true;
  run.type({"One?"});
  EXPECT_EQ(run.code, 0);
  EXPECT_THAT(run.err.str(), HasSubstr("the prompt is too long"));
  run.state.throw_usage_on_generate = false;
  run.type({"Two?"});
  EXPECT_EQ(run.state.prompt(1), "user:Two?\n");
}

TEST(Chat, ARefusedQuestionForgetsNothing) {
  ChatRun run;
  run.state.max_model_len = 80;
  run.type({"One?", std::string(100, 'x'), "Two?"}, "s");
  ASSERT_EQ(run.state.requests.size(), 3u);
  EXPECT_EQ(run.state.prompt(1), "system:s\nuser:" + std::string(100, 'x') + "\n");
  EXPECT_EQ(run.state.prompt(2), "system:s\nuser:One?\nassistant:Tokyo.\nuser:Two?\n");
  EXPECT_THAT(run.err.str(), HasSubstr("the prompt is too long"));
  EXPECT_THAT(run.err.str(), Not(HasSubstr("forgotten")));
}

TEST(Chat, WhatIsForgottenForAnAnswerIsTold) {
  ChatRun run;
  run.state.max_model_len = 80;
  run.type({"One?", std::string(40, 'y'), "Two?"}, "s");
  EXPECT_EQ(run.state.prompt(1), "system:s\nuser:" + std::string(40, 'y') + "\n");
  EXPECT_THAT(run.err.str(), HasSubstr("the oldest messages are forgotten"));
}

TEST(Chat, TheOldestMessagesMakeRoom) {
  FakeState state;
  state.max_model_len = 80;  // 60 for the prompt
  const FakeEngine engine(state);
  std::vector<text::Message> messages = {{"system", "s"}};
  for (int i = 0; i < 4; ++i) {
    messages.push_back({"user", "question"});
    messages.push_back({"assistant", "answer"});
  }
  messages.push_back({"user", "last"});
  EXPECT_EQ(forget_oldest(engine, &messages), 6u);
  ASSERT_EQ(messages.size(), 4u);
  EXPECT_EQ(messages[0].role, "system");
  EXPECT_EQ(messages[1].role, "user");
  EXPECT_EQ(messages[3].content, "last");

  messages = {{"user", std::string(500, 'x')}};
  EXPECT_EQ(forget_oldest(engine, &messages), 0u);  // the engine says that it is too long
}

// Where a test's files lie; gone with it.
struct Folder {
  std::filesystem::path path;
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "weft-chat-XXXXXX").string();
    path = mkdtemp(name.data());
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string operator/(const char* name) const { return (path / name).string(); }
  size_t num_files() const {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(path), {}));
  }
};

nlohmann::json read_json(const std::string& path) {
  std::ifstream file(path);
  return nlohmann::json::parse(file);
}

TEST(Chat, SetChangesWhatIsAsked) {
  ChatRun run;
  run.parameters.set("temperature", 0.5f);
  run.type({"/set top_p 0.9", "/set num_predict 7", "/set stop END", "/set parameter seed 5",
            "/set ignore_eos on", "/set logit-bias {\"3\": -1.5}", "One?", "/set top_p default",
            "Two?"});
  ASSERT_EQ(run.state.requests.size(), 2u) << run.err.str();
  const engine::SamplingParams& first = run.state.requests[0].sampling;
  EXPECT_EQ(first.temperature, 0.5f);
  EXPECT_EQ(first.top_p, 0.9f);
  EXPECT_EQ(first.max_tokens, 7);
  EXPECT_EQ(first.seed, 5u);
  EXPECT_EQ(first.stop, std::vector<std::string>{"END"});
  EXPECT_TRUE(first.ignore_eos);
  ASSERT_EQ(first.logit_bias.size(), 1u);
  EXPECT_EQ(first.logit_bias[0].bias, -1.5f);
  EXPECT_EQ(run.state.requests[1].sampling.top_p, 1.0f);
  EXPECT_THAT(run.err.str(), HasSubstr("top_p is 0.9\n"));
}

TEST(Chat, SetRefusesWhatNoAnswerCanFollow) {
  ChatRun run;
  run.type({"/set top_p 2", "/set temperature warm", "/set tempertaure 1", "/set max_tokens 0",
            "/set logit_bias {\"999\": 1}", "/set top_logprobs 3", "/set", "One?"});
  const engine::SamplingParams& p = run.state.requests.at(0).sampling;
  EXPECT_EQ(p.top_p, 1.0f);
  EXPECT_TRUE(p.logit_bias.empty());
  for (const char* words : {"top_p", "temperature is warm", "did you mean temperature?",
                            "max_tokens is 0", "logit_bias", "top_logprobs is given without",
                            "  temperature                 -            0 always takes"})
    EXPECT_THAT(run.err.str(), HasSubstr(words));
}

TEST(Chat, UndoAndRetry) {
  ChatRun run;
  run.parameters.set("temperature", 1.0f);
  run.parameters.set("seed", int64_t{7});
  run.type({"/undo", "/retry", "One?", "Two?", "/retry", "/undo", "Three?"}, "s");
  ASSERT_EQ(run.state.requests.size(), 4u) << run.err.str();
  const std::string two = "system:s\nuser:One?\nassistant:Tokyo.\nuser:Two?\n";
  EXPECT_EQ(run.state.prompt(1), two);
  EXPECT_EQ(run.state.prompt(2), two);
  EXPECT_EQ(run.state.requests[1].sampling.seed, 7u);
  EXPECT_EQ(run.state.requests[2].sampling.seed, 8u);
  EXPECT_EQ(run.state.prompt(3), "system:s\nuser:One?\nassistant:Tokyo.\nuser:Three?\n");
  EXPECT_THAT(run.err.str(), HasSubstr("nothing was asked yet"));
  EXPECT_THAT(run.err.str(), HasSubstr("forgotten: Two?"));
}

TEST(Chat, RetryAsksWhatWasNotAnswered) {
  ChatRun run;
  run.state.max_model_len = 80;
  run.type({"One?", std::string(100, 'x'), "/retry"}, "s");
  EXPECT_EQ(run.state.prompt(2), "system:s\nuser:" + std::string(100, 'x') + "\n");
}

TEST(Chat, WhatIsSavedIsABodyAndIsLoadedAgain) {
  const Folder folder;
  const std::string file = folder / "a b.json";
  ChatRun run;
  run.parameters.set("temperature", 0.25f);
  run.type({"One?", "/set stop [\"A\", \"B\"]", "/save " + file}, "Be brief.");
  const nlohmann::json body = read_json(file);
  EXPECT_EQ(body["model"], "tiny");
  EXPECT_EQ(body["messages"].size(), 3u);
  EXPECT_EQ(body["messages"][2]["content"], "Tokyo.");
  EXPECT_EQ(body["temperature"], 0.25);
  EXPECT_EQ(body["stop"], nlohmann::json({"A", "B"}));

  ChatRun again;
  again.parameters.set("top_p", 0.5f);
  again.type({"Zero?", "/load " + file, "Two?"});
  EXPECT_EQ(again.state.prompt(1), "system:Be brief.\nuser:One?\nassistant:Tokyo.\nuser:Two?\n");
  const engine::SamplingParams& p = again.state.requests[1].sampling;
  EXPECT_EQ(p.temperature, 0.25f);
  EXPECT_EQ(p.top_p, 1.0f);  // the file's parameters are all that hold
  EXPECT_EQ(p.stop, (std::vector<std::string>{"A", "B"}));
}

TEST(Chat, SaveReplacesNothingUnasked) {
  const Folder folder;
  const std::string file = folder / "chat.json";
  std::ofstream(file) << "precious";
  ChatRun run;
  run.type({"/save " + file, "One?", "/save " + file, "/save", "/save /no/such/folder/x"});
  EXPECT_THAT(run.err.str(), HasSubstr("nothing was said yet"));
  EXPECT_THAT(run.err.str(), HasSubstr("exists\n  to mend: /save --overwrite"));
  EXPECT_THAT(run.err.str(), HasSubstr("wants the name of a file"));
  EXPECT_THAT(run.err.str(), HasSubstr("cannot write /no/such/folder/x\n"));
  std::string kept;
  std::ifstream(file) >> kept;
  EXPECT_EQ(kept, "precious");
  ChatRun().type({"One?", "/save --overwrite " + file});
  EXPECT_EQ(read_json(file)["messages"].size(), 2u);
  EXPECT_EQ(folder.num_files(), 1u);  // no draft is left
}

TEST(Chat, LoadRefusesWhatIsNoConversation) {
  const Folder folder;
  const std::vector<std::pair<const char*, const char*>> files = {
      {"{", "syntax error"},
      {R"({"messages": []})", "messages"},
      {R"({"messages": [{"role": "user", "content": 5}]})", "content"},
      {R"({"messages": [{"role": "user", "content": "x"}], "top_p": 7})", "top_p"},
      {R"({"messages": [{"role": "user", "content": "x"}], "n": 2})", "n is 2"},
      {R"({"messages": [{"role": "tool", "content": "x"}]})", "calls of tools"},
      {R"({"messages": [{"role": "user", "content": "x"}], "tools": [{}]})", "has tools"}};
  for (const auto& [text, words] : files) {
    const std::string file = folder / "f.json";
    std::ofstream(file) << text;
    ChatRun run;
    run.type({"One?", "/load " + file, "Two?"});
    EXPECT_EQ(run.state.prompt(1), "user:One?\nassistant:Tokyo.\nuser:Two?\n") << text;
    EXPECT_THAT(run.err.str(), HasSubstr(words)) << text;
  }
  ChatRun run;
  run.type({"/load " + (folder / "none.json")});
  EXPECT_THAT(run.err.str(), HasSubstr("cannot read"));
}

TEST(Chat, ALoadedQuestionIsAskedByRetry) {
  const Folder folder;
  const std::string file = folder / "f.json";
  std::ofstream(file) << R"({"stream": true, "user": "me", "max_completion_tokens": 9,
    "messages": [{"role": "developer", "content": "s"},
                 {"role": "user", "content": [{"type": "text", "text": "One?"}]}]})";
  ChatRun run;
  run.type({"/load " + file, "/retry"});
  ASSERT_EQ(run.state.requests.size(), 1u) << run.err.str();
  EXPECT_EQ(run.state.prompt(0), "system:s\nuser:One?\n");
  EXPECT_EQ(run.state.requests[0].sampling.max_tokens, 9);
}

TEST(ChatParameters, ReadBackWhatWasSet) {
  ChatParameters parameters;
  parameters.set("temperature", 0.7f);
  parameters.set("seed", int64_t{1} << 62);
  parameters.set("bad_words", std::vector<std::string>{"a \"b\"", "ü"});
  parameters.set(text::GrammarSpec{text::GrammarSpec::Kind::kJsonSchema,
                                   R"({"type":"object","properties":{"z":{},"a":{}}})"});
  const serve::RequestBody body = parameters.read();
  EXPECT_EQ(body.sampling.temperature, 0.7f);
  EXPECT_EQ(body.sampling.seed, uint64_t{1} << 62);
  EXPECT_EQ(body.bad_words, (std::vector<std::string>{"a \"b\"", "ü"}));
  ASSERT_TRUE(body.grammar);
  // In the order of its author.
  EXPECT_EQ(body.grammar->source, R"({"type":"object","properties":{"z":{},"a":{}}})");
  using Kind = text::GrammarSpec::Kind;
  for (const text::GrammarSpec& spec :
       {text::GrammarSpec{Kind::kJsonObject, ""}, text::GrammarSpec{Kind::kRegex, "[0-9]\"+"},
        text::GrammarSpec{Kind::kChoice, R"(["a","b"])"},
        text::GrammarSpec{Kind::kLark, "start: \"x\""}}) {
    ChatParameters one;
    one.set(spec);
    EXPECT_EQ(one.read().grammar, spec) << one.json();
  }
  EXPECT_THROW(parameters.set(text::GrammarSpec{Kind::kJsonSchema, "{"}), Error);
  EXPECT_TRUE(parameters.unset("seed"));
  EXPECT_FALSE(parameters.unset("seed"));
}

}  // namespace
}  // namespace weft::cli
