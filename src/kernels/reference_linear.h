// The plain meaning of the linear kernels: scalar code straight from kernels.h, with the
// signatures of their table entries. Tests compare every table with these bit by bit; nothing else
// calls them. The calling thread's floating-point state must be prepared here too.
#pragma once

#include "kernels/kernels.h"

namespace weft::kernels::reference {

void prepare(const tensor::InputMap& map, const float* x, const Activations& out, int64_t token,
             Range groups);
void matmul(const Matmul& op, Range panels, Range tokens, const float* bias, float* out,
            int64_t out_stride);
void matmul_exact(const Matmul& op, Range panels, Range tokens, const PartialSums& out);
void add_int64(int64_t* sum, const int64_t* const* parts, int num_parts, int64_t count);
int64_t finish_exact(const int64_t* const* parts, int num_parts, int64_t num_rows,
                     const float* bias, float* out);

}  // namespace weft::kernels::reference
