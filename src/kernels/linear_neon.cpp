#include "kernels/vec_neon.h"
// The texts below need their instruction set first.
#include "kernels/dot_neon.h"
//
#include "kernels/activations.inl.h"
#include "kernels/linear.inl.h"
#include "kernels/probe.inl.h"
#include "kernels/table_parts.h"

namespace weft::kernels::neon {

void fill_linear(KernelTable& table, bool) {
  table.prepare = prepare;
  table.matmul = matmul<false>;
  table.matmul_exact = matmul_exact<false>;
  table.add_int64 = add_int64;
  table.finish_exact = finish_exact;
  table.probe_int8 = probe_int8;
  table.probe_bf16 = probe_bf16<false>;
  table.probe_f32 = probe_f32;
}

}  // namespace weft::kernels::neon
