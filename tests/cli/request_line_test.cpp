#include "cli/request_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "serve/request_fields.h"

namespace weft::cli {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

RequestLine parse(const std::string& text, LineDefaults defaults = {}) {
  return parse_request_line(text, 7, defaults);
}

RequestLine parse_body(const std::string& body, const std::string& url = "/v1/completions") {
  return parse(R"({"custom_id": "a", "method": "POST", "url": ")" + url + R"(", "body": )" + body +
               "}");
}

std::string refusal(const std::string& text) {
  try {
    parse(text);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    return error.what();
  }
  return "";
}

std::string refusal_of_body(const std::string& fields) {
  return refusal(R"({"url": "/v1/completions", "body": {"prompt": "x", )" + fields + "}}");
}

TEST(RequestLine, APromptAloneIsAChat) {
  LineDefaults defaults;
  defaults.system = "Be brief.";
  defaults.prompt.max_tokens = 512;
  defaults.prompt.temperature = 0;
  for (const char* text : {R"("Where?")", R"({"prompt": "Where?"})"}) {
    const RequestLine line = parse(text, defaults);
    EXPECT_TRUE(line.is_chat);
    EXPECT_EQ(line.custom_id, "line-7");
    EXPECT_EQ(json::parse(line.messages),
              json::parse(R"([{"role": "system", "content": "Be brief."},
                              {"role": "user", "content": "Where?"}])"));
    EXPECT_EQ(line.sampling.max_tokens, 512);
    EXPECT_EQ(line.sampling.temperature, 0.0f);
  }
  defaults.chat_template = false;
  const RequestLine plain = parse(R"({"prompt": "Where?", "max_tokens": 3})", defaults);
  EXPECT_FALSE(plain.is_chat);
  EXPECT_EQ(plain.sampling.max_tokens, 3);
  EXPECT_THAT(plain.prompts, ElementsAre(LinePrompt("Where?")));
}

TEST(RequestLine, AGrammarOfTheCommandIsForPromptsAloneThatNameNone) {
  LineDefaults defaults;
  defaults.grammar = text::GrammarSpec{text::GrammarSpec::Kind::kRegex, "[0-9]+"};
  for (const char* text : {R"("How many?")", R"({"prompt": "How many?"})"})
    EXPECT_EQ(parse(text, defaults).grammar, defaults.grammar) << text;
  const RequestLine own =
      parse(R"({"prompt": "How many?", "structured_outputs": {"regex": "[a-z]+"}})", defaults);
  ASSERT_TRUE(own.grammar);
  EXPECT_EQ(own.grammar->source, "[a-z]+");
  EXPECT_FALSE(
      parse(R"({"body": {"messages": [{"role": "user", "content": "How many?"}]}})", defaults)
          .grammar);
  EXPECT_NE(parse(R"("How many?")", defaults).request_id, parse(R"("How many?")").request_id);
}

TEST(RequestLine, BatchRequestsHaveTheDefaultsOfTheApi) {
  LineDefaults defaults;
  defaults.chat.max_tokens = kOpenMaxTokens;
  const RequestLine chat = parse(
      R"({"custom_id": "c", "body": {"messages": [{"role": "user", "content": "x"}]}})", defaults);
  EXPECT_TRUE(chat.is_chat);
  EXPECT_EQ(chat.custom_id, "c");
  EXPECT_EQ(chat.sampling.max_tokens, kOpenMaxTokens);
  EXPECT_EQ(chat.sampling.temperature, 1.0f);
  EXPECT_FALSE(chat.add_special_tokens);
  const RequestLine completion = parse_body(R"({"prompt": "x"})");
  EXPECT_FALSE(completion.is_chat);
  EXPECT_EQ(completion.sampling.max_tokens, 16);
  EXPECT_TRUE(completion.add_special_tokens);
}

TEST(RequestLine, PromptsAreTextsOrIdsOrListsOfThem) {
  EXPECT_THAT(parse_body(R"({"prompt": [1, 2]})").prompts,
              ElementsAre(LinePrompt(std::vector<int32_t>{1, 2})));
  EXPECT_THAT(parse_body(R"({"prompt": ["a", "b"]})").prompts,
              ElementsAre(LinePrompt("a"), LinePrompt("b")));
  EXPECT_THAT(
      parse_body(R"({"prompt": [[1], [2, 3]]})").prompts,
      ElementsAre(LinePrompt(std::vector<int32_t>{1}), LinePrompt(std::vector<int32_t>{2, 3})));
  for (const char* prompt :
       {"[]", "[[]]", "7", "{}", "[1, -2]", "[1, \"a\"]", "[1.5]", "[4294967296]", "[true]"}) {
    EXPECT_THAT(
        refusal(R"({"url": "/v1/completions", "body": {"prompt": )" + std::string(prompt) + "}}"),
        HasSubstr("line 7, body: prompt is"))
        << prompt;
  }
}

TEST(RequestLine, ReadsEverySamplingField) {
  const engine::SamplingParams p =
      parse_body(R"({"prompt": "x", "temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.1,
        "typical_p": 0.95, "seed": -3, "n": 2, "best_of": 3, "stop": "end", "stop_token_ids": [5],
        "max_tokens": 20, "min_tokens": 4, "logprobs": 5, "prompt_logprobs": 1,
        "repetition_penalty": 1.1, "presence_penalty": 0.3, "frequency_penalty": -0.4,
        "logit_bias": {"12": -100, "3": 1.5}, "allowed_token_ids": [1, 2], "ignore_eos": true,
        "include_stop_str_in_output": true, "skip_special_tokens": false})")
          .sampling;
  EXPECT_EQ(p.temperature, 0.5f);
  EXPECT_EQ(p.top_p, 0.9f);
  EXPECT_EQ(p.top_k, 40);
  EXPECT_EQ(p.min_p, 0.1f);
  EXPECT_EQ(p.typical_p, 0.95f);
  EXPECT_EQ(p.seed, static_cast<uint64_t>(int64_t{-3}));
  EXPECT_EQ(p.n, 2);
  EXPECT_EQ(p.best_of, 3);
  EXPECT_THAT(p.stop, ElementsAre("end"));
  EXPECT_THAT(p.stop_token_ids, ElementsAre(5));
  EXPECT_EQ(p.max_tokens, 20);
  EXPECT_EQ(p.min_tokens, 4);
  EXPECT_EQ(p.logprobs, 5);
  EXPECT_EQ(p.prompt_logprobs, 1);
  EXPECT_EQ(p.repetition_penalty, 1.1f);
  EXPECT_EQ(p.presence_penalty, 0.3f);
  EXPECT_EQ(p.frequency_penalty, -0.4f);
  ASSERT_EQ(p.logit_bias.size(), 2u);
  EXPECT_EQ(p.logit_bias[0].id, 12);
  EXPECT_EQ(p.logit_bias[0].bias, -100.0f);
  EXPECT_THAT(*p.allowed_token_ids, ElementsAre(1, 2));
  EXPECT_TRUE(p.ignore_eos);
  EXPECT_TRUE(p.include_stop_str_in_output);
  EXPECT_FALSE(p.skip_special_tokens);
}

