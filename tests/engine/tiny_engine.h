// Engines over the small random models, which are looked for in $WEFT_TINY_MODELS
// (tools/write_tiny_models.py makes them).
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace weft::engine {

inline const char* tiny_folder() { return std::getenv("WEFT_TINY_MODELS"); }

#define SKIP_WITHOUT_TINY_MODELS() \
  if (tiny_folder() == nullptr) GTEST_SKIP() << "WEFT_TINY_MODELS is not set"

inline std::string tiny_path(const std::string& model) {
  return std::string(tiny_folder()) + "/" + model + ".gguf";
}

// One rank, one thread, a context of 200 tokens.
inline EngineOptions tiny_options(const std::string& path) {
  EngineOptions options;
  options.model_path = path;
  options.threads_per_rank = 1;
  options.max_model_len = 200;
  return options;
}

// `count` ids that no model gives a meaning, all different for counts under 100.
inline std::vector<int32_t> some_ids(int count, int32_t first = 5) {
  std::vector<int32_t> ids;
  for (int i = 0; i < count; ++i) ids.push_back(5 + (first + 7 * i) % 500);
  return ids;
}

inline Request greedy(std::vector<int32_t> prompt_ids, int64_t max_tokens) {
  Request request;
  request.prompt_ids = std::move(prompt_ids);
  request.sampling.max_tokens = max_tokens;
  request.sampling.temperature = 0.0f;
  request.sampling.ignore_eos = true;
  request.hash_logits = true;
  return request;
}

}  // namespace weft::engine
