// What a grammar costs an answer's steps: the same requests with their masks and without, in turn,
// each answer to its full length, so that both run steps of equal batches.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cli/serving_figures.h"
#include "engine/engine.h"
#include "text/grammar.h"

namespace weft::cli {

struct MaskCostOptions {
  // Of a turn, without grammars: all at once, each to its max_tokens. Grammars learn of answers, so
  // no turn should be like another.
  std::function<std::vector<engine::Request>(int64_t turn)> requests;
  std::shared_ptr<const text::Grammar> grammar;
  double ratio = 1.0;  // share of the requests that have it: every request, or the first so many
  int64_t num_turns = 5;
  std::function<void()> on_run = {};  // after each of 2 x num_turns
};

// One run. A step is one after every prompt is computed and before the first answer ends, so that
// all sequences decode in it.
struct MaskRun {
  double step_ms = 0;       // mean
  double scheduler_ms = 0;  // of which planning; mean
  double mask_ms = 0;       // making masks, all threads together; mean
  int64_t num_steps = 0;
};

struct MaskCost {
  struct Turn {
    MaskRun with, without;
    double ratio() const { return with.step_ms / without.step_ms; }
  };
  std::vector<Turn> turns;
  std::vector<double> ratios() const;
};

// Error(kUsage) where the grammar ends an answer before its length.
MaskCost measure_mask_cost(engine::Engine& engine, const MaskCostOptions& options);

// step_ratio (median over the turns), its range, and every turn.
OrderedJson mask_cost_json(const MaskCost& cost);
std::string mask_cost_line(const MaskCost& cost);

}  // namespace weft::cli
