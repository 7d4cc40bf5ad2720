// What the bits of an answer depend on beside the model and the tokens before: equal ids, equal
// bits, whatever the topology, the batch or the machine.
//
// Where a user has sums rounded between processes (comm/sum_wire.h), the cut between these is a
// part of the id: which heads and which columns of the FFN each of them adds up. Batch, chunks,
// threads and how the ranks of one process share its part still do not show.
#pragma once

#include <fmt/format.h>

#include <string>
#include <vector>

#include "base/range.h"
#include "comm/sum_wire.h"
#include "engine/engine.h"
#include "kernels/kernels.h"
#include "model/split.h"

namespace weft::engine {

// Raised with every change that changes a bit of a logit for some model.
inline constexpr int kArithmeticVersion = 1;
// All kernel tables of today add the same products in the same order (tests/parity, isa=…).
inline constexpr std::string_view kKernelClass = "lanes16";
inline constexpr std::string_view kExactSums = "exact";

// "weft1/lanes16/kv-bf16/exact". The last word is how sums across ranks are taken.
inline std::string numerics_id(kernels::KvType cache, std::string_view sums = kExactSums) {
  return fmt::format("weft{}/{}/kv-{}/{}", kArithmeticVersion, kKernelClass, kernels::name(cache),
                     sums);
}
// Of an engine that is loaded with these options. Opens the model where sums may be rounded.
std::string numerics_id(const EngineOptions& options);

// "exact", also where no stage spans processes; otherwise the wire and the cut: "q8@" and 16
// hexadecimal digits. ranks: of each process, where there are several.
std::string sums_id(comm::SumWire wire, const std::vector<model::StageSplit>& splits,
                    const std::vector<Range>& ranks);

}  // namespace weft::engine
