#include "kernels/vec_avx512.h"
// The texts below need their instruction set first.
#include "kernels/dot_avx512.h"
//
#include "kernels/activations.inl.h"
#include "kernels/linear.inl.h"
#include "kernels/table_parts.h"

namespace weft::kernels::avx512 {

void fill_linear(KernelTable& table, bool hardware_bf16) {
  table.prepare = prepare;
  table.matmul = hardware_bf16 ? matmul<true> : matmul<false>;
  table.matmul_exact = hardware_bf16 ? matmul_exact<true> : matmul_exact<false>;
  table.add_int64 = add_int64;
  table.finish_exact = finish_exact;
}

}  // namespace weft::kernels::avx512
