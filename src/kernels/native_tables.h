// The tables of the processor family that this build is for. The build compiles one of
// native_tables_x86.cpp, native_tables_arm.cpp and native_tables_none.cpp.
#pragma once

#include "kernels/kernels.h"

namespace weft::kernels {

// Null where this processor cannot run it: it lacks the instructions, or is of another family.
const KernelTable* native_table(Isa isa);

}  // namespace weft::kernels
