// One answer as data (`--json`) and as lines for people (`--stats`, `--logprobs`, `--logits-hash`).
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace weft::cli {

// What belongs to an answer: borrowed for the time of a call.
struct Answer {
  const engine::Engine& engine;
  const engine::Request& request;
  const engine::GenerationResult& result;
  int64_t cached_tokens = 0;  // of the prompt: they took no time
};

// Tokens a second and GB a second; none where there was nothing to measure. The first generated
// token comes out of the prompt's last step, so n tokens are n - 1 generation steps.
std::optional<double> prompt_rate(const Answer& answer);
std::optional<double> generation_rate(const Answer& answer);
std::optional<double> read_rate_gb(const Answer& answer);

// 16 hexadecimal digits.
std::string hash_text(uint64_t hash);

// One JSON object in one line. Keys that were not asked for are null (logits_hash) or absent
// (logprobs, prompt_logprobs); stop_reason is null unless a stop text or a stop token id ended the
// answer. What was not measured is null: a rate without a step, a rank's times
// where one pool ran all ranks ("pool" holds the pool's, and is null otherwise). JSON has no NaN
// and no infinity: such numbers become null too.
std::string answer_json(const Answer& answer);

// Two lines of speed and the times, a row a rank, or one row where one pool ran all ranks.
std::vector<std::string> stats_lines(const Answer& answer);
// What was asked for beside the text: logprobs, a line a position (the chosen token, then the best
// ones with their logprobs), and the hash of the logits.
std::vector<std::string> detail_lines(const Answer& answer);

}  // namespace weft::cli
