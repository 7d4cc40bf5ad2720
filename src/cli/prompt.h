// From what a user typed to the token ids that the model is given.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"

namespace weft::cli {

// What is asked where nobody can type and no prompt was given.
inline constexpr std::string_view kBuiltInPrompt = "What is the capital of Japan?";

// What of a model turns text into ids; borrowed from it.
struct PromptWriter {
  const text::Tokenizer& tokenizer;
  const text::ChatTemplate* chat_template;  // null where the model ships none

  // A conversation through the model's own chat template, which writes all special tokens. Without
  // a template: the last message as plain text.
  std::vector<int32_t> conversation_ids(std::span<const text::Message> messages) const;
  // Plain text to be continued, with BOS where the model wants it; special tokens may be written
  // out.
  std::vector<int32_t> plain_ids(std::string_view text) const;
};
PromptWriter writer_of(const engine::Engine& engine);

// "1,2,3". Error(kUsage), which names the option, for anything else and for ids outside
// [0, vocab_size).
std::vector<int32_t> parse_ids(std::string_view option, std::string_view list, int64_t vocab_size);

// Shortens max_tokens, and with it min_tokens, to what the context leaves after the prompt (at
// least one token: the engine says what is wrong with a prompt that fills it).
void fit_answer(const engine::Engine& engine, engine::Request* request);

// Forgets the oldest question with its answer, and never the last message nor a system message at
// the front. Returns how many messages were forgotten; 0: there is nothing to forget.
size_t forget_oldest_pair(std::vector<text::Message>* messages);

// Forgets the oldest messages, a system message at the front apart, until the rendered conversation
// leaves room for an answer or one message is left. Returns how many were forgotten.
size_t forget_oldest(const engine::Engine& engine, std::vector<text::Message>* messages);

}  // namespace weft::cli
