// What each rank of a split holds, for `inspect` and the banner; computed from the same plans that
// the loader follows.
#pragma once

#include <vector>

#include "cache/group_layout.h"
#include "engine/engine.h"
#include "engine/model_source.h"
#include "engine/placement.h"
#include "model/split.h"
#include "model/step_memory.h"
#include "model/weights.h"

namespace weft::engine {

// The kernels' view of the cache that the options ask for.
kernels::KvLayout kv_layout(const model::ModelConfig& config, const EngineOptions& options);

// Which layers share block tables: those of windows that the longest context can pass have groups
// of their own.
cache::GroupLayout layer_groups(const model::ModelConfig& config, const EngineOptions& options);

// Local KV heads of each of a shard's layers: the shape of its cache.
std::vector<int64_t> kv_heads_per_layer(const model::ShardSplit& shard);

// The largest step of a context of max_model_len tokens.
model::StepLimits step_limits(const EngineOptions& options, int64_t max_model_len);

// What each rank will hold. Of an open context (no max_model_len) steps are counted for the model's
// own.
SplitReport report_split(const ModelSource& source, const parallel::Topology& topology,
                         const std::vector<model::StageSplit>& splits,
                         const PlacementPlan& placement, const EngineOptions& options);

// The split that the options ask for; of a packed model its own (engine/packing.h).
parallel::Topology resolve_topology(const ModelSource& source, const EngineOptions& options);

}  // namespace weft::engine
