#include "kernels/vec_neon.h"
// The text below needs its instruction set first.
#include "kernels/table_parts.h"
#include "kernels/vector.inl.h"

namespace weft::kernels::neon {

void fill_vector(KernelTable& table) { fill_vector_kernels(table); }

}  // namespace weft::kernels::neon
