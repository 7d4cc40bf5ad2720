#include "serve/request_body.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "serve/json_source.h"
#include "serve/request_error.h"

namespace weft::serve {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using Kind = text::GrammarSpec::Kind;

const char* const kUser = R"("messages": [{"role": "user", "content": "x"}])";

RequestBody chat(const std::string& fields) {
  const std::string source = "{" + fields + "}";
  const json object = parse_json(source, "the body");
  RequestBody body;
  body.sampling.max_tokens = kOpenMaxTokens;
  read_chat(Fields(object, "", "", source), BodyLimits{}, &body);
  return body;
}
RequestBody asked(const std::string& fields) { return chat(std::string(kUser) + ", " + fields); }

RequestBody completion(const std::string& fields) {
  const json object = parse_json("{" + fields + "}", "the body");
  RequestBody body;
  read_completion(Fields(object, ""), BodyLimits{}, &body);
  return body;
}

// The error object that a body is refused with.
json refusal(const std::string& fields, RequestBody (*parse)(const std::string&) = asked) {
  try {
    parse(fields);
  } catch (const Error& error) {
    const ErrorObject answer = error_object(error);
    EXPECT_EQ(answer.status, 400);
    return json::parse(error_json(answer)).at("error");
  }
  ADD_FAILURE() << "accepted: " << fields;
  return {{"message", ""}, {"param", ""}, {"code", ""}};
}

struct Case {
  const char* fields;
  const char* param;
  const char* code;
  const char* message;
};

TEST(RequestBody, RefusalsNameTheFieldWithACode) {
  const Case cases[] = {
      {R"("temperature": "hot")", "temperature", "invalid_value", "temperature is \"hot\""},
      {R"("temperature": -1)", "temperature", "invalid_value", "temperature is -1"},
      {R"("top_p": 0)", "top_p", "invalid_value", "top_p is 0"},
      {R"("top_p": 1.5)", "top_p", "invalid_value", "top_p is 1.5"},
      {R"("top_p": 1.0000000000000002)", "top_p", "invalid_value", "top_p is 1.0000001"},
      {R"("temperature": -1e-60)", "temperature", "invalid_value", "temperature is -1.17"},
      {R"("frequency_penalty": -2.0000000001)", "frequency_penalty", "invalid_value", "-2.0000002"},
      {R"("n": 129)", "n", "invalid_value", "1 to 128"},
      {R"("n": 1.5)", "n", "invalid_value", "whole number"},
      {R"("best_of": 200)", "best_of", "invalid_value", "1 to 128"},
      {R"("max_completion_tokens": 0)", "max_completion_tokens", "invalid_value", "1 to "},
      {R"("max_tokens": 3, "min_tokens": 5)", "min_tokens", "invalid_value", "min_tokens is 5"},
      {R"("stop": [""])", "stop", "invalid_value", "0 bytes"},
      {R"("stop": 5)", "stop", "invalid_value", "a list of texts"},
      {R"("logit_bias": {"5": 101})", "logit_bias", "invalid_value", "101"},
      {R"("logit_bias": {"5": 100.0000000001})", "logit_bias", "invalid_value", "100.00001"},
      {R"("logit_bias": {"x": 1})", "logit_bias", "invalid_value", "token ids"},
      {R"("logprobs": true, "top_logprobs": 21)", "top_logprobs", "invalid_value", "0 to 20"},
      {R"("logprobs": true, "top_logprobs": -1)", "top_logprobs", "invalid_value", "-1"},
      {R"("top_logprobs": 2)", "top_logprobs", "invalid_value", "without logprobs"},
      {R"("seed": "a")", "seed", "invalid_value", "whole number"},
      {R"("stream": 1)", "stream", "invalid_value", "true or false"},
      {R"("stream_options": {"include_usage": true})", "stream_options", "invalid_value",
       "without stream"},
      {R"("truncate_prompt_tokens": 0)", "truncate_prompt_tokens", "invalid_value",
       "1 to 2147483647"},
      {R"("guided_json": "{")", "guided_json", "invalid_json", "guided_json is no JSON"},
      {R"("structured_outputs": {"json": "{"})", "structured_outputs.json", "invalid_json",
       "json is no JSON"},
      {R"("stream": true, "stream_options": {"include_usage": 1})", "stream_options.include_usage",
       "invalid_value", "include_usage is 1"},
      {R"("cache_salt": "")", "cache_salt", "invalid_value", "not empty"},
      {R"("model": 7)", "model", "invalid_value", "a text"},
      {R"("echo": true)", "echo", "invalid_value", "/v1/completions"},
      {R"("suffix": "x")", "suffix", "unsupported_parameter", "suffix cannot be honoured"},
      {R"("chat_template": "{{x}}")", "chat_template", "unsupported_parameter", "chat_template"},
      {R"("functions": [{}])", "functions", "unsupported_parameter", "tools"},
      {R"("chat_template_kwargs": {"messages": 1})", "chat_template_kwargs.messages",
       "invalid_value", "cannot set 'messages'"},
      {R"("chat_template_kwargs": {"a": [1]})", "chat_template_kwargs.a", "invalid_value", "a is"},
      {R"("continue_final_message": true, "add_generation_prompt": true)", "continue_final_message",
       "invalid_value", "both"},
      {R"("response_format": {"type": "xml"})", "response_format.type", "invalid_value", "xml"},
      {R"("response_format": {"type": "json_schema"})", "response_format.json_schema",
       "missing_required_parameter", "json_schema is missing"},
      {R"("response_format": {"type": "json_schema", "json_schema": {"name": "a b"}})",
       "response_format.json_schema.name", "invalid_value", "letters"},
      {R"("guided_regex": "a", "guided_json": {})", "guided_regex", "invalid_value", "both given"},
      {R"("structured_outputs": {"choice": []})", "structured_outputs.choice", "invalid_value",
       "one text at least"},
      {R"("structured_outputs": {})", "structured_outputs", "invalid_value", "asks for nothing"},
      {R"("structured_outputs": {"json": null})", "structured_outputs", "invalid_value", "nothing"},
      {R"("structured_outputs": {"regexp": "a"})", "structured_outputs.regexp", "invalid_value",
       "no field regexp"},
      {R"("structured_outputs": {"regex": "a", "whitespace_pattern": " "})",
       "structured_outputs.whitespace_pattern", "unsupported_parameter", "cannot be honoured"},
      {R"("structured_outputs": {"structural_tag": {"structures": []}})",
       "structured_outputs.structural_tag.triggers", "missing_required_parameter",
       "a list of texts"},
      {R"("structured_outputs": {"structural_tag": "{\"triggers\": [\"<f\"]}"})",
       "structural_tag.structures", "missing_required_parameter", "a list of objects"},
      {R"("response_format": {"type": "structural_tag", "format": {"type": "telegram"}})",
       "response_format.format.type", "invalid_value", "'telegram' cannot be honoured"},
      {R"("response_format": {"type": "structural_tag", "triggers": ["<f"],
          "structures": [{"begin": "<g", "schema": {}, "end": ""}]})",
       "response_format.structures[0].begin", "invalid_value", "begins with a trigger"},
  };
  for (const Case& one : cases) {
    const json error = refusal(one.fields);
    EXPECT_EQ(error["param"], one.param) << one.fields << " " << error;
    EXPECT_EQ(error["code"], one.code) << one.fields << " " << error;
    EXPECT_EQ(error["type"], "invalid_request_error");
    EXPECT_THAT(error["message"].get<std::string>(), HasSubstr(one.message)) << one.fields;
  }
}

