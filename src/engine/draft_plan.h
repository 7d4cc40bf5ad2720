// A draft model before it is loaded: whether it speaks the vocabulary of the model that it guesses
// for, how it is cut, where it runs, what it takes.
#pragma once

#include "engine/engine.h"
#include "engine/model_source.h"
#include "engine/worker.h"

namespace weft::engine {

struct DraftPlan {
  EngineOptions options;  // as if the draft model were asked for by itself
  ReplicaShape shape;     // all but what the cache's size decides: ropes, num_blocks
};

// Opens options.speculative_model. target: the split and the placement of the model that it guesses
// for. Errors: kModel for its files; kUsage where its vocabulary is another one, naming the first
// token that differs.
DraftPlan plan_draft(const EngineOptions& options, const ModelSource& source,
                     const ReplicaShape& target);
// What its ranks will hold.
void report_draft(const DraftPlan& plan, SplitReport& report);

// Error(kUsage) naming both models, unless every id that both have is the same token.
void check_same_vocabulary(const ModelSource& target, const ModelSource& draft);

// On the cores of the target's first stage, whose workers wait while the planner's thread is in the
// draft model: those of other stages may have steps to run.
PlacementPlan place_draft(int num_ranks, const EngineOptions& options, const ReplicaShape& target);

}  // namespace weft::engine
