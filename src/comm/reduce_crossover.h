// Where two ways to add up meet: one shot (everybody sends everybody everything: one message's
// time) and two shots (everybody adds a slice and sends it on: twice that, for fewer bytes).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/function_ref.h"

namespace weft::comm {

// Bytes from which two shots are faster between the members of a group. Collective: `one` and `two`
// are its sums, `tell` broadcasts from member 0, whose clock decides, so that all agree. Sums are
// exact, so the answer shows in no result. Below 10 ms where a sum takes less than 1.
int64_t measure_two_shot_bytes(FunctionRef<void(std::span<int64_t>)> one,
                               FunctionRef<void(std::span<int64_t>)> two,
                               FunctionRef<void(std::span<std::byte>)> tell);

}  // namespace weft::comm
