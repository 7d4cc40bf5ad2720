// The pieces of /v1/responses: bodies, items and their events, what is stored.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "serve/request_error.h"
#include "serve/response_body.h"
#include "serve/response_items.h"
#include "serve/response_store.h"
#include "text/answer_parser.h"

namespace weft::serve {
namespace {

using json = nlohmann::ordered_json;
using testing::ElementsAre;
using testing::HasSubstr;

ResponseRequest read(const std::string& body) {
  return read_response(body, [](const std::string& id) -> std::optional<std::string> {
    if (id != "resp_1") return {};
    return R"([{"role":"user","content":"a"},{"role":"assistant","content":"b"}])";
  });
}

TEST(ResponseBody, BecomesAChat) {
  const ResponseRequest request =
      read(R"({"model":"m","input":"Hi","instructions":"Be kind.","max_output_tokens":9,)"
           R"("temperature":0.5,"top_k":4,"previous_response_id":"resp_1","stream":true,)"
           R"("text":{"format":{"type":"json_schema","name":"n","schema":{"type":"object"}}}})");
  const json chat = json::parse(request.chat_body);
  EXPECT_EQ(chat["messages"].dump(),
            R"([{"role":"system","content":"Be kind."},{"role":"user","content":"a"},)"
            R"({"role":"assistant","content":"b"},{"role":"user","content":"Hi"}])");
  EXPECT_EQ(chat["max_completion_tokens"], 9);
  EXPECT_EQ(chat["top_k"], 4);
  EXPECT_EQ(chat["response_format"].dump(),
            R"({"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object"}}})");
  EXPECT_FALSE(chat.contains("input"));
  // Instructions are of this response alone.
  EXPECT_EQ(request.messages.size(), 3u);
  EXPECT_TRUE(request.store);
  EXPECT_EQ(request.terms["previous_response_id"], "resp_1");
}

TEST(ResponseBody, LogprobsComeWhereTheyAreIncluded) {
  const auto chat = [](const std::string& fields) {
    return json::parse(read(R"({"input":"Hi",)" + fields + "}").chat_body);
  };
  const json included = chat(R"("include":["message.output_text.logprobs"],"top_logprobs":3)");
  EXPECT_EQ(included["logprobs"], true);
  EXPECT_EQ(included["top_logprobs"], 3);
  EXPECT_FALSE(included.contains("include"));
  const json alone = chat(R"("top_logprobs":3,"include":["reasoning.encrypted_content"])");
  EXPECT_FALSE(alone.contains("logprobs"));
  EXPECT_FALSE(alone.contains("top_logprobs"));
  EXPECT_EQ(read(R"({"input":"Hi","top_logprobs":3})").terms["top_logprobs"], 3);
  for (const char* wrong : {R"("top_logprobs":21)", R"("top_logprobs":-1)", R"("top_logprobs":"a")",
                            R"("include":"message.output_text.logprobs")", R"("include":[5])"})
    EXPECT_THROW(chat(wrong), Error) << wrong;
}

TEST(ResponseBody, ItemsBecomeMessages) {
  const ResponseRequest request = read(R"({"input":[
    {"role":"user","content":[{"type":"input_text","text":"Paris?"}]},
    {"type":"reasoning","summary":[]},
    {"type":"function_call","call_id":"c1","name":"weather","arguments":"{}"},
    {"type":"function_call","call_id":"c2","name":"now","arguments":"{}"},
    {"type":"function_call_output","call_id":"c1","output":"rain"},
    {"type":"message","role":"assistant","content":[{"type":"output_text","text":"Rain."}]}]})");
  EXPECT_EQ(request.messages.dump(),
            R"([{"role":"user","content":"Paris?"},)"
            R"({"role":"assistant","content":"","tool_calls":[)"
            R"({"id":"c1","type":"function","function":{"name":"weather","arguments":"{}"}},)"
            R"({"id":"c2","type":"function","function":{"name":"now","arguments":"{}"}}]},)"
            R"({"role":"tool","tool_call_id":"c1","content":"rain"},)"
            R"({"role":"assistant","content":"Rain."}])");
}

