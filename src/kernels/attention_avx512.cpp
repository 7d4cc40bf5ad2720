#include "kernels/vec_avx512.h"
// The texts below need their instruction set first.
#include "kernels/dot_avx512.h"
//
#include "kernels/attention.inl.h"
#include "kernels/table_parts.h"

namespace weft::kernels::avx512 {

void fill_attention(KernelTable& table, bool hardware_bf16) {
  if (hardware_bf16) {
    fill_attention_kernels<true>(table);
  } else {
    fill_attention_kernels<false>(table);
  }
}

}  // namespace weft::kernels::avx512
