#include "serve/chat_tools.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "base/error.h"
#include "serve/tool_grammar.h"
#include "text/grammar.h"

namespace weft::serve {
namespace {

using json = nlohmann::ordered_json;
using testing::HasSubstr;
using text::ToolFormat;
using Choice = ChatTools::Choice;

std::string read_data(const std::string& name) {
  const std::string here = __FILE__;
  std::ifstream file(here.substr(0, here.rfind('/')) + "/../text/data/" + name);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

const text::Tokenizer& tokenizer() {
  static const auto tokenizer = text::Tokenizer::from_json(read_data("byte_level.tokenizer.json"));
  return *tokenizer;
}

std::unique_ptr<text::ChatTemplate> chat_template(const std::string& name) {
  return text::ChatTemplate::compile(read_data("chat_templates/" + name + ".jinja"), "<s>", "</s>");
}

const std::string kWeather =
    R"({"type":"function","function":{"name":"weather","description":"Weather of a city","strict":true,"parameters":{"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer"}},"required":["city"]}}})";
const std::string kNow = R"({"type":"function","function":{"name":"now"}})";

ChatTools tools_of(const std::string& rest) {
  return read_tools(R"({"tools":[)" + kWeather + "," + kNow + "]" + rest + "}");
}

std::string refusal(const std::string& body) {
  try {
    read_tools(body);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    return error.summary();
  }
  return "none";
}

TEST(ChatTools, AreRead) {
  const ChatTools tools = tools_of("");
  ASSERT_EQ(tools.tools.size(), 2u);
  EXPECT_EQ(tools.tools[0].name, "weather");
  EXPECT_TRUE(tools.tools[0].strict);
  EXPECT_EQ(
      tools.tools[0].json,
      R"({"type":"function","function":{"name":"weather","description":"Weather of a city","parameters":{"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer"}},"required":["city"]}}})");
  EXPECT_EQ(tools.tools[1].schema, R"({"type":"object","properties":{}})");
  EXPECT_EQ(tools.choice, Choice::kAuto);
  EXPECT_TRUE(tools.parallel);
  EXPECT_TRUE(tools.may_call());
  EXPECT_FALSE(read_tools("{}").may_call());
  EXPECT_FALSE(read_tools(R"({"tools":[]})").may_call());
}

TEST(ChatTools, ChoicesAreRead) {
  EXPECT_FALSE(tools_of(R"(,"tool_choice":"none")").may_call());
  EXPECT_EQ(tools_of(R"(,"tool_choice":"required","parallel_tool_calls":false)").parallel, false);
  const ChatTools named =
      tools_of(R"(,"tool_choice":{"type":"function","function":{"name":"now"}})");
  EXPECT_EQ(named.choice, Choice::kNamed);
  EXPECT_EQ(named.named, "now");
  EXPECT_EQ(tools_of(R"(,"tool_choice":{"type":"function","name":"now"})").named, "now");
  const ChatTools allowed = tools_of(
      R"(,"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[{"type":"function","function":{"name":"now"}}]}})");
  EXPECT_EQ(allowed.names(), std::vector<std::string>{"now"});
  EXPECT_EQ(allowed.choice, Choice::kRequired);
}

TEST(ChatTools, FormOfResponsesIsRead) {
  const ChatTools tools = read_tools(
      R"({"tools":[{"type":"function","name":"f","strict":false,"parameters":{"properties":{"a":{}}}}]})");
  EXPECT_EQ(tools.tools[0].json,
            R"({"type":"function","function":{"name":"f","parameters":{"properties":{"a":{}}}}})");
  EXPECT_EQ(tools.tools[0].schema, R"({"properties":{"a":{}},"type":"object"})");
}

TEST(ChatTools, RefusalsNameTheField) {
  EXPECT_THAT(refusal(R"({"tools":{}})"), HasSubstr("tools: a list"));
  EXPECT_THAT(refusal(R"({"tools":[1]})"), HasSubstr("tools[0]"));
  EXPECT_THAT(refusal(R"({"tools":[{"type":"web_search"}]})"), HasSubstr("tools[0].type"));
  EXPECT_THAT(refusal(R"({"tools":[{"type":"function","function":{"name":"a b"}}]})"),
              HasSubstr("tools[0].function.name"));
  EXPECT_THAT(refusal(R"({"tools":[{"type":"function","function":{"name":"a","parameters":[]}}]})"),
              HasSubstr("tools[0].function.parameters"));
  EXPECT_THAT(
      refusal(
          R"({"tools":[{"type":"function","function":{"name":"a","parameters":{"type":"array"}}}]})"),
      HasSubstr("\"object\""));
  for (const char* schema : {R"({"properties":[1]})", R"({"properties":5})", R"({"required":"a"})",
                             R"({"required":[1]})"})
    EXPECT_THAT(refusal(R"({"tools":[{"type":"function","function":{"name":"a","parameters":)" +
                        std::string(schema) + "}}]}"),
                HasSubstr("tools[0].function.parameters."));
  EXPECT_THAT(refusal(R"({"tools":[)" + kNow + "," + kNow + "]}"), HasSubstr("two tools 'now'"));
  EXPECT_THAT(refusal(R"({"tool_choice":"required"})"), HasSubstr("there are no tools"));
  EXPECT_THAT(refusal(R"({"tool_choice":"always"})"), HasSubstr("tool_choice: none, auto"));
  EXPECT_THAT(refusal(R"({"tool_choice":{"type":"function","function":{"name":"x"}}})"),
              HasSubstr("none of tools"));
  EXPECT_THAT(refusal(R"({"parallel_tool_calls":1})"), HasSubstr("parallel_tool_calls"));
  std::string deep = R"({"tools":[{"type":"function","function":{"name":"a","parameters":{"x":)";
  EXPECT_THAT(refusal(deep + std::string(99, '[') + std::string(99, ']') + "}}}]}"),
              HasSubstr("nested"));
}

TEST(ChatTools, AreReadOutOfAnyBody) {
  // What is beside them is not parsed.
  const ChatTools tools =
      read_tools(R"({"messages":[{"tools":1}], "tools" : [)" + kNow + R"(], "tool_choice":null})");
  EXPECT_EQ(tools.names(), std::vector<std::string>{"now"});
  EXPECT_EQ(tools.choice, Choice::kAuto);
  EXPECT_THAT(refusal(R"({"tools":[)" + std::string(3 << 20, ' ') + "]}"), HasSubstr("bytes"));
}

TEST(ChatProfile, TemplatesAreProbed) {
  const auto probe = [](const std::string& name) {
    return text::probe_chat(chat_template(name).get(), tokenizer());
  };
  const text::ChatProfile qwen = probe("qwen2"), llama = probe("llama3"),
                          mistral = probe("mistral"), gemma = probe("gemma3"),
                          smol = probe("smollm2");
  EXPECT_TRUE(qwen.takes_system && qwen.takes_tools && qwen.takes_calls && !qwen.wants_short_ids);
  EXPECT_EQ(qwen.tools, ToolFormat::kHermes);
  EXPECT_TRUE(llama.takes_tools && llama.takes_calls);
  EXPECT_EQ(llama.tools, ToolFormat::kLlama3Json);
  EXPECT_TRUE(mistral.takes_tools && mistral.takes_calls && mistral.wants_short_ids);
  EXPECT_EQ(mistral.tools, ToolFormat::kMistral);
  EXPECT_TRUE(gemma.takes_system && !gemma.takes_tools && !gemma.takes_calls);
  EXPECT_EQ(gemma.tools, ToolFormat::kHermes);
  EXPECT_TRUE(smol.takes_system && !smol.takes_tools && !smol.takes_calls);
  EXPECT_EQ(probe("qwen3").tools, ToolFormat::kHermes);
  EXPECT_FALSE(qwen.reasoning);
  EXPECT_EQ(text::probe_chat(nullptr, tokenizer()).tools, ToolFormat::kHermes);
}

const std::string kConversation = R"([
  {"role":"user","content":"Paris?"},
  {"role":"assistant","content":null,"tool_calls":[
    {"id":"call_123","type":"function","function":{"name":"weather","arguments":"{\"city\": \"Paris\", \"a\": 1}"}}]},
  {"role":"tool","tool_call_id":"call_123","content":[{"type":"text","text":"rain"}]}])";

