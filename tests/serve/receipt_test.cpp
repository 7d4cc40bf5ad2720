#include "serve/receipt.h"

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

TEST(Receipt, IsReadInBothForms) {
  for (const std::string& text : {together(kRequest, kResponse), kRequest + "\n" + kResponse}) {
    const Receipt receipt = read_receipt(text);
    EXPECT_FALSE(receipt.is_chat);
    const std::string again = repeated_request(receipt);
    EXPECT_THAT(again, HasSubstr("\"return_token_ids\":true"));
    EXPECT_THAT(again, testing::Not(HasSubstr("stream")));
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
              ElementsAre("choice 0: the text differs from byte 1 on"));
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
  EXPECT_TRUE(receipt.is_chat);
  const Verdict verdict =
      compare(receipt, response_with(R"([{"message": {"content": "abX"}, "token_ids": [1]},
                                 {"message": {"content": "x"}, "token_ids": [2]}])"));
  EXPECT_FALSE(verdict.by_tokens);
  EXPECT_EQ(verdict.num_compared, 4);
  EXPECT_THAT(verdict.differences, ElementsAre("choice 0: the text differs from byte 2 on"));
}

}  // namespace
}  // namespace weft::serve
