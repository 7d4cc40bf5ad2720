// The routes that clients of OpenAI and vLLM use:
//
//   POST /v1/chat/completions, /v1/completions, /v1/embeddings, /tokenize, /detokenize
//   GET  /v1/models, /v1/models/{id}, /tokenizer_info, /openapi.json
//   /v1/responses and what hangs on it (serve/response_body.h)
//
// Each is a pure reading of a body, messages to the engine, and a pure writing of what comes back.
// What takes long (JSON of megabytes, templates, encoding) is done by a few threads of its own, and
// what streams say by another, which waits for none of them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fleet/engine_client.h"
#include "serve/admission.h"
#include "serve/request_body.h"
#include "serve/router.h"
#include "text/reasoning.h"
#include "text/tool_calls.h"

namespace weft::serve {

// How calls of tools and reasoning stand in answers; none: found out (text/chat_profile.h).
struct ParserNames {
  std::optional<text::ToolFormat> tools;
  std::optional<text::ReasoningFormat> reasoning;
};

struct OpenAiOptions {
  std::vector<std::string> model_names;  // the first is told; none: the engine's own
  std::string chat_template;             // source, in place of the model's; empty: its own
  ParserNames parsers;
  // A stream that has nothing to say for so long says that it is alive; 0: never.
  int64_t ping_ns = 15'000'000'000;
  BodyLimits limits;
  int num_threads = 2;        // that read bodies and write long answers
  size_t most_waiting = 512;  // bodies that wait to be read; beyond: 503
};

// engine, admission: as long as the router. Error(kModel) where chat_template is none.
void add_openai_routes(Router* router, std::shared_ptr<fleet::EngineClient> engine,
                       Admission* admission, OpenAiOptions options = {});

}  // namespace weft::serve
