// Stage times for a forecast, measured before the run that they are to predict: steps of the sizes
// that the run will need, of random ids, so that none waits for an answer.
//
// Equal steps follow each other with the ring full, and those count that had company on every
// stage: stages that work side by side share the memory bus, caches and clocks. A context that is
// used up begins again, so that every size has as many steps: when long steps had one, which ran
// alone and was the first to touch its memory, the forecast was up to 60 % above the run. All sizes
// are measured in rounds, and the median of a size is learned. What passes between stages is
// measured one step at a time.
#pragma once

#include <cstdint>

#include "cache/block_pools.h"
#include "engine/engine.h"
#include "engine/replica.h"

namespace weft::engine {

// With nothing in flight. Planning is not measured here: planning_s stays 0. A replica of simulated
// stages has the times that it was given; only its hops are measured. Sizes that the pools have no
// room for are left out.
PipelineCosts calibrate_stages(Replica& replica, cache::BlockPools& pools, int64_t vocab_size,
                               const CalibrationRange& range, const OnCalibration& on_size);

}  // namespace weft::engine