std::string prompt(const std::string& name, const std::string& messages) {
  const auto chat = chat_template(name);
  const text::ChatProfile profile = text::probe_chat(chat.get(), tokenizer());
  return render_chat(*chat, chat_input(tools_of(""), profile, messages, "{}"), true, false);
}

TEST(ChatInput, CallsAndResultsReachTemplates) {
  const std::string qwen = prompt("qwen2", kConversation);
  EXPECT_THAT(qwen, HasSubstr("<tools>\n{\"type\": \"function\", \"function\": {\"name\": "
                              "\"weather\", \"description\": \"Weather of a city\""));
  EXPECT_THAT(qwen, HasSubstr("<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": "
                              "\"Paris\", \"a\": 1}}\n</tool_call>"));
  EXPECT_THAT(qwen, HasSubstr("<tool_response>\nrain\n</tool_response>"));
  const std::string llama = prompt("llama3", kConversation);
  EXPECT_THAT(llama, HasSubstr("{\"name\": \"weather\", \"parameters\": {\"city\": \"Paris\""));
}

// Ids of any form become the nine letters and digits that the template insists on, the same for a
// call and its result.
TEST(ChatInput, MistralGetsShortIds) {
  const std::string mistral = prompt("mistral", kConversation);
  const size_t at = mistral.find("\"id\": \"");
  ASSERT_NE(at, std::string::npos);
  const std::string id = mistral.substr(at + 7, 9);
  EXPECT_EQ(mistral[at + 16], '"');
  EXPECT_THAT(mistral, HasSubstr("\"call_id\": \"" + id + "\""));
}

