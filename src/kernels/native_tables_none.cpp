// Processors that no kernel was written for have the portable table alone.
#include "kernels/native_tables.h"

namespace weft::kernels {

const KernelTable* native_table(Isa) { return nullptr; }

bool fetches_streams() { return true; }

}  // namespace weft::kernels
