// Receipts of streams and of /v1/responses: what was saved in whatever form is compared alike.
#include "serve/saved_answer.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "serve/receipt.h"

namespace weft::serve {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

const std::string kChat = R"({"messages": [], "seed": 1, "stream": true})";
const std::string kDone = "data: [DONE]\n\n";

std::string chunk(const std::string& choice) {
  return R"(data: {"object": "chat.completion.chunk", "system_fingerprint": "fp_1", "choices": [)" +
         json::parse(choice).dump() + "]}\n\n";
}
std::string refusal(const std::string& text) {
  try {
    read_receipt(text);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    return error.what();
  }
  return "";
}

TEST(SavedAnswer, AStreamsPiecesAreJoined) {
  const std::string stream =
      ": keep-alive\n\n" +
      chunk(R"({"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": null})") +
      chunk(R"({"index": 1, "delta": {"reasoning_content": "hm"}, "token_ids": [9]})") +
      chunk(R"({"index": 0, "delta": {"content": "a}"}, "token_ids": [1, 2],
                "logprobs": {"content": [{"token": "a"}]}})") +
      chunk(R"({"index": 0, "delta": {"content": "\"b"}, "token_ids": [3],
                "logprobs": {"content": [{"token": "b"}]}, "finish_reason": "stop"})") +
      chunk(R"({"index": 1, "delta": {"tool_calls": [{"index": 0, "id": "x",
                "function": {"name": "f", "arguments": ""}}]}})") +
      chunk(R"({"index": 1, "delta": {"tool_calls": [{"index": 0, "function":
                {"arguments": "{}"}}]}, "finish_reason": "tool_calls"})") +
      R"(data: {"choices": [], "usage": {"completion_tokens": 4}})"
      "\n\n" +
      kDone;
  const json joined = json::parse(join_stream(stream).dump());
  EXPECT_EQ(joined["usage"]["completion_tokens"], 4);
  EXPECT_EQ(joined["system_fingerprint"], "fp_1");
  const json expected = json::parse(R"([
      {"index": 0, "message": {"role": "assistant", "content": "a}\"b"}, "token_ids": [1, 2, 3],
       "finish_reason": "stop",
       "logprobs": {"content": [{"token": "a"}, {"token": "b"}]}},
      {"index": 1, "message": {"reasoning_content": "hm", "tool_calls": [{"function":
       {"name": "f", "arguments": "{}"}}]}, "token_ids": [9], "finish_reason": "tool_calls"}])");
  EXPECT_EQ(joined["choices"], expected) << joined["choices"];
}

TEST(SavedAnswer, AReceiptHoldsAStreamAsItCame) {
  const std::string first = R"({"index": 0, "delta": {"content": "a"}, "token_ids": [1]})";
  const auto last = [](int id) {
    return fmt::format(R"({{"index": 0, "delta": {{"content": "b"}}, "token_ids": [{}]}})", id);
  };
  const std::string stream = chunk(first) + chunk(last(2)) + kDone;
  for (const std::string& text :
       {kChat + "\n" + stream,
        json{{"request", json::parse(kChat)}, {"response", stream}}.dump()}) {
    const Receipt receipt = read_receipt(text);
    EXPECT_EQ(receipt.path, "/v1/chat/completions");
    const json again = json::parse(repeated_request(receipt));
    EXPECT_EQ(again["stream"], true);
    EXPECT_EQ(again["return_token_ids"], true);
    const Verdict same = compare(receipt, stream);
    EXPECT_THAT(same.differences, IsEmpty());
    EXPECT_TRUE(same.by_tokens);
    EXPECT_EQ(same.num_compared, 2);
    EXPECT_THAT(compare(receipt, chunk(first) + chunk(last(3)) + kDone).differences,
                ElementsAre("choice 0: token 1 is 3 and was 2"));
  }
}

