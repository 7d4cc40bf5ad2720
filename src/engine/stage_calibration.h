// Stage times for a forecast, measured before the run that they are to predict: a few steps of each
// size that the run will need, one at a time, so that nothing of a pipeline's overlap is in them.
#pragma once

#include <cstdint>

#include "cache/block_pools.h"
#include "engine/engine.h"
#include "engine/replica.h"

namespace weft::engine {

// With nothing in flight. Planning is not measured here: planning_s stays 0. A replica of simulated
// stages has the times that it was given; only its hops are measured. Sizes that the pool has no
// room for are left out.
PipelineCosts calibrate_stages(Replica& replica, cache::BlockPools& pools, int64_t vocab_size,
                               const CalibrationRange& range,
                               const std::function<bool(const BatchWorkload&)>& fits,
                               const OnCalibration& on_size);

}  // namespace weft::engine
