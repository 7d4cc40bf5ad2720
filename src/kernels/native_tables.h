// The tables of the processor family that this build is for. The build compiles one of
// native_tables_x86.cpp, native_tables_arm.cpp and native_tables_none.cpp.
#pragma once

#include "kernels/kernels.h"

namespace weft::kernels {

// Null where this processor cannot run it: it lacks the instructions, or is of another family.
const KernelTable* native_table(Isa isa);

// Whether a kernel that reads one long stream of quantised weights gains by asking for it ahead.
// A Zen 5 reads Q4_0 at 38 GB/s with and 29 without; a Zen 4 at 22 with and 30 without (Q8_0 21 and
// 31; Q4_1 and K-quants alike either way): there the requests take the places that the loads' own
// misses need. The sums are the same.
bool fetches_streams();

}  // namespace weft::kernels
