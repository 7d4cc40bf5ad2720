// The routes that clients of OpenAI and vLLM use:
//
//   POST /v1/chat/completions, /v1/completions, /v1/embeddings, /tokenize, /detokenize
//   GET  /v1/models, /v1/models/{id}, /tokenizer_info, /openapi.json
//
// Each is a pure reading of a body, messages to the engine, and a pure writing of what comes back;
// what takes long is done by a few threads of their own.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "fleet/engine_client.h"
#include "serve/admission.h"
#include "serve/request_body.h"
#include "serve/router.h"

namespace weft::serve {

struct OpenAiOptions {
  std::vector<std::string> model_names;  // the first is told; none: the engine's own
  std::string chat_template;             // source, in place of the model's; empty: its own
  BodyLimits limits;
  int num_threads = 2;        // that read bodies and write answers
  size_t most_waiting = 512;  // bodies that wait to be read; beyond: 503
};

// engine, admission: as long as the router. Error(kModel) where chat_template is none.
void add_openai_routes(Router* router, std::shared_ptr<fleet::EngineClient> engine,
                       Admission* admission, OpenAiOptions options = {});

}  // namespace weft::serve