// A field with the bounds that hold, and what else stands in the body.
struct Bounded {
  const char* field;
  int64_t low, high;
  const char* beside = "";
  RequestBody (*parse)(const std::string&) = asked;
};

RequestBody prompted(const std::string& fields) {
  return completion(R"("prompt": "x", )" + fields);
}

TEST(RequestBody, BoundsThatRefusalsNameAreThoseThatHold) {
  constexpr int64_t kMostTokens = int64_t{1} << 40;
  const Bounded cases[] = {
      {"n", 1, 128},
      {"best_of", 1, 128},
      {"best_of", 3, 128, R"(, "n": 3)"},
      {"max_tokens", 1, kMostTokens},
      {"max_completion_tokens", 1, kMostTokens},
      {"max_tokens", 1, kMostTokens, "", prompted},
      {"max_tokens", 0, kMostTokens, R"(, "echo": true)", prompted},
      {"min_tokens", 0, 7, R"(, "max_tokens": 7)"},
      {"min_tokens", 0, kOpenMaxTokens},
      {"min_tokens", 0, 16, "", prompted},
      {"top_k", -1, INT32_MAX},
      {"truncate_prompt_tokens", 1, INT32_MAX},
      {"logprobs", 0, 20, "", prompted},
      {"top_logprobs", 0, 20, R"(, "logprobs": true)"},
      {"prompt_logprobs", 0, 20},
      {"priority", INT32_MIN, INT32_MAX},
      {"temperature", 0, 100},
      {"min_p", 0, 1},
      {"presence_penalty", -2, 2},
      {"frequency_penalty", -2, 2},
  };
  for (const Bounded& one : cases) {
    const auto with = [&](const std::string& value) {
      return fmt::format(R"("{}": {}{})", one.field, value, one.beside);
    };
    for (const int64_t within : {one.low, one.high})
      EXPECT_NO_THROW(one.parse(with(std::to_string(within)))) << with(std::to_string(within));
    const std::string range = fmt::format("{} to {}", one.low, one.high);
    for (const std::string& beyond : {std::to_string(one.low - 1), std::to_string(one.high + 1),
                                      std::string("-1e300"), std::string("18446744073709551615")}) {
      if (one.field == std::string_view("best_of") && beyond == "0") continue;  // as many as n
      const json error = refusal(with(beyond), one.parse);
      EXPECT_EQ(error["param"], one.field) << with(beyond);
      const std::string message = error["message"];
      // A float's field is asked first whether it can hold the number at all.
      EXPECT_THAT(message, ::testing::AnyOf(HasSubstr(range), HasSubstr("32 bits")))
          << with(beyond);
    }
  }
}

