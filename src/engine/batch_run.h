// Equal sequences answered side by side (engine.h, BatchWorkload): what a scheduler will do with
// unequal ones, without the scheduler. Prompts are cut into full steps across sequences; then every
// step carries one token of each sequence.
#pragma once

#include <functional>
#include <vector>

#include "cache/sequence_blocks.h"
#include "engine/engine.h"
#include "engine/replica.h"

namespace weft::engine {

class BatchRun {
 public:
  // Called after each step: its plan, and the time from its submission to its answer.
  using OnStep = std::function<void(const StepPlan& plan, double seconds)>;
  // The pools have room for the whole workload.
  BatchRun(Replica& replica, cache::BlockPools& pools, const BatchWorkload& workload,
           int64_t vocab_size, OnStep on_step = {});

  BatchTiming run();

 private:
  struct Sequence {
    std::vector<int32_t> ids;  // depth and prompt, then what was generated
    cache::SequenceBlocks blocks;
    int64_t num_fed = 0;  // tokens of plans made
    uint64_t hash = 0;
  };

  // Feeds positions [tokens.begin, tokens.end) of every sequence; where `choose`, the last one's
  // logits choose each sequence's next token.
  void feed(Range tokens, bool choose);
  StepPlan& begin_plan();
  void add_chunk(StepPlan& plan, size_t sequence, Range tokens, bool choose);
  void run_step(const StepPlan& plan);
  void take(const model::RowResult& row, size_t sequence);

  Replica& replica_;
  const BatchWorkload& workload_;
  const OnStep on_step_;
  std::vector<Sequence> sequences_;
  std::vector<size_t> choosers_;  // the sequences of the plan's rows, in order
};

}  // namespace weft::engine
