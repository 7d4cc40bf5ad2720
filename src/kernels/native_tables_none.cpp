// Processors that no kernel was written for have the portable table alone.
#include "kernels/native_tables.h"

namespace weft::kernels {

const KernelTable* native_table(Isa) { return nullptr; }

}  // namespace weft::kernels
