// The body of a request for text, read and checked: one parser and one validator for every route
// and for the lines of `weft run --file`. Names, defaults and ranges are those of OpenAI and vLLM;
// unknown fields mean nothing, as in vLLM; what cannot be honoured is refused by name. A refusal is
// a RequestError (serve/request_error.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "engine/sampling.h"
#include "engine/served_limits.h"
#include "serve/request_fields.h"
#include "text/grammar.h"

namespace weft::serve {

// max_tokens of a body that leaves it open: beyond any context, which ends the answer.
inline constexpr int64_t kOpenMaxTokens = int64_t{1} << 24;

// What the context holds beside the answer: vLLM's number for it.
inline constexpr int64_t kTruncateToContext = -1;

// What a body may ask for at most, besides the ranges of engine/sampling.h.
struct BodyLimits : engine::ServedLimits {
  int64_t max_tokens = int64_t{1} << 40;  // as check_sampling has it; a context ends long before
  int64_t prompts = 1024;                 // of one completion, one answer (or n) to each
  int64_t messages = 4096;                // of one chat
  int64_t documents = 256;                // of one chat, objects of texts, numbers and flags
  int64_t document_bytes = 1 << 20;       // of all of them
  bool whole_vocabulary = false;          // logprobs -1
};

// A text, or token ids.
using Prompt = std::variant<std::string, std::vector<int32_t>>;

struct RequestBody {
  std::string model;  // as asked for; empty: whatever is served
  bool is_chat = true;

  // Of a chat: a JSON array, a JSON object of further variables of the template.
  std::string messages, template_variables = "{}", last_content;
  bool add_generation_prompt = true;
  bool continue_final_message = false;  // the answer goes on where the last message ends
  bool is_question = true;              // one message, the user's: it needs no template
  // Of a completion: one answer (or n) to each.
  std::vector<Prompt> prompts;

  bool add_special_tokens = false;
  int64_t truncate_prompt_tokens = 0;  // only the last so many; 0: all; or kTruncateToContext
  engine::SamplingParams sampling;
  bool names_max_tokens = false;               // the body itself does
  std::string max_tokens_name = "max_tokens";  // or as the body calls it
  std::vector<std::string> bad_words;  // become ids of sampling.bad_words with a tokenizer at hand
  std::optional<text::GrammarSpec> grammar;
  std::string grammar_name;  // the field that asks for it
  int32_t priority = 0;
  uint64_t cache_salt = 0;
  bool echo = false;
  bool only_echo = false;  // max_tokens 0: the one token that is generated is not shown
  bool return_token_ids = false;
  bool return_tokens_as_token_ids = false;  // in logprobs: "token_id:5" in place of texts
  bool hash_logits = false;

  bool streams = false;
  bool include_usage = false;           // of a stream: a last chunk with the usage
  bool continuous_usage_stats = false;  // and the usage so far in every other
};

// body: sampling holds the defaults; what the fields say is filled in. Ids are checked against no
// vocabulary yet.
void read_chat(const Fields& fields, const BodyLimits& limits, RequestBody* body);
void read_completion(const Fields& fields, const BodyLimits& limits, RequestBody* body);
// All that is neither messages nor prompt.
void read_terms(const Fields& fields, const BodyLimits& limits, RequestBody* body);

}  // namespace weft::serve