TEST(RequestLine, ReadsWhatStandsBesideTheSampling) {
  const RequestLine line = parse_body(
      R"({"prompt": "x", "bad_words": ["no"], "priority": -2, "cache_salt": "s", "echo": true,
          "logprobs": 2, "max_tokens": 0, "return_token_ids": true, "stream": true})");
  EXPECT_THAT(line.bad_words, ElementsAre("no"));
  EXPECT_EQ(line.priority, -2);
  EXPECT_NE(line.cache_salt, 0u);
  EXPECT_NE(line.cache_salt, parse_body(R"({"prompt": "x", "cache_salt": "t"})").cache_salt);
  EXPECT_TRUE(line.echo);
  EXPECT_TRUE(line.only_echo);
  EXPECT_EQ(line.sampling.prompt_logprobs, 2);
  EXPECT_TRUE(line.return_token_ids);
  EXPECT_TRUE(line.streams);
}

TEST(RequestLine, ChatsAskForLogprobsWithASwitch) {
  const auto asked = [](const std::string& fields) {
    return parse_body(R"({"messages": [{"role": "user", "content": "x"}])" + fields + "}",
                      "/v1/chat/completions")
        .sampling;
  };
  EXPECT_EQ(asked(R"(, "logprobs": true)").logprobs, 0);
  EXPECT_EQ(asked(R"(, "logprobs": true, "top_logprobs": 3)").logprobs, 3);
  EXPECT_FALSE(asked(R"(, "logprobs": false)").logprobs);
  EXPECT_EQ(asked(R"(, "max_tokens": 5, "max_completion_tokens": 9)").max_tokens, 9);
}

