#include "serve/receipt.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "base/error.h"

namespace weft::serve {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::string kRequest =
    R"({"model": "m", "prompt": "}\"{", "temperature": 0, "stream": true})";
const std::string kResponse =
    R"({"object": "text_completion", "system_fingerprint": "fp_1",
        "choices": [{"index": 0, "text": "abc", "token_ids": [1, 2, 3]}]})";

std::string together(const std::string& request, const std::string& response) {
  return "{\"request\": " + request + ", \"response\": " + response + "}";
}

std::string response_with(const std::string& choices, const std::string& fingerprint = "fp_1") {
  return R"({"system_fingerprint": ")" + fingerprint + R"(", "choices": )" + choices + "}";
}

// What walks through a value is recursive: 300,000 levels took the stack.
TEST(Receipt, DeepNestingIsRefused) {
  for (const size_t depth : {size_t{200}, size_t{300'000}}) {
    const std::string deep = std::string(depth, '[') + std::string(depth, ']');
    const std::string request = R"({"prompt": "a", "temperature": 0, "x": )" + deep + "}";
    const std::string response = R"({"choices": [{"text": "b", "x": )" + deep + "}]}";
    for (const std::string& text :
         {together(request, kResponse), request + kResponse, together(kRequest, response),
          kRequest + response, kRequest + "\ndata: " + response + "\n\ndata: [DONE]\n\n"})
      EXPECT_THROW(read_receipt(text), Error) << text.substr(0, 60);
  }
  const std::string deep = std::string(60, '[') + std::string(60, ']');
  EXPECT_NO_THROW(
      read_receipt(together(R"({"prompt": "a", "temperature": 0, "x": )" + deep + "}", kResponse)));
}

TEST(Receipt, IsReadInBothForms) {
  for (const std::string& text : {together(kRequest, kResponse), kRequest + "\n" + kResponse}) {
    const Receipt receipt = read_receipt(text);
    EXPECT_EQ(receipt.path, "/v1/completions");
    const std::string again = repeated_request(receipt);
    EXPECT_THAT(again, HasSubstr("\"return_token_ids\":true"));
    EXPECT_THAT(again, HasSubstr("\"stream\":false"));
    EXPECT_THAT(again, testing::Not(HasSubstr("model")));
    EXPECT_THAT(again, HasSubstr(R"("prompt":"}\"{")"));
  }
}

// A schema's properties come in their order, and tools are shown to the model in it.
TEST(Receipt, KeepsTheOrderOfKeys) {
  const std::string request =
      R"({"prompt": "a", "seed": 1, "guided_json": {"z": {}, "a": {}, "m": {}}})";
  EXPECT_THAT(repeated_request(read_receipt(together(request, kResponse))),
              HasSubstr(R"("guided_json":{"z":{},"a":{},"m":{}})"));
}

TEST(Receipt, ComparesCallsByWhatTheySay) {
  const auto calls = [](const std::string& function) {
    return response_with(R"([{"message": {"tool_calls": [{"id": "drawn", "function": )" + function +
                         "}]}}]");
  };
  const Receipt receipt =
      read_receipt(together(kRequest, calls(R"({"name": "f", "arguments": "{}"})")));
  EXPECT_TRUE(compare(receipt, calls(R"({"arguments": "{}", "name": "f"})")).agrees());
  EXPECT_FALSE(compare(receipt, calls(R"({"name": "f", "arguments": "{ }"})")).agrees());
}

TEST(Receipt, RefusesWhatCannotBeRepeated) {
  const std::string sampled = R"({"messages": [], "temperature": 0.5})";
  EXPECT_THROW(read_receipt(together(sampled, kResponse)), Error);
  EXPECT_THROW(read_receipt(together(R"({"messages": []})", kResponse)), Error);
  EXPECT_NO_THROW(
      read_receipt(together(R"({"messages": [], "temperature": 0.5, "seed": 3})", kResponse)));
  EXPECT_THROW(read_receipt(kRequest), Error);
  EXPECT_THROW(read_receipt("no json"), Error);
  EXPECT_THROW(read_receipt(together(kRequest, R"({"error": {}})")), Error);
  EXPECT_THROW(
      read_receipt(together(kRequest, R"({"object": "chat.completion.chunk", "choices": [{}]})")),
      Error);
}

TEST(Receipt, ComparesTokens) {
  const Receipt receipt = read_receipt(together(kRequest, kResponse));
  const Verdict same =
      compare(receipt, response_with(R"([{"text": "abc", "token_ids": [1, 2, 3]}])"));
  EXPECT_TRUE(same.agrees());
  EXPECT_TRUE(same.same_engine());
  EXPECT_TRUE(same.by_tokens);
  EXPECT_EQ(same.num_compared, 3);
  const Verdict other =
      compare(receipt, response_with(R"([{"text": "abd", "token_ids": [1, 2, 4]}])", "fp_2"));
  EXPECT_FALSE(other.same_engine());
  EXPECT_THAT(other.differences, ElementsAre("choice 0: token 2 is 4 and was 3"));
  const Verdict shorter = compare(receipt, response_with(R"([{"text": "a", "token_ids": [1]}])"));
  EXPECT_THAT(shorter.differences, ElementsAre("choice 0: token 1 is missing and was 2"));
}

// The tokens are those of the answer, but what people read was written over.
TEST(Receipt, ComparesTextAndEndBesideTokens) {
  const auto choice = [](const std::string& text, const std::string& finish) {
    return R"([{"text": ")" + text + R"(", "finish_reason": ")" + finish +
           R"(", "token_ids": [1, 2, 3]}])";
  };
  const Receipt edited = read_receipt(together(kRequest, response_with(choice("aXc", "stop"))));
  EXPECT_THAT(compare(edited, response_with(choice("abc", "stop"))).differences,
              ElementsAre("choice 0: text differs from byte 1 on"));
  EXPECT_THAT(compare(edited, response_with(choice("aXc", "length"))).differences,
              ElementsAre("choice 0: finish_reason is \"length\" and was \"stop\""));
  EXPECT_TRUE(compare(edited, response_with(choice("aXc", "stop"))).agrees());
  const std::string thought = R"([{"message": {"reasoning_content": "a", "content": "b"},
                                   "token_ids": [1]}])";
  const std::string other = R"([{"message": {"reasoning_content": "X", "content": "b"},
                                 "token_ids": [1]}])";
  const Receipt chat =
      read_receipt(together(R"({"messages": [], "seed": 1})", response_with(thought)));
  EXPECT_FALSE(compare(chat, response_with(other)).agrees());
}

