// From the body of a request to what an engine is asked: prompts as ids, and what of the sampling
// depends on a vocabulary and a context.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/limits.h"
#include "serve/request_body.h"
#include "text/text.h"

namespace weft::serve {

// No vocabulary has a longer token, so a text of more bytes than so many a token of the context
// does not fit, whatever it says.
inline constexpr int64_t kMostBytesOfToken = 512;
// Of one body that asks for their text.
inline constexpr size_t kMostDetokenizedIds = 1 << 20;

// What encodes: borrowed.
struct PromptSource {
  const text::Tokenizer& tokenizer;
  const text::ChatTemplate* chat_template = nullptr;  // null: a question as plain text, no more
  int64_t max_model_len = 0;
};

// The chat as its template writes it. Error(kModel) where the template refuses the conversation.
std::string render_chat_prompt(const RequestBody& body, const text::ChatTemplate& chat_template);

// One list a request: the chat, or each of the prompts; of each the last truncate_prompt_tokens.
// RequestError for a text that no context could hold, before it is encoded.
// rendered: where it is not null, the text of the chat, empty where no template wrote one.
std::vector<std::vector<int32_t>> prompt_ids_of(const RequestBody& body, const PromptSource& source,
                                                std::string* rendered = nullptr);
std::vector<int32_t> encode_prompt(const std::string& text, bool add_special,
                                   const PromptSource& source, const char* field);

// Leaves only the last so many; 0: all.
void keep_last(int64_t most, std::vector<int32_t>* ids);

// As of engine::check_prompt. RequestError that blames the field.
void check_prompt_ids(std::span<const int32_t> prompt_ids, const engine::RequestLimits& limits,
                      const char* field);

// bad_words become ids.
std::vector<std::vector<int32_t>> bad_word_ids(const RequestBody& body,
                                               const text::Tokenizer& tokenizer);

// What the context leaves for the answer after a prompt of so many tokens. RequestError
// (context_length_exceeded) where the prompt, or the prompt with the max_tokens that the body
// names, is too long.
int64_t max_tokens_after(const RequestBody& body, int64_t num_prompt_tokens, int64_t max_model_len);

// Holds all logprobs of the answers to these prompts to `most`. RequestError where max_tokens asks
// for more; answers that may have any length end there, unless that is soon. How many there may be.
int64_t bound_logprobs(const RequestBody& body, std::span<const int64_t> num_prompt_tokens,
                       int64_t most, std::vector<int64_t>* max_tokens);

}  // namespace weft::serve
