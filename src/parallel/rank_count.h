// How many ranks a topology that is asked for has, before a model says how many layers there are.
#pragma once

#include "parallel/topology.h"

namespace weft::parallel {

// Error(kUsage) where a part of the request is no number.
int num_ranks(const TopologyRequest& request);

}  // namespace weft::parallel
