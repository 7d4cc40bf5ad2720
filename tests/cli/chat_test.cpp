#include "cli/chat.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>

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
    code = chat(
        engine, {system, false}, [] { return engine::Request{}; }, read, console);
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

}  // namespace
}  // namespace weft::cli