TEST(RequestBody, RefusalsOfMessagesAndPrompts) {
  EXPECT_EQ(refusal("", chat)["code"], "missing_required_parameter");
  EXPECT_EQ(refusal(R"("messages": [])", chat)["param"], "messages");
  EXPECT_EQ(refusal(R"("messages": [{"content": "x"}])", chat)["param"], "messages[0].role");
  EXPECT_EQ(refusal(R"("messages": [5])", chat)["param"], "messages[0]");
  const json image =
      refusal(R"("messages": [{"role": "user", "content": [{"type": "image_url"}]}])", chat);
  EXPECT_EQ(image["param"], "messages[0].content.type");
  EXPECT_THAT(image["message"].get<std::string>(), HasSubstr("image_url"));
  for (const char* part : {R"({"type": "text"})", R"({"type": "text", "text": null})"})
    EXPECT_EQ(refusal(R"("messages": [{"role": "user", "content": [)" + std::string(part) + "]}]",
                      chat)["param"],
              "messages[0].content.text");
  EXPECT_EQ(refusal(R"("prompt": [1, "a"])", completion)["param"], "prompt");
  EXPECT_EQ(refusal(R"("prompt": [])", completion)["param"], "prompt");
  std::string many = "[\"a\"";
  for (int i = 0; i < 1024; ++i) many += ",\"a\"";
  EXPECT_THAT(refusal("\"prompt\": " + many + "]", completion)["message"].get<std::string>(),
              HasSubstr("1025 prompts"));
}

TEST(RequestBody, GrammarsComeInEveryForm) {
  const auto spec = [](const std::string& fields) { return asked(fields).grammar.value(); };
  EXPECT_FALSE(asked(R"("response_format": {"type": "text"})").grammar);
  EXPECT_EQ(spec(R"("response_format": {"type": "json_object"})").kind, Kind::kJsonObject);
  const text::GrammarSpec schema = spec(
      R"("response_format": {"type": "json_schema", "json_schema": {"name": "a", "strict": true,
          "schema": {"type": "object", "properties": {"b": {}, "a": {}}}}})");
  EXPECT_EQ(schema.kind, Kind::kJsonSchema);
  EXPECT_EQ(json::parse(schema.source)["type"], "object");
  EXPECT_EQ(spec(R"("response_format": {"type": "json_object", "schema": {"type": "null"}})"),
            (text::GrammarSpec{Kind::kJsonSchema, R"({"type": "null"})"}));
  EXPECT_EQ(spec(R"("structured_outputs": {"regex": "a+", "disable_fallback": true})"),
            (text::GrammarSpec{Kind::kRegex, "a+"}));
  EXPECT_EQ(spec(R"("guided_choice": ["yes", "no"])"),
            (text::GrammarSpec{Kind::kChoice, R"(["yes","no"])"}));
  EXPECT_EQ(spec(R"("guided_json": "{\"type\": \"string\"}")"),
            (text::GrammarSpec{Kind::kJsonSchema, R"({"type": "string"})"}));
  EXPECT_EQ(spec(R"("structured_outputs": {"grammar": "start: \"a\""})"),
            (text::GrammarSpec{Kind::kLark, "start: \"a\""}));
}