TEST(ChatInput, TemplatesWithoutToolsAreToldInText) {
  const std::string smol = prompt("smollm2", kConversation);
  EXPECT_THAT(smol, HasSubstr("<|im_start|>system\n# Tools"));
  EXPECT_THAT(smol,
              HasSubstr("<tools>\n{\"type\":\"function\",\"function\":{\"name\":\"weather\""));
  EXPECT_THAT(smol, HasSubstr("<tool_call>\n{\"name\": \"weather\", \"arguments\": "
                              "{\"city\":\"Paris\",\"a\":1}}\n</tool_call>"));
  EXPECT_THAT(smol, HasSubstr("<|im_start|>user\n<tool_response>\nrain\n</tool_response>"));
  // Gemma's template takes a system message by putting it into the user's.
  EXPECT_THAT(prompt("gemma3", kConversation), HasSubstr("<start_of_turn>user\n# Tools"));
  const std::string system =
      R"([{"role":"system","content":"Be kind."},{"role":"user","content":"x"}])";
  EXPECT_THAT(prompt("smollm2", system), HasSubstr("Be kind.\n\n# Tools"));
}

TEST(ChatInput, WithoutToolsNothingIsTold) {
  const auto chat = chat_template("qwen2");
  const text::ChatProfile profile = text::probe_chat(chat.get(), tokenizer());
  const ChatInput input =
      chat_input(tools_of(R"(,"tool_choice":"none")"), profile, kConversation, "");
  const std::string text = render_chat(*chat, input, true, false);
  EXPECT_EQ(text.find("# Tools"), std::string::npos);
  EXPECT_THAT(text, HasSubstr("<tool_call>"));
}

TEST(ChatInput, RefusalsNameTheMessage) {
  const auto refused = [](const std::string& messages) -> std::string {
    try {
      chat_input({}, {}, messages, "{}");
    } catch (const Error& error) {
      return error.summary();
    }
    return "none";
  };
  EXPECT_THAT(refused(R"([{"role":"user","content":[{"type":"image_url","image_url":{}}]}])"),
              HasSubstr("messages[0].content: a part of type 'image_url'"));
  EXPECT_THAT(refused(R"([{"role":1}])"), HasSubstr("messages[0].role"));
  EXPECT_THAT(refused(R"([{"role":"user","tool_calls":[{}]}])"),
              HasSubstr("messages[0].tool_calls"));
  EXPECT_THAT(refused(R"([{"role":"assistant","tool_calls":[{}]}])"),
              HasSubstr("messages[0].tool_calls[0].function"));
  EXPECT_THAT(
      refused(
          R"([{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"[1]"}}]}])"),
      HasSubstr("messages[0].tool_calls[0].function.arguments"));
}

TEST(ChatInput, FinalMessagesAreContinued) {
  for (const std::string name : {"qwen2", "llama3", "smollm2", "gemma3"}) {
    const auto chat = chat_template(name);
    const ChatInput input{
        R"([{"role":"user","content":"Count."},{"role":"assistant","content":" One, two, "}])",
        "{}"};
    const std::string text = render_chat(*chat, input, false, true);
    EXPECT_TRUE(text.ends_with("One, two,") || text.ends_with("One, two, ")) << text;
  }
}

TEST(ToolCallIds, HaveTheirForm) {
  EXPECT_EQ(tool_call_id(1, 2).size(), 29u);
  EXPECT_TRUE(tool_call_id(1, 2).starts_with("call_"));
  EXPECT_NE(tool_call_id(1, 2), tool_call_id(2, 1));
}

}  // namespace
}  // namespace weft::serve
