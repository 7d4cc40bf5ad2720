#include <fmt/chrono.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>
#include <string>
#include <vector>

#include "base/error.h"
#include "text/golden_files.h"
#include "text/text.h"

namespace weft::text {
namespace {

using json = Json;
using testing::HasSubstr;

std::string render(const std::string& source, const std::string& extra = {}) {
  return ChatTemplate::compile(source, "<s>", "</s>")->render_json("[]", false, extra);
}

// The error that `source` ends with, at compilation or when it runs.
Error error_of(const std::string& source) {
  try {
    const std::string text = render(source);
    ADD_FAILURE() << "rendered: " << text;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kModel);
    return error;
  }
  return Error(ErrorKind::kInternal, "no error");
}

// Templates of several families, and one that uses what templates can use, against transformers.
TEST(ChatTemplate, EqualsTransformers) {
  const json conversations = read_json_file("chat_templates/conversations.json");
  const json goldens = read_json_file("chat_goldens.json");
  ASSERT_GE(goldens.size(), 100u);
  for (const json& golden : goldens) {
    const std::string name = golden["template"];
    SCOPED_TRACE(name + " / " + golden["conversation"].get<std::string>());
    const json& conversation = conversations[golden["conversation"].get<std::string>()];
    json extra = conversation.value("extra", json::object());
    if (conversation.contains("tools")) extra["tools"] = conversation["tools"];
    const std::string messages = conversation["messages"].dump();
    const auto chat =
        ChatTemplate::compile(read_text_file("chat_templates/" + name + ".jinja"), "<s>", "</s>");
    const bool generation = golden["add_generation_prompt"];
    if (golden["text"].is_null()) {
      EXPECT_THROW(chat->render_json(messages, generation, extra.dump()), Error);
    } else {
      EXPECT_EQ(chat->render_json(messages, generation, extra.dump()),
                golden["text"].get<std::string>());
    }
  }
}

TEST(ChatTemplate, MessagesArriveAsTheyAre) {
  const auto chat = ChatTemplate::compile(
      "{% for m in messages %}[{{ m.role }}|{{ m.content }}]{% endfor %}", "", "");
  const std::vector<Message> messages{{"user", "\"quoted\" \\ \n\t\x01 日 </s> {{ 1 }}"},
                                      {"a b", std::string("nul\0byte", 8)}};
  EXPECT_EQ(chat->render(messages, false), "[user|\"quoted\" \\ \n\t\x01 日 </s> {{ 1 }}][a b|" +
                                               std::string("nul\0byte", 8) + "]");
  EXPECT_EQ(chat->render(std::vector<Message>{{"user", "a\xFF\xFEz"}}, false),
            "[user|a\xEF\xBF\xBD\xEF\xBF\xBDz]");
  EXPECT_EQ(chat->render({}, false), "");
}

TEST(ChatTemplate, RaisedErrorsNameTheLineAndItsText) {
  const Error error = error_of("one\ntwo {{ raise_exception('roles must ' ~ 'alternate') }}\n");
  EXPECT_THAT(error.summary(), HasSubstr("line 2"));
  EXPECT_THAT(error.summary(), HasSubstr("raise_exception('roles must ' ~ 'alternate')"));
  EXPECT_EQ(error.why(), "roles must alternate");
}

TEST(ChatTemplate, BrokenTemplatesNameTheLine) {
  EXPECT_THAT(error_of("a\nb\n{% if %}\n").summary(), HasSubstr("at line 3: {% if %}"));
  EXPECT_THAT(error_of("{% for x in [1] %}").summary(), HasSubstr("cannot be read"));
  EXPECT_THAT(error_of("{{ 'a' + [] }}").summary(), HasSubstr("failed at line 1"));
  EXPECT_THAT(error_of("{{ missing.attribute }}").why(), HasSubstr("undefined"));
}

TEST(ChatTemplate, MessagesThatAreNoJsonArrayAreRefused) {
  const auto chat = ChatTemplate::compile("x", "", "");
  EXPECT_THROW(chat->render_json("{}", false, {}), Error);
  EXPECT_THROW(chat->render_json("[", false, {}), Error);
  EXPECT_THROW(chat->render_json("[]", false, "[]"), Error);
}

TEST(ChatTemplate, StrftimeNowTellsTheLocalDate) {
  const auto today = [] {
    return fmt::format("{:%Y-%m-%d %A}", fmt::localtime(std::time(nullptr)));
  };
  const std::string before = today();
  const std::string rendered = render("{{ strftime_now('%Y-%m-%d %A') }}");
  EXPECT_TRUE(rendered == before || rendered == today()) << rendered;
}

TEST(ChatTemplate, CallersVariablesWinOverDefaults) {
  EXPECT_EQ(render("{{ bos_token }} {{ tools }}", R"({"bos_token": "<bos>", "tools": [1]})"),
            "<bos> [1]");
}

}  // namespace
}  // namespace weft::text
