#include "kernels/vec_neon.h"
// The texts below need their instruction set first.
#include "kernels/dot_neon.h"
//
#include "kernels/attention.inl.h"
#include "kernels/table_parts.h"

namespace weft::kernels::neon {

void fill_attention(KernelTable& table, bool) { fill_attention_kernels<false>(table); }

}  // namespace weft::kernels::neon