TEST(Receipt, ComparesTextWhereThereAreNoTokens) {
  const Receipt receipt = read_receipt(together(
      R"({"messages": [], "seed": 1})",
      response_with(R"([{"message": {"content": "abc"}}, {"message": {"content": "x"}}])")));
  EXPECT_EQ(receipt.path, "/v1/chat/completions");
  const Verdict verdict =
      compare(receipt, response_with(R"([{"message": {"content": "abX"}, "token_ids": [1]},
                                 {"message": {"content": "x"}, "token_ids": [2]}])"));
  EXPECT_FALSE(verdict.by_tokens);
  EXPECT_EQ(verdict.num_compared, 4);
  EXPECT_THAT(verdict.differences, ElementsAre("choice 0: content differs from byte 2 on"));
}

// A server with a small context ends an answer there; under a larger one it would go on.
TEST(Receipt, AsksForTheLengthAtWhichItsServersContextWasFull) {
  const std::string ended =
      response_with(R"([{"finish_reason": "length", "token_ids": [1, 2, 3]}])");
  const auto again = [](const std::string& request, const std::string& response) {
    return repeated_request(read_receipt(together(request, response)));
  };
  EXPECT_THAT(again(R"({"messages": [], "seed": 1})", ended), HasSubstr(R"("max_tokens":3)"));
  EXPECT_THAT(again(R"({"messages": [], "seed": 1, "min_tokens": 9})", ended),
              HasSubstr(R"("min_tokens":3)"));
  // Who bounds an answer has a bound to compare: one that was cut short is found out.
  EXPECT_THAT(again(R"({"messages": [], "seed": 1, "max_tokens": 9})", ended),
              HasSubstr(R"("max_tokens":9)"));
  EXPECT_THAT(again(R"({"messages": [], "seed": 1, "max_completion_tokens": 9})", ended),
              testing::Not(HasSubstr("max_tokens")));
  const std::string stopped = response_with(R"([{"finish_reason": "stop", "token_ids": [1]}])");
  EXPECT_THAT(again(R"({"messages": [], "seed": 1})", stopped),
              testing::Not(HasSubstr("max_tokens")));
  const std::string sixteen =  // what a completion has where nothing is said
      R"({"choices": [{"finish_reason": "length"}], "usage": {"completion_tokens": 16}})";
  EXPECT_THAT(again(R"({"prompt": "a", "seed": 1})", sixteen),
              testing::Not(HasSubstr("max_tokens")));
  const std::string counted =
      R"({"choices": [{"finish_reason": "length"}], "usage": {"completion_tokens": 7}})";
  EXPECT_THAT(again(R"({"messages": [], "seed": 1})", counted), HasSubstr(R"("max_tokens":7)"));
}