TEST(JsonSource, FindsTheLastValueOfAName) {
  const std::string_view object =
      R"( { "a" : {"b": [1, "}"], "c\"": 2} , "d":"x,\"}", "a":-1.5e3 })";
  EXPECT_EQ(json_source(object, "a"), "-1.5e3");
  EXPECT_EQ(json_source(object, "d"), R"("x,\"}")");
  EXPECT_EQ(json_source(object, "b"), "");
  EXPECT_EQ(json_source(R"({"a": {"b": [1, "}"], "c": 2}, "e": [[]]})", "a"),
            R"({"b": [1, "}"], "c": 2})");
  EXPECT_EQ(json_source(R"({"a": {}, "e":[[],{"a":1}]})", "e"), R"([[],{"a":1}])");
  for (const char* broken : {"", "{", "{\"a", "{\"a\":", "{\"a\":\"", "{\"a\":\"\\", "[1]"})
    EXPECT_EQ(json_source(broken, "b"), "") << broken;
}

// A text that is read in two ways, by its source and by a parser, is a way around checks.
TEST(JsonSource, FindsWhatAParserKeeps) {
  for (const std::string object :
       {R"({"end":1,"\u0065nd":2})", R"({"e\u006Ed":1,"end":2})", R"({"end":2,"e\nd":1})",
        R"({"\u0065\u006e\u0064":2})", R"({"end":2,"end\u0000":1})", R"({"end":2,"\\u0065nd":1})",
        R"({"end":2,"\u00e5nd":1,"\u0165nd":1})", R"({"end":2,"en":1,"\u0065n":1})",
        "\xEF\xBB\xBF{\"end\":2}"}) {
    EXPECT_EQ(json_source(object, "end"), "2") << object;
    EXPECT_EQ(nlohmann::json::parse(object)["end"], 2) << object;
  }
}

// llguidance writes an object's properties in the order of its schema.
TEST(RequestBody, SchemasKeepTheOrderOfTheirProperties) {
  const std::string source =
      asked(R"("guided_json": {"type": "object", "properties": {"zeta": {}, "alpha": {}}})")
          .grammar->source;
  EXPECT_LT(source.find("zeta"), source.find("alpha"));
}

TEST(RequestBody, ReadsWhatTheServerAdds) {
  const RequestBody body = asked(
      R"("model": "m", "stream": true, "continue_final_message": true, "truncate_prompt_tokens": 7,
         "stream_options": {"include_usage": true, "continuous_usage_stats": true},
         "return_tokens_as_token_ids": true, "max_tokens": 4, "user": "u", "store": false,
         "metadata": {"a": "b"}, "safety_identifier": "s")");
  EXPECT_EQ(body.model, "m");
  EXPECT_TRUE(body.streams && body.include_usage && body.continuous_usage_stats);
  EXPECT_TRUE(body.continue_final_message && !body.add_generation_prompt);
  EXPECT_EQ(body.truncate_prompt_tokens, 7);
  EXPECT_TRUE(body.return_tokens_as_token_ids);
  EXPECT_TRUE(body.names_max_tokens);
  EXPECT_FALSE(asked(R"("n": 1)").names_max_tokens);
  EXPECT_FALSE(asked(R"("stream_options": {})").include_usage);  // asks for nothing
}

TEST(RequestBody, ADeveloperIsTheSystem) {
  EXPECT_EQ(json::parse(chat(R"("messages": [{"role": "developer", "content": "x"}])").messages),
            json::parse(R"([{"role": "system", "content": "x"}])"));
}

std::string keys(int from, int count, const std::string& value) {
  std::string text;
  for (int i = from; i < from + count; ++i)
    text += fmt::format("{}\"{}\":{}", i > from ? "," : "", i, value);
  return text;
}