TEST(SavedAnswer, OfACompletionThePiecesAreTexts) {
  const auto piece = [](const std::string& choice) {
    return R"(data: {"object": "text_completion", "choices": [)" + choice + "]}\r\n\r\n";
  };
  const std::string stream =
      piece(R"({"index": 0, "text": "a", "logprobs": {"tokens": ["a"], "text_offset": [0]}})") +
      piece(R"({"index": 0, "text": "b", "logprobs": {"tokens": ["b"], "text_offset": [1]}})") +
      kDone;
  const Receipt receipt = read_receipt(R"({"prompt": "x", "temperature": 0})" + stream);
  EXPECT_EQ(receipt.path, "/v1/completions");
  const json choice = json::parse(receipt.response)["choices"][0];
  EXPECT_EQ(choice["text"], "ab");
  EXPECT_EQ(choice["logprobs"]["text_offset"], json({0, 1}));
}

TEST(SavedAnswer, RefusesStreamsThatAreNotWhole) {
  const std::string piece = chunk(R"({"index": 0, "delta": {"content": "a"}})");
  EXPECT_THAT(refusal(kChat + piece), HasSubstr("cut"));
  EXPECT_THAT(refusal(kChat + "data: {\"error\": {\"message\": \"gone\"}}\n\n" + kDone),
              HasSubstr("gone"));
  EXPECT_THAT(refusal(kChat + "data: 7\n\n"), HasSubstr("no object"));
  EXPECT_THAT(refusal(kChat + "data: {\"id\": 7}\n\n"), HasSubstr("no choices"));
  EXPECT_THAT(refusal(kChat + chunk("7") + kDone), HasSubstr("no index"));
  EXPECT_THAT(refusal(kChat + chunk(R"({"index": 0, "delta": 7})")), HasSubstr("delta"));
  EXPECT_THAT(refusal(kChat + piece + chunk(R"({"index": 0, "delta": {"content": [1]}})")),
              HasSubstr("does not go on"));
  EXPECT_THAT(refusal(kChat + chunk(R"({"index": 0, "delta": {"tool_calls": [{"index": 7}]}})")),
              HasSubstr("out of turn"));
  EXPECT_THAT(refusal(kChat + chunk(R"({"index": 0, "delta": {"tool_calls": {}}})")),
              HasSubstr("no list"));
}

std::string response(const std::string& text, const std::string& status = "completed",
                     const std::string& reason = "max_output_tokens") {
  const std::string details = status == "completed" ? "null" : R"({"reason": ")" + reason + "\"}";
  return R"({"object": "response", "status": ")" + status + R"(", "incomplete_details": )" +
         details + R"(, "system_fingerprint": "fp_1", "output": [
              {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]},
              {"type": "message", "content": [{"type": "output_text", "text": ")" +
         text + R"(", "logprobs": [{"token": "a"}]}]},
              {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "drawn"}],
            "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}})";
}
const std::string kAsk = R"({"input": "x", "temperature": 0, "stream_options": {}})";

TEST(SavedAnswer, ResponsesAreComparedByTextCallsAndUsage) {
  const Receipt receipt = read_receipt(kAsk + response("ab"));
  EXPECT_EQ(receipt.path, "/v1/responses");
  EXPECT_TRUE(receipt.is_chat());
  const json again = json::parse(repeated_request(receipt));
  EXPECT_EQ(again["store"], false);
  EXPECT_EQ(again["stream"], false);
  EXPECT_FALSE(again.contains("stream_options"));
  const Verdict same = compare(receipt, response("ab"));
  EXPECT_THAT(same.differences, IsEmpty());
  EXPECT_TRUE(same.same_engine());
  EXPECT_THAT(same.compared, ElementsAre("text", "finish_reason", "usage", "logprobs"));
  EXPECT_THAT(compare(receipt, response("aX")).differences,
              ElementsAre("choice 0: content differs from byte 1 on"));
  EXPECT_THAT(compare(receipt, response("ab", "incomplete")).differences,
              ElementsAre("choice 0: finish_reason is \"length\" and was \"stop\""));
  const auto incomplete = [&](const char* reason) { return response("ab", "incomplete", reason); };
  EXPECT_THAT(
      compare(read_receipt(kAsk + incomplete("content_filter")), incomplete("max_output_tokens"))
          .differences,
      ElementsAre("choice 0: finish_reason is \"length\" and was \"content_filter\""));
  EXPECT_THAT(refusal(kAsk + response("ab", "in_progress")), HasSubstr("has not ended"));
  EXPECT_THAT(
      refusal(R"({"input": "x", "seed": 1, "previous_response_id": "resp_1"})" + response("ab")),
      HasSubstr("kept"));
}

