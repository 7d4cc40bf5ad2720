// The parts of OpenAI's answers, of whole ones and of what is new in a stream, for the server and
// for `weft run --file`. Texts of single tokens may hold half characters, and JSON may not: those
// are written as OpenAI does, "bytes:\xe2\x80".
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "engine/request.h"
#include "serve/request_body.h"
#include "text/text.h"

namespace weft::serve {

using Json = nlohmann::ordered_json;
using TokenPairs = std::vector<engine::TokenLogprob>;

// In one line; halves of characters become U+FFFD.
std::string dump(const Json& value);

// What all answers to one body share: borrowed.
struct AnswerFormat {
  const text::Tokenizer& tokenizer;
  const RequestBody& body;
};

// A token as logprobs name it.
std::string token_text(const AnswerFormat& format, int32_t id);

// {"content": [a token each], "refusal": null}. token_ids and pairs: [tokens].
Json chat_logprobs(const AnswerFormat& format, std::span<const int32_t> token_ids,
                   std::span<const TokenPairs> pairs);

// {"tokens", "token_logprobs", "top_logprobs", "text_offset"} of a completion, or of its next part:
// offsets count characters of the text that is shown, and go on from part to part.
class CompletionLogprobs {
 public:
  explicit CompletionLogprobs(const AnswerFormat& format) : format_(format) {}
  // The first token of a prompt follows nothing, so its pairs are empty: null.
  void add_prompt(std::span<const int32_t> token_ids, std::span<const TokenPairs> pairs);
  void add_answer(std::span<const int32_t> token_ids, std::span<const TokenPairs> pairs);
  Json take();

 private:
  // with_special: whether special tokens are a part of the text, and take room in it.
  void add(std::span<const int32_t> token_ids, std::span<const TokenPairs> pairs,
           bool with_special);

  AnswerFormat format_;
  struct Row {
    int32_t id = 0;
    const TokenPairs* pairs = nullptr;
    bool with_special = false;
  };
  std::vector<Row> rows_;
  int64_t offset_ = 0;
};

// [null, {"id": {"logprob", "rank", "decoded_token"}, ...}, ...], as vLLM has them.
Json prompt_logprobs_json(const AnswerFormat& format, std::span<const TokenPairs> pairs);

// finish_reason, stop_reason and, where asked for, token ids; after the choice's text.
void add_ending(const AnswerFormat& format, const engine::Choice& choice, Json* object);

struct Usage {
  int64_t prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0, reasoning_tokens = 0;
};
Json usage_json(const Usage& usage);
// What a part of an answer took. Marks around it were tokens too; how it was cut is not told.
int64_t count_tokens(const AnswerFormat& format, const std::string& text);
void add_usage(const RequestBody& body, const engine::RequestState& state, Usage* usage);

// A completion's text as it is shown, with its prompt where it is echoed.
std::string completion_text(const AnswerFormat& format, std::span<const int32_t> prompt_ids,
                            const std::string& text);
// A whole choice of /v1/completions.
Json completion_choice(const AnswerFormat& format, std::span<const int32_t> prompt_ids,
                       const engine::RequestState& state, const engine::Choice& choice,
                       size_t index);
// A whole choice of /v1/chat/completions. message: {"role": "assistant", ...}.
Json chat_choice(const AnswerFormat& format, const engine::Choice& choice, Json message,
                 size_t index);

}  // namespace weft::serve