TEST(ResponseBody, ACallThatWasCutIsNone) {
  const ResponseRequest request = read(R"({"input":[
    {"role":"user","content":"Paris?"},
    {"type":"function_call","call_id":"c1","name":"weather","arguments":"{}","status":"completed"},
    {"type":"function_call","call_id":"c2","name":"now","arguments":"{\"a","status":"incomplete"},
    {"role":"user","content":"And?"},
    {"type":"function_call","call_id":"c3","name":"now","arguments":"{","status":"incomplete"}]})");
  EXPECT_EQ(request.messages.dump(),
            R"([{"role":"user","content":"Paris?"},)"
            R"({"role":"assistant","content":"","tool_calls":[)"
            R"({"id":"c1","type":"function","function":{"name":"weather","arguments":"{}"}}]},)"
            R"({"role":"user","content":"And?"},{"role":"assistant","content":""}])");
}

TEST(ResponseBody, RefusalsNameTheField) {
  const auto param = [](const std::string& body) -> std::string {
    try {
      read(body);
    } catch (const RequestError& error) {
      return error.param() + " " + std::to_string(error.status());
    }
    return "none";
  };
  EXPECT_EQ(param("{}"), "input 400");
  EXPECT_EQ(param(R"({"input":[]})"), "input 400");
  EXPECT_EQ(param(R"({"input":[{"type":"item_reference","id":"x"}]})"), "input[0].type 400");
  EXPECT_EQ(param(R"({"input":[{"role":"user","content":[{"type":"input_image"}]}]})"),
            "input[0].content 400");
  EXPECT_EQ(param(R"({"input":[{"type":"function_call","name":"f"}]})"), "input[0].call_id 400");
  EXPECT_EQ(param(R"({"input":"x","background":true})"), "background 400");
  EXPECT_EQ(param(R"({"input":"x","conversation":"c"})"), "conversation 400");
  EXPECT_EQ(param(R"({"input":"x","truncation":"auto"})"), "truncation 400");
  EXPECT_EQ(param(R"({"input":"x","max_output_tokens":0})"), "max_output_tokens 400");
  EXPECT_EQ(param(R"({"input":"x","reasoning":5})"), "reasoning 400");
  EXPECT_EQ(param(R"({"input":"x","user":{"a":1}})"), "user 400");
  EXPECT_EQ(param(R"({"input":"x","metadata":[]})"), "metadata 400");
  EXPECT_EQ(param(R"({"input":"x","parallel_tool_calls":"no"})"), "parallel_tool_calls 400");
  for (const char* count : {"-3", "0", "2.5", "\"a\"", "99999999999", "18446744073709551615"})
    EXPECT_EQ(param(std::string(R"({"input":"x","max_tool_calls":)") + count + "}"),
              "max_tool_calls 400");
  EXPECT_EQ(param(R"({"input":"x","reasoning":{},"user":"u","max_tool_calls":3})"), "none");
  EXPECT_EQ(param(R"({"input":"x","previous_response_id":"resp_2"})"), "previous_response_id 404");
}

std::vector<json> events_in(const std::string& text) {
  std::vector<json> events;
  for (size_t at = text.find("data: "); at != text.npos; at = text.find("data: ", at + 1))
    events.push_back(json::parse(text.substr(at + 6, text.find('\n', at) - at - 6)));
  return events;
}