// All of them together read the same.
TEST(SavedAnswer, ResponsesAreComparedItemByItem) {
  const auto answer = [](const std::string& items) {
    return R"({"object": "response", "status": "completed", "output": [)" + items + "]}";
  };
  const auto message = [](const std::string& texts, const std::string& more = "") {
    return R"({"id": "drawn", "type": "message", "content": [)" + texts + "]" + more + "}";
  };
  const auto text = [](const std::string& words) {
    return R"({"type": "output_text", "text": ")" + words + R"(", "annotations": []})";
  };
  const std::string call = R"({"type": "function_call", "name": "f", "arguments": "{}"})";
  const std::string again = answer(message(text("ab")) + "," + call + "," + message(text("c")));
  const auto agrees = [&](const std::string& saved) {
    return compare(read_receipt(kAsk + answer(saved)), again).agrees();
  };
  EXPECT_TRUE(agrees(message(text("ab")) + "," + call + "," + message(text("c"))));
  EXPECT_FALSE(agrees(message(text("a")) + "," + call + "," + message(text("bc"))));
  EXPECT_FALSE(agrees(message(text("ab")) + "," + message(text("c")) + "," + call));
  EXPECT_FALSE(
      agrees(message(text("a") + "," + text("b")) + "," + call + "," + message(text("c"))));
  EXPECT_FALSE(
      agrees(message(text("ab")) + "," + call + "," +
             message(text("c"), R"(, "summary": [{"type": "summary_text", "text": "nobody's"}])")));
  // What a library adds says nothing; anything else does.
  const auto last = [&](const std::string& item) {
    return agrees(message(text("ab")) + "," + call + "," + item);
  };
  EXPECT_TRUE(last(message(text("c"), R"(, "phase": null, "summary": [])")));
  EXPECT_FALSE(last(message(text("c"), R"(, "status": "incomplete")")));
  EXPECT_FALSE(last(message(text("c"), R"(, "role": "user")")));
  EXPECT_FALSE(last(message(text("c"), R"(, "action": {"query": "nobody's"})")));
  EXPECT_FALSE(last(message(R"({"type": "output_text", "text": "c",
                                "annotations": [{"type": "url_citation"}]})")));
}

TEST(SavedAnswer, AResponsesStreamSaysItselfAtItsEnd) {
  const auto stream = [](const std::string& piece) {
    return "event: response.created\ndata: {\"type\": \"response.created\", \"response\": {}}\n\n" +
           fmt::format(R"(data: {{"type": "response.reasoning_text.delta", "delta": "hm"}}

data: {{"type": "response.output_text.delta", "delta": "{}"}}

data: {{"type": "response.function_call_arguments.delta", "delta": "{{}}"}}

)",
                       piece) +
           "data: {\"type\": \"response.completed\", \"response\": " +
           json::parse(response("ab")).dump() + "}\n\n";
  };
  const Receipt receipt = read_receipt(kAsk + stream("ab"));
  EXPECT_EQ(json::parse(repeated_request(receipt))["stream"], true);
  EXPECT_TRUE(compare(receipt, stream("ab")).agrees());
  EXPECT_THAT(refusal(kAsk + stream("aX")), HasSubstr("not what its last event says"));
  EXPECT_THAT(refusal(kAsk + "data: {\"type\": \"response.failed\", \"response\": {}}\n\n"),
              HasSubstr("failed"));
}

// A context that was full bounds a response by its own name.
TEST(SavedAnswer, AResponsesLengthHasItsOwnName) {
  const json again =
      json::parse(repeated_request(read_receipt(kAsk + response("a", "incomplete"))));
  EXPECT_EQ(again["max_output_tokens"], 2);
  EXPECT_FALSE(again.contains("max_tokens"));
}

}  // namespace
}  // namespace weft::serve
