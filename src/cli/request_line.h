// One line of a file of prompts, as `weft run --file` reads it: an OpenAI batch request
//
//   {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": ...}}
//
// or a prompt alone: {"prompt": "..."} (fields of a body beside it are welcome), "...". A prompt
// alone is answered as `weft run -p` answers it, through the chat template; those of
// /v1/completions are plain text, or token ids. Names, defaults and ranges are those of OpenAI and
// vLLM; unknown fields mean nothing, as in vLLM; what cannot be honoured is refused by name.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/sampling.h"

namespace weft::cli {

// max_tokens of a line that leaves it open: beyond any context, which ends the answer.
inline constexpr int64_t kOpenMaxTokens = int64_t{1} << 24;

// What the command line says about lines that do not say it themselves.
struct LineDefaults {
  // By kind of line: prompts alone, /v1/chat/completions, /v1/completions.
  engine::SamplingParams prompt, chat, completion;
  uint64_t seed = 0;          // lines without a seed get their own, drawn from this and custom_id
  std::string system;         // system message of prompts alone
  bool chat_template = true;  // of prompts alone
  bool hash_logits = false;
  std::string kv_cache_dtype = "bf16";  // each type gives bits of its own

  // A text that differs wherever one of them does.
  std::string fingerprint() const;
};

// A text, or token ids.
using LinePrompt = std::variant<std::string, std::vector<int32_t>>;

struct RequestLine {
  int64_t number = 0;      // from 1
  std::string custom_id;   // "line-N" where the line has none
  std::string request_id;  // follows from the line and the defaults: equal lines, equal answers
  bool is_chat = true;

  // Of a chat: a JSON array, a JSON object of further variables of the template.
  std::string messages, template_variables = "{}", last_content;
  bool add_generation_prompt = true;
  // Of a completion: one answer (or n) to each.
  std::vector<LinePrompt> prompts;

  bool add_special_tokens = false;
  engine::SamplingParams sampling;
  std::vector<std::string> bad_words;  // become ids of sampling.bad_words with a tokenizer at hand
  int32_t priority = 0;
  uint64_t cache_salt = 0;
  bool echo = false;
  bool only_echo = false;  // max_tokens 0: the one token that is generated is not shown
  bool return_token_ids = false, hash_logits = false;
  bool streams = false;  // asked for, and not done: a file is written whole
};

// Error(kUsage) that begins with "line N". Ids are checked against no vocabulary yet.
RequestLine parse_request_line(std::string_view text, int64_t number, const LineDefaults& defaults);

}  // namespace weft::cli
