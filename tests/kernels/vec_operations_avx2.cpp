#include "kernels/vec_avx2.h"
// The text below needs its instruction set first.
#include "kernels/vec_operations.inl.h"

namespace weft::kernels::avx2 {

int64_t vec_operations(uint64_t* results) { return record_operations(results); }

}  // namespace weft::kernels::avx2
