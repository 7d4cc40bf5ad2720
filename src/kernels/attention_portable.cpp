#include "kernels/vec_portable.h"
// The text below needs its instruction set first.
#include "kernels/attention.inl.h"
#include "kernels/table_parts.h"

namespace weft::kernels::portable {

void fill_attention(KernelTable& table) { fill_attention_kernels(table); }

}  // namespace weft::kernels::portable
