// One long prompt that arrives among running answers: what they feel of it, and it of them.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "engine/engine.h"

namespace weft::cli {

// What a run goes through, in this order.
enum class LongPromptPhase {
  kAlone,     // counts runs of the long prompt, of num_alone
  kSettling,  // counts the running answers' tokens before the long prompt comes, of a known number
  kAmong      // counts their tokens while it is computed: nobody knows of how many
};

struct LongPromptOptions {
  int64_t num_running = 16, input_len = 128;  // answers, and the prompt of each
  int64_t long_len = 4096;
  int64_t gaps_before = 64;  // of each running answer, before the long prompt comes
  int64_t num_alone = 3;     // runs of the long prompt on an idle engine
  uint64_t seed = 0;
  // How far the phase is: done, and of how many (0: unknown). Called after every step.
  std::function<void(LongPromptPhase phase, int64_t done, int64_t total)> on_progress = {};
};

struct LongPromptRun {
  std::vector<double> gaps_before_ms, gaps_during_ms;  // between two tokens of one answer
  double ttft_ms = 0;                                  // of the long prompt, among the others
  std::vector<double> ttft_alone_ms;
};

// The running answers are cancelled at the end. Throws the error of a request that fails.
LongPromptRun run_long_prompt(engine::Engine& engine, const LongPromptOptions& options);

}  // namespace weft::cli