// An object that keeps the order of its keys compares each with all before it.
TEST(RequestFields, KeysAreCounted) {
  const std::string most = "{" + keys(0, kMaxObjectKeys, "1") + "}";
  EXPECT_EQ(parse_ordered_json(most, "x").size(), size_t{kMaxObjectKeys});
  EXPECT_EQ(parse_json("[" + most + "," + most + "]", "x").size(), 2u);
  const std::string more = "{" + keys(0, kMaxObjectKeys + 1, "1") + "}";
  EXPECT_THROW(parse_ordered_json(more, "x"), RequestError);
  EXPECT_THROW(parse_json("{\"a\":[1," + more + "]}", "x"), RequestError);
  // The same key again is compared as often.
  std::string same = "{\"a\":1";
  for (int i = 0; i < kMaxObjectKeys; ++i) same += ",\"a\":1";
  EXPECT_THROW(parse_ordered_json(same + "}", "x"), RequestError);
}

std::string list_of(int count, const std::string& entry) {
  std::string text = "[" + entry;
  for (int i = 1; i < count; ++i) text += "," + entry;
  return text + "]";
}

TEST(RequestFields, WhatCostsMemoryIsCounted) {
  EXPECT_EQ(parse_json(list_of(kMaxJsonContainers - 1, "{}"), "x").size(),
            size_t{kMaxJsonContainers - 1});
  EXPECT_EQ(parse_json(list_of(kMaxJsonTexts, "\"\""), "x").size(), size_t{kMaxJsonTexts});
  EXPECT_EQ(parse_json(list_of(3'000'000, "1"), "x").size(), 3'000'000u);  // a prompt of ids
  const std::string most = "{" + keys(0, kMaxObjectKeys, "1") + "}";
  const std::pair<std::string, const char*> beyond[] = {
      {list_of(kMaxJsonContainers, "{}"), "objects and lists"},
      {list_of(kMaxJsonContainers, "[]"), "objects and lists"},
      {list_of(kMaxJsonTexts + 1, "\"\""), "too many texts"},
      {list_of(kMaxJsonValues, "1"), "too many values"},
      {list_of(kMaxJsonKeys / 2 + 1, R"({"a":1,"b":2})"), "too many keys"},
      {list_of(3, most), "comparisons of keys"},
  };
  for (const auto& [text, what] : beyond) {
    try {
      parse_json(text, "x");
      ADD_FAILURE() << what;
    } catch (const RequestError& error) {
      EXPECT_THAT(std::string(error.what()), HasSubstr(what));
      EXPECT_EQ(error.code(), "invalid_json");
    }
  }
}

// As much within one text as in several: a conversation holds as many as it has calls.
TEST(RequestFields, TextsCountTogether) {
  const std::string half = list_of(kMaxJsonContainers / 2, "[]");
  JsonCount count;
  parse_ordered_json(half, "x", &count);
  EXPECT_EQ(count.containers, kMaxJsonContainers / 2 + 1);
  EXPECT_THROW(parse_ordered_json(half, "x", &count), RequestError);
}

// A filter of nlohmann's parser looked at all of a list at the end of each object in it: 20 s.
TEST(RequestFields, ParsingTakesTimeByTheByte) {
  const int64_t begin = now_ns();
  const std::string list = list_of(kMaxJsonContainers - 2, "{}");
  EXPECT_EQ(parse_json("{\"z\":" + list + "}", "x").size(), 1u);
  EXPECT_EQ(parse_ordered_json(list, "x").size(), size_t{kMaxJsonContainers - 2});
  const std::string most = "{" + keys(0, kMaxObjectKeys, "1") + "}";
  EXPECT_EQ(parse_ordered_json(list_of(2, most), "x").size(), 2u);
  EXPECT_LT(seconds_between(begin, now_ns()), 10.0);  // 0.07 s, under AddressSanitizer 1.8
}

