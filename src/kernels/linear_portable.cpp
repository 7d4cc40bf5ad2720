#include "kernels/vec_portable.h"
// The texts below need their instruction set first.
#include "kernels/dot_portable.h"
//
#include "kernels/activations.inl.h"
#include "kernels/linear.inl.h"
#include "kernels/table_parts.h"

namespace weft::kernels::portable {

void fill_linear(KernelTable& table, bool) {
  table.prepare = prepare;
  table.matmul = matmul<false>;
  table.matmul_exact = matmul_exact<false>;
  table.add_int64 = add_int64;
  table.finish_exact = finish_exact;
}

}  // namespace weft::kernels::portable
