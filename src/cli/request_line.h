// One line of a file of prompts, as `weft run --file` reads it: an OpenAI batch request
//
//   {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": ...}}
//
// or a prompt alone: {"prompt": "..."} (fields of a body beside it are welcome), "...". A prompt
// alone is answered as `weft run -p` answers it, through the chat template; those of
// /v1/completions are plain text, or token ids. Bodies are read as the server reads them
// (serve/request_body.h). A stream that is asked for is not made: a file is written whole.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/sampling.h"
#include "serve/request_body.h"
#include "text/grammar.h"

namespace weft::cli {

using serve::kOpenMaxTokens;

// What the command line says about lines that do not say it themselves.
struct LineDefaults {
  // By kind of line: prompts alone, /v1/chat/completions, /v1/completions.
  engine::SamplingParams prompt, chat, completion;
  uint64_t seed = 0;   // lines without a seed get their own, drawn from this and custom_id
  std::string system;  // system message of prompts alone
  std::optional<text::GrammarSpec> grammar = {};  // of prompts alone that name none
  bool chat_template = true;                      // of prompts alone
  bool hash_logits = false;
  // Each gives bits of its own; of sums as far as they are rounded.
  std::string kv_cache_dtype = "bf16", reduce = "int64";

  // A text that differs wherever one of them does.
  std::string fingerprint() const;
};

// A text, or token ids.
using LinePrompt = serve::Prompt;

struct RequestLine : serve::RequestBody {
  int64_t number = 0;      // from 1
  std::string custom_id;   // "line-N" where the line has none
  std::string request_id;  // follows from the line and the defaults: equal lines, equal answers
};

// Error(kUsage) that begins with "line N". Ids are checked against no vocabulary yet.
RequestLine parse_request_line(std::string_view text, int64_t number, const LineDefaults& defaults);

}  // namespace weft::cli
