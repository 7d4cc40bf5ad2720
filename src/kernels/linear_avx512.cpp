#include "kernels/vec_avx512.h"
// The texts below need their instruction set first.
#include "kernels/dot_avx512.h"
//
#include "kernels/activations.inl.h"
#include "kernels/linear.inl.h"
#include "kernels/probe.inl.h"
#include "kernels/table_parts.h"

namespace weft::kernels::avx512 {

void fill_linear(KernelTable& table, bool hardware_bf16) {
  table.prepare = prepare;
  table.matmul = hardware_bf16 ? matmul<true> : matmul<false>;
  table.matmul_exact = hardware_bf16 ? matmul_exact<true> : matmul_exact<false>;
  table.add_int64 = add_int64;
  table.finish_exact = finish_exact;
  table.probe_int8 = probe_int8;
  table.probe_bf16 = hardware_bf16 ? probe_bf16<true> : probe_bf16<false>;
  table.probe_f32 = probe_f32;
}

}  // namespace weft::kernels::avx512
