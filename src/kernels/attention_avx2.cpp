#include "kernels/vec_avx2.h"
// The texts below need their instruction set first.
#include "kernels/dot_avx2.h"
//
#include "kernels/attention.inl.h"
#include "kernels/table_parts.h"

namespace weft::kernels::avx2 {

void fill_attention(KernelTable& table, bool) { fill_attention_kernels<false>(table); }

}  // namespace weft::kernels::avx2