TEST(RequestLine, MessagesKeepWhatTemplatesRead) {
  const RequestLine line = parse_body(
      R"({"messages": [{"role": "user", "name": "Ada", "content": [{"type": "text", "text": "a"},
          {"type": "text", "text": "b"}]}, {"role": "assistant", "content": null}],
          "chat_template_kwargs": {"enable_thinking": false}, "add_generation_prompt": false})",
      "/v1/chat/completions");
  EXPECT_EQ(json::parse(line.messages),
            json::parse(R"([{"role": "user", "name": "Ada", "content": "ab"},
                            {"role": "assistant", "content": ""}])"));
  EXPECT_EQ(json::parse(line.template_variables), json::parse(R"({"enable_thinking": false})"));
  EXPECT_FALSE(line.add_generation_prompt);
}

TEST(RequestLine, MistakesNameTheLineAndTheField) {
  EXPECT_THAT(refusal("{"), HasSubstr("line 7 is no JSON"));
  EXPECT_THAT(refusal("[1]"), HasSubstr("line 7 is [1]: an object is expected"));
  EXPECT_THAT(refusal(R"({"prompt": "a", "messages": [{"role": "user", "content": "b"}]})"),
              HasSubstr("messages and prompt are both given"));
  EXPECT_THAT(refusal("{}"), HasSubstr("neither body, nor messages, nor prompt"));
  EXPECT_THAT(refusal_of_body(R"("temperature": "hot")"),
              HasSubstr("line 7, body: temperature is \"hot\": a number is expected"));
  EXPECT_THAT(refusal_of_body(R"("temperature": -1)"),
              AllOf(HasSubstr("line 7, body"), HasSubstr("temperature is -1")));
  EXPECT_THAT(refusal_of_body(R"("top_p": 0)"),
              testing::AllOf(HasSubstr("top_p is 0"), HasSubstr("(0, 1]")));
  EXPECT_THAT(refusal_of_body(R"("top_p": 1e39)"), HasSubstr("32 bits"));
  EXPECT_THAT(refusal_of_body(R"("top_p": 1e999)"), HasSubstr("line 7 is no JSON"));
  EXPECT_THAT(refusal_of_body(R"("n": 1.5)"), HasSubstr("n is 1.5: a whole number is expected"));
  EXPECT_THAT(refusal_of_body(R"("n": 0)"), HasSubstr("n is 0"));
  EXPECT_THAT(refusal_of_body(R"("n": 18446744073709551615)"), HasSubstr("n is"));
  EXPECT_THAT(refusal_of_body(R"("max_tokens": 0)"), HasSubstr("max_tokens is 0"));
  EXPECT_THAT(refusal_of_body(R"("stop": [1])"), HasSubstr("stop is [1]: a list of texts"));
  EXPECT_THAT(refusal_of_body(R"("logit_bias": {"a": 1})"), HasSubstr("logit_bias is"));
  EXPECT_THAT(refusal_of_body(R"("logit_bias": {"1": 101})"),
              HasSubstr("logit_bias of token id 1"));
  EXPECT_THAT(refusal_of_body(R"("ignore_eos": 1)"), HasSubstr("true or false"));
  EXPECT_THAT(refusal_of_body(R"("top_logprobs": 3)"), HasSubstr("without logprobs"));
  EXPECT_THAT(refusal_of_body(R"("logprobs": 129)"), HasSubstr("logprobs is 129"));
  EXPECT_THAT(refusal_of_body(R"("cache_salt": "")"), HasSubstr("cache_salt"));
  EXPECT_THAT(refusal(R"({"custom_id": 5, "prompt": "x"})"), HasSubstr("custom_id is 5"));
  EXPECT_THAT(refusal(R"({"url": "/v1/embeddings", "body": {"input": "x"}})"),
              HasSubstr("url is \"/v1/embeddings\""));
  EXPECT_THAT(refusal(R"({"method": "GET", "body": {}})"), HasSubstr("method is \"GET\""));
  EXPECT_THAT(refusal(R"({"messages": []})"), HasSubstr("messages is []"));
  EXPECT_THAT(refusal(R"({"messages": [{"content": "x"}]})"),
              HasSubstr("line 7: messages[0]: role is missing"));
  EXPECT_THAT(refusal(R"({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]})"),
              HasSubstr("parts of type 'image_url' cannot be read"));
}

