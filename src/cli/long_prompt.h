// One long prompt that arrives among running answers: what they feel of it, and it of them.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "engine/engine.h"

namespace weft::cli {

struct LongPromptOptions {
  int64_t num_running = 16, input_len = 128;  // answers, and the prompt of each
  int64_t long_len = 4096;
  int64_t gaps_before = 64;  // of each running answer, before the long prompt comes
  int64_t num_alone = 3;     // runs of the long prompt on an idle engine
  uint64_t seed = 0;
  std::function<void()> on_step = {};
};

struct LongPromptRun {
  std::vector<double> gaps_before_ms, gaps_during_ms;  // between two tokens of one answer
  double ttft_ms = 0;                                  // of the long prompt, among the others
  std::vector<double> ttft_alone_ms;
};

// The running answers are cancelled at the end. Throws the error of a request that fails.
LongPromptRun run_long_prompt(engine::Engine& engine, const LongPromptOptions& options);

}  // namespace weft::cli
