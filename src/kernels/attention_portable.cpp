#include "kernels/vec_portable.h"
// The texts below need their instruction set first.
#include "kernels/dot_portable.h"
//
#include "kernels/attention.inl.h"
#include "kernels/table_parts.h"

namespace weft::kernels::portable {

void fill_attention(KernelTable& table, bool) { fill_attention_kernels<false>(table); }

}  // namespace weft::kernels::portable