// The text of a body was read to its end for each of its messages.
TEST(RequestBody, ManyMessagesInALargeBodyAreReadOnce) {
  const auto seconds_with = [](int num_messages) {
    const std::string body = fmt::format(
        R"("z": "{}", "messages": {})", std::string(8 << 20, 'z'),
        list_of(num_messages, R"({"role":"user","content":[{"type":"text","text":"a"}]})"));
    const int64_t begin = now_ns();
    EXPECT_EQ(chat(body).last_content, "a");
    return seconds_between(begin, now_ns());
  };
  // Once for each message would take a thousand times as long.
  EXPECT_LT(seconds_with(4096), 100 * seconds_with(1));
}

TEST(RequestBody, IdsAreBounded) {
  const auto list = [](int count) {
    std::string ids = "0";
    for (int i = 1; i < count; ++i) ids += fmt::format(",{}", i % 50);
    return ids;
  };
  EXPECT_EQ(asked("\"stop_token_ids\": [" + list(1024) + "]").sampling.stop_token_ids.size(),
            1024u);
  EXPECT_EQ(refusal("\"stop_token_ids\": [" + list(1025) + "]")["param"], "stop_token_ids");
  const RequestBody allowed = asked("\"allowed_token_ids\": [" + list(2000) + "]");
  EXPECT_EQ(allowed.sampling.allowed_token_ids->size(), 50u);  // a set
  EXPECT_EQ(asked("\"logit_bias\": {" + keys(0, 4096, "1") + "}").sampling.logit_bias.size(),
            4096u);
}

TEST(RequestBody, ATemplateSeesWhatItKnowsOfAMessage) {
  const RequestBody body = chat(R"("messages": [
      {"role": "user", "content": "x", "name": "ann", "secret": {"a": [1]}, "tool_calls": []},
      {"role": "assistant", "content": "y", "reasoning_content": "z", "tool_calls": [{"id": "1"}]},
      {"role": "tool", "content": "w", "tool_call_id": "1"}])");
  EXPECT_EQ(json::parse(body.messages), json::parse(R"([
      {"role": "user", "content": "x", "name": "ann"},
      {"role": "assistant", "content": "y", "reasoning_content": "z", "tool_calls": [{"id": "1"}]},
      {"role": "tool", "content": "w", "tool_call_id": "1"}])"));
  EXPECT_EQ(refusal(R"("messages": [{"role": "user", "content": "x", "name": {}}])", chat)["param"],
            "messages[0].name");
}

TEST(RequestBody, DocumentsAreBounded) {
  EXPECT_EQ(json::parse(asked(R"("documents": [{"title": "t", "n": 1}])").template_variables),
            json::parse(R"({"documents": [{"title": "t", "n": 1}]})"));
  EXPECT_EQ(refusal(R"("documents": [{"title": [1]}])")["param"], "documents.title");
  EXPECT_EQ(refusal(R"("documents": ["a"])")["param"], "documents");
  std::string many = "{}";
  for (int i = 0; i < 256; ++i) many += ",{}";
  EXPECT_EQ(refusal("\"documents\": [" + many + "]")["param"], "documents");
  const std::string large(1 << 20, 'x');
  EXPECT_EQ(refusal("\"documents\": [{\"text\": \"" + large + "\"}]")["param"], "documents");
}

TEST(RequestError, WhatAnEngineSaysNamesAFieldOfTheBody) {
  const json body = {{"n", 1}, {"stop_token_ids", {7}}, {"top_p", 1}};
  EXPECT_EQ(error_object(Error(ErrorKind::kUsage, "stop_token_ids names token id 7"), &body).param,
            "stop_token_ids");
  EXPECT_EQ(error_object(Error(ErrorKind::kUsage, "nothing of it"), &body).param, "");
}

TEST(RequestError, InsidesAreNotTold) {
  const ErrorObject lost =
      error_object(Error(ErrorKind::kCommunication, "rank 1 at /dev/shm/x is silent"));
  const ErrorObject busy =
      error_object(Error(ErrorKind::kBusy, "too many are stuck, try again later"));
  EXPECT_EQ(busy.status, 503);
  EXPECT_EQ(busy.message, "too many are stuck, try again later");
  EXPECT_EQ(lost.status, 503);
  EXPECT_THAT(lost.message, testing::Not(HasSubstr("/dev")));
  const ErrorObject bug = error_object(Error(ErrorKind::kInternal, "0x7fff1234"));
  EXPECT_EQ(bug.status, 500);
  EXPECT_THAT(bug.message, testing::Not(HasSubstr("0x")));
}

}  // namespace
}  // namespace weft::serve
