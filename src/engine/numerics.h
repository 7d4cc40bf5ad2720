// What the bits of an answer depend on beside the model and the tokens before: equal ids, equal
// bits, whatever the topology, the batch or the machine.
#pragma once

#include <fmt/format.h>

#include <string>

#include "kernels/kernels.h"

namespace weft::engine {

// Raised with every change that changes a bit of a logit for some model.
inline constexpr int kArithmeticVersion = 1;
// All kernel tables of today add the same products in the same order (tests/parity, isa=…).
inline constexpr std::string_view kKernelClass = "lanes16";

// "weft1/lanes16/kv-bf16/exact". The last word is how sums across ranks are taken.
inline std::string numerics_id(kernels::KvType cache) {
  return fmt::format("weft{}/{}/kv-{}/exact", kArithmeticVersion, kKernelClass,
                     kernels::name(cache));
}

}  // namespace weft::engine
