// The body of POST /v1/embeddings: https://platform.openai.com/docs/api-reference/embeddings. The
// field "pooling" is ours.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fleet/engine_client.h"
#include "serve/request_body.h"

namespace weft::serve {

inline constexpr int64_t kMostInputs = 2048;  // OpenAI's bound

struct EmbeddingBody {
  std::string model;
  std::vector<Prompt> inputs;
  bool base64 = false;
  int64_t dimensions = 0;  // 0: all
  fleet::Embed::Pooling pooling = fleet::Embed::Pooling::kLast;
  bool normalize = true;
  int64_t truncate_prompt_tokens = 0;  // of each only the last so many; 0: all; or -1: the context
  int32_t priority = 0;
};

// width: numbers of one of the model's vectors. RequestError as of Fields.
EmbeddingBody read_embedding(const Fields& fields, int64_t width);

}  // namespace weft::serve