TEST(RequestLine, WhatCannotBeHonouredIsRefusedByName) {
  EXPECT_THAT(refusal_of_body(R"("tools": [{"type": "function"}])"),
              HasSubstr("tools cannot be honoured"));
  EXPECT_EQ(refusal_of_body(R"("response_format": {"type": "json_object"})"), "");
  EXPECT_THAT(refusal_of_body(R"("guided_regex": "a+", "guided_json": {})"), HasSubstr("guided_"));
  EXPECT_THAT(refusal_of_body(R"("suffix": "x")"), HasSubstr("suffix cannot"));
  EXPECT_EQ(refusal_of_body(R"("tools": [], "response_format": {"type": "text"}, "suffix": null)"),
            "");
  EXPECT_EQ(refusal_of_body(R"("user": "u", "metadata": {}, "never_heard_of": 1)"), "");
}

// An answer has its properties in the order of the schema, as from the server.
TEST(RequestLine, SchemasKeepTheirOrder) {
  const std::string schema =
      R"({"type": "object", "properties": {"zeta": {}, "alpha": {}}, "required": ["zeta"]})";
  const std::string format =
      R"("response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": )" +
      schema + "}}";
  for (const std::string& line :
       {R"({"prompt": "x", )" + format + "}\r",
        R"({"messages": [{"role": "user", "content": "x"}], )" + format + "}",
        R"( {"body": {"messages": [{"role": "user", "content": "x"}], )" + format + "}}",
        R"({"url": "/v1/completions", "body": {"prompt": "x", "structured_outputs": {"json": )" +
            schema + "}}}"}) {
    const RequestLine parsed = parse_request_line(line, 7, {});
    ASSERT_TRUE(parsed.grammar.has_value()) << line;
    EXPECT_EQ(parsed.grammar->source, schema) << line;
  }
}

TEST(RequestLine, NestingHasAnEnd) {
  const auto nested = [](int depth) {
    return R"({"prompt": "x", "metadata": )" + std::string(static_cast<size_t>(depth), '[') +
           std::string(static_cast<size_t>(depth), ']') + "}";
  };
  EXPECT_EQ(refusal(nested(serve::kMaxJsonDepth - 2)), "");
  EXPECT_THAT(refusal(nested(1'000'000)), HasSubstr("nested too deeply"));
}

TEST(RequestLine, ALineWithoutASeedGetsItsOwn) {
  LineDefaults other;
  other.seed = 1;
  const auto seed = [](const std::string& text, const LineDefaults& defaults = {}) {
    return parse(text, defaults).sampling.seed.value();
  };
  const std::string a = R"({"custom_id": "a", "prompt": "x"})";
  EXPECT_EQ(seed(a), seed(R"({"custom_id": "a", "prompt": "y"})"));
  EXPECT_NE(seed(a), seed(R"({"custom_id": "b", "prompt": "x"})"));
  EXPECT_NE(seed(a), seed(a, other));
  EXPECT_EQ(seed(R"({"prompt": "x", "seed": 0})"), 0u);
}

TEST(RequestLine, TheRequestsIdFollowsFromTheLineAndTheOptions) {
  const auto id = [](const std::string& text, const LineDefaults& defaults = {}) {
    return parse(text, defaults).request_id;
  };
  LineDefaults hotter;
  hotter.chat.temperature = 2;
  EXPECT_EQ(id(R"("a")"), id(R"("a")"));
  EXPECT_NE(id(R"("a")"), id(R"("b")"));
  EXPECT_NE(id(R"("a")"), id(R"("a")", hotter));
  LineDefaults coarser;
  coarser.kv_cache_dtype = "q8";
  EXPECT_NE(id(R"("a")"), id(R"("a")", coarser));
  EXPECT_NE(parse_request_line(R"("a")", 8, {}).request_id, id(R"("a")"));
}

}  // namespace
}  // namespace weft::cli