TEST(ResponseItems, TellInOrder) {
  ResponseEvents events;
  ResponseItems items("resp_1", &events);
  text::AnswerParser parser({.reasoning = text::ReasoningFormat::kQwen3,
                             .tools = text::ToolFormat::kHermes,
                             .tool_names = {"now"}});
  const std::string answer =
      "<think>\nHm\n</think>\n\nWell. <tool_call>{\"name\": \"now\", \"arguments\": {\"a\": "
      "1}}</tool_call>";
  for (const char c : answer) items.take(parser.push({&c, 1}));
  items.take(parser.finish());
  items.finish(true);
  std::vector<std::string> types;
  int64_t number = 0;
  const std::string text = events.take();
  for (const json& event : events_in(text)) {
    EXPECT_EQ(event["sequence_number"], number++);
    const std::string type = event["type"].get<std::string>().substr(9);
    if (types.empty() || types.back() != type) types.push_back(type);
    EXPECT_THAT(text, HasSubstr("event: response." + type + "\n"));
  }
  EXPECT_THAT(types, ElementsAre("output_item.added", "content_part.added", "reasoning_text.delta",
                                 "reasoning_text.done", "content_part.done", "output_item.done",
                                 "output_item.added", "content_part.added", "output_text.delta",
                                 "output_text.done", "content_part.done", "output_item.done",
                                 "output_item.added", "function_call_arguments.delta",
                                 "function_call_arguments.done", "output_item.done"));
  const json& output = items.items();
  ASSERT_EQ(output.size(), 3u);
  EXPECT_EQ(output[0]["content"][0]["text"], "Hm");
  EXPECT_EQ(output[1]["content"][0]["text"], "Well. ");
  EXPECT_EQ(output[2]["arguments"], "{\"a\": 1}");
  EXPECT_EQ(output[2]["status"], "completed");
  EXPECT_TRUE(output[2]["call_id"].get<std::string>().starts_with("call_"));
  const json message = items.message();
  EXPECT_EQ(message["content"], "Well. ");
  EXPECT_EQ(message["tool_calls"][0]["id"], output[2]["call_id"]);
}

TEST(ResponseItems, LogprobsStandInTheirMessage) {
  using Kind = text::AnswerPart::Kind;
  ResponseEvents events;
  ResponseItems items("resp_1", &events);
  const auto take = [&](const char* token, Kind kind, const char* text) {
    items.note_logprobs(json::array({{{"token", token}}}));
    items.take({{.kind = kind, .text = text}});
  };
  take("why", Kind::kReasoning, "why");
  take("a", Kind::kContent, "a");
  items.note_logprobs(json::array({{{"token", "half"}}}));  // its text comes with the next
  take("b", Kind::kContent, "b");
  items.note_logprobs(json::array({{{"token", "end"}}}));
  items.finish(true);
  const json expected =
      json::parse(R"([{"token":"a"},{"token":"half"},{"token":"b"},{"token":"end"}])");
  EXPECT_EQ(items.items()[1]["content"][0]["logprobs"], expected);
  json told = json::array(), done;
  for (const json& event : events_in(events.take())) {
    if (event["type"] == "response.output_text.delta")
      for (const json& each : event["logprobs"]) told.push_back(each);
    if (event["type"] == "response.output_text.done") done = event["logprobs"];
  }
  EXPECT_EQ(told.size(), 3u);
  EXPECT_EQ(done, expected);
}

TEST(ResponseItems, WhatIsCutIsIncomplete) {
  ResponseItems items("resp_1", nullptr);
  items.take({{.kind = text::AnswerPart::Kind::kContent, .text = "a"}});
  items.finish(false);
  EXPECT_EQ(items.items()[0]["status"], "incomplete");
  ResponseItems empty("resp_1", nullptr);
  empty.finish(true);
  EXPECT_EQ(empty.items()[0]["content"][0]["text"], "");
}

TEST(ResponseStore, IsBoundedAndKeepsOwnersApart) {
  ResponseStore store({.responses = 3, .bytes = 80'000});
  for (int i = 0; i < 5; ++i)
    EXPECT_TRUE(store.put(fmt::format("r{}", i), {"alice", "{}", "[]", "[]"}));
  EXPECT_EQ(store.size(), 3u);
  EXPECT_FALSE(store.find("r1", "alice"));
  EXPECT_TRUE(store.find("r2", "alice"));
  EXPECT_FALSE(store.find("r2", "bob"));
  EXPECT_FALSE(store.erase("r2", "bob"));
  EXPECT_TRUE(store.erase("r2", "alice"));
  EXPECT_FALSE(store.find("r2", "alice"));
  EXPECT_FALSE(store.put("r4", {"bob", "{}", "[]", "[]"})) << "ids are never taken over";
  EXPECT_FALSE(store.put("large", {"alice", std::string(20'000, 'x'), "[]", "[]"}));
  for (int i = 0; i < 30; ++i)
    EXPECT_TRUE(store.put(fmt::format("b{}", i), {"bob", std::string(9'000, 'x'), "", ""}));
  EXPECT_LE(store.num_bytes(), 80'000u);
}

}  // namespace
}  // namespace weft::serve