TEST(Receipt, ASeedThatTheServerDrawsIsNone) {
  EXPECT_THROW(read_receipt(together(R"({"messages": [], "seed": -1})", kResponse)), Error);
  EXPECT_THROW(read_receipt(together(R"({"messages": [], "seed": "x"})", kResponse)), Error);
  EXPECT_NO_THROW(read_receipt(together(R"({"messages": [], "seed": -2})", kResponse)));
}

TEST(Receipt, RefusesTokenIdsThatAreNone) {
  for (const char* ids : {"7", R"("abc")", R"({"a": 1})", R"(["a"])", "[1.5]", "true"}) try {
      read_receipt(together(kRequest, response_with(fmt::format(R"([{{"token_ids": {}}}])", ids))));
      ADD_FAILURE() << ids;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUsage) << ids;
      EXPECT_THAT(error.what(), HasSubstr("token_ids"));
    }
  EXPECT_THROW(read_receipt(together(kRequest, response_with("[7]"))), Error);
}

TEST(Receipt, ComparesUsageAndLogprobsAndSaysSo) {
  const auto response = [](const std::string& logprob, int num_tokens) {
    return fmt::format(
        R"({{"choices": [{{"text": "a", "token_ids": [1], "finish_reason": "stop",
             "logprobs": {{"tokens": ["a"], "token_logprobs": [{}]}}}}],
             "usage": {{"completion_tokens": {}, "prompt_tokens_details": {{"cached_tokens": 3}}}}}})",
        logprob, num_tokens);
  };
  const std::string again =
      R"({"choices": [{"text": "a", "token_ids": [1], "finish_reason": "stop",
          "logprobs": {"token_logprobs": [-0.5], "tokens": ["a"]}}],
          "usage": {"completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 0}}})";
  const auto verdict = [&](const std::string& saved) {
    return compare(read_receipt(together(kRequest, saved)), again);
  };
  EXPECT_THAT(verdict(response("-0.5", 1)).differences, testing::IsEmpty());
  EXPECT_THAT(verdict(response("-0.25", 1)).differences, ElementsAre("choice 0: logprobs differ"));
  EXPECT_THAT(verdict(response("-0.5", 2)).differences,
              ElementsAre("usage: completion_tokens is 1 and was 2"));
  EXPECT_THAT(verdict(response("-0.5", 1)).compared,
              ElementsAre("token_ids", "text", "finish_reason", "usage", "logprobs"));
  EXPECT_THAT(verdict(response("-0.5", 1)).missing,
              ElementsAre("prompt_logprobs", "prompt_token_ids"));
  EXPECT_THAT(verdict(response_with(R"([{"text": "a"}])")).missing,
              ElementsAre("token_ids", "finish_reason", "usage", "logprobs", "prompt_logprobs",
                          "prompt_token_ids"));
}

// Reasoning, content and calls that read the same in a row, cut in other places.
TEST(Receipt, ComparesWhatIsReadPartByPart) {
  const auto answer = [](const std::string& message) {
    return response_with(R"([{"token_ids": [1], "message": )" + message + "}]");
  };
  const auto differences = [&](const std::string& saved, const std::string& again) {
    return compare(read_receipt(together(R"({"messages": [], "seed": 1})", answer(saved))),
                   answer(again))
        .differences;
  };
  const std::string thought = R"({"reasoning": "a", "reasoning_content": "a", "content": "b"})";
  EXPECT_THAT(differences(thought, thought), testing::IsEmpty());
  for (const char* saved :
       {R"({"reasoning": "", "reasoning_content": "", "content": "ab"})", R"({"content": "ab"})",
        R"({"content": "b"})", R"({"reasoning": "ab", "reasoning_content": "ab", "content": ""})",
        R"({"reasoning": "X", "reasoning_content": "a", "content": "b"})",
        R"({"reasoning": "a", "reasoning_content": "X", "content": "b"})",
        R"({"reasoning": "a", "content": ["b"]})",
        R"({"reasoning": "a", "content": "b", "refusal": "no"})",
        R"({"reasoning": "a", "content": "b", "function_call": {"name": "f"}})",
        R"({"reasoning": "a", "content": "b", "role": "system"})",
        R"({"reasoning": "a", "content": "b", "annotations": [{"type": "url_citation"}]})",
        R"({"reasoning": "a", "content": "b", "audio": {"data": ""}})"})
    EXPECT_THAT(differences(saved, thought), testing::SizeIs(1)) << saved;
  EXPECT_THAT(differences(R"({"reasoning": "a", "content": "b", "annotations": [], "audio": null})",
                          thought),
              testing::IsEmpty());
  // One of the two names of reasoning was left out.
  EXPECT_THAT(differences(R"({"reasoning": "a", "content": "b"})", thought), testing::IsEmpty());
  EXPECT_THAT(differences(R"({"reasoning_content": "a", "content": "b"})", thought),
              testing::IsEmpty());

  const auto call = [](const std::string& name, const std::string& arguments) {
    return R"({"id": "drawn", "function": {"name": ")" + name + R"(", "arguments": ")" + arguments +
           R"("}})";
  };
  const auto calling = [](const std::string& calls) {
    return R"({"content": null, "tool_calls": [)" + calls + "]}";
  };
  const std::string calls = calling(call("f", "{}") + "," + call("g", "{}"));
  EXPECT_THAT(differences(calls, calls), testing::IsEmpty());
  for (const std::string& saved :
       {std::string(R"({"content": "\nf {}\ng {}"})"), calling(call("f", "{}\\ng {}")),
        calling(call("f", "{} ") + "," + call("g", "{}")),
        calling(call("f {}", "") + "," + call("g", "{}")),
        calling(call("g", "{}") + "," + call("f", "{}")),
        std::string(R"({"content": null, "tool_calls": {"0": {}, "1": {}}})")})
    EXPECT_THAT(differences(saved, calls), testing::SizeIs(1)) << saved;
  EXPECT_THAT(differences(calling(call("f", "{}") + "," + call("g", "{ }")), calls),
              ElementsAre("choice 0: call 1: arguments differs from byte 1 on"));
  EXPECT_THAT(differences(calling(call("f", "{}")), calls),
              ElementsAre("choice 0: there are 2 calls and were 1"));
}

TEST(Receipt, ChoicesAreMatchedByTheirNumbers) {
  const auto choice = [](int index, const char* text, int id) {
    return fmt::format(R"({{"index": {}, "text": "{}", "token_ids": [{}]}})", index, text, id);
  };
  const std::string again = response_with("[" + choice(0, "a", 1) + "," + choice(1, "b", 2) + "]");
  const auto differences = [&](const std::string& choices) {
    return compare(read_receipt(together(kRequest, response_with("[" + choices + "]"))), again)
        .differences;
  };
  EXPECT_THAT(differences(choice(1, "b", 2) + "," + choice(0, "a", 1)), testing::IsEmpty());
  EXPECT_THAT(differences(choice(1, "a", 1) + "," + choice(0, "b", 2)), testing::SizeIs(2));
  EXPECT_THAT(differences(choice(0, "a", 1) + "," + choice(7, "b", 2)),
              ElementsAre("choice 7: its index is 1"));
  EXPECT_THROW(differences(choice(-1, "a", 1)), Error);
}

// Of a chat beside its choices, of a completion in each, of a chat's stream in the first.
TEST(Receipt, ComparesThePromptWhereverItStands) {
  const auto chat = [](const std::string& id, const std::string& logprob) {
    return R"({"choices": [{"message": {"content": "a"}}], "prompt_token_ids": [7, )" + id +
           R"(], "prompt_logprobs": [null, {"8": {"logprob": )" + logprob + "}}]}";
  };
  const auto verdict = [](const std::string& saved, const std::string& again) {
    return compare(read_receipt(together(R"({"messages": [], "seed": 1})", saved)), again);
  };
  const Verdict same = verdict(chat("8", "-0.5"), chat("8", "-0.5"));
  EXPECT_THAT(same.differences, testing::IsEmpty());
  EXPECT_THAT(same.compared, testing::IsSupersetOf({"prompt_logprobs", "prompt_token_ids"}));
  EXPECT_THAT(verdict(chat("9", "-0.5"), chat("8", "-0.5")).differences,
              ElementsAre("prompt_token_ids differ"));
  EXPECT_THAT(verdict(chat("8", "-0.1"), chat("8", "-0.5")).differences,
              ElementsAre("prompt_logprobs differ"));
  const auto choice = [](const std::string& id) {
    return response_with(R"([{"text": "a", "prompt_token_ids": [)" + id + "]}, {\"text\": \"b\"}]");
  };
  EXPECT_THAT(verdict(choice("1"), choice("1")).differences, testing::IsEmpty());
  EXPECT_THAT(verdict(choice("1"), choice("1")).compared, testing::Contains("prompt_token_ids"));
  EXPECT_THAT(verdict(choice("2"), choice("1")).differences,
              ElementsAre("choice 0: prompt_token_ids differ"));
}

// Where one choice has its tokens and another has not, these are no less compared.
TEST(Receipt, ComparesTheTokensThatThereAre) {
  const auto answer = [](const std::string& id) {
    return response_with(R"([{"text": "a", "token_ids": [)" + id + R"(]}, {"text": "b"}])");
  };
  const Receipt receipt = read_receipt(together(kRequest, answer("2")));
  EXPECT_THAT(compare(receipt, answer("1")).differences,
              ElementsAre("choice 0: token 0 is 1 and was 2"));
}

}  // namespace
}  // namespace weft::serve
