// Who fills which part of a KernelTable: one function a family and instruction set. Each stands in
// a translation unit of its own, compiled for that instruction set, and is its only symbol.
#pragma once

#include "kernels/kernels.h"

namespace weft::kernels {

#define WEFT_TABLE_PARTS(isa)                                  \
  namespace isa {                                              \
  void fill_linear(KernelTable& table, bool hardware_bf16);    \
  void fill_vector(KernelTable& table);                        \
  void fill_attention(KernelTable& table, bool hardware_bf16); \
  void fill_vocab(KernelTable& table);                         \
  }
// hardware_bf16: multiply BF16 by the processor's dot product (AVX-512 only).
WEFT_TABLE_PARTS(portable)
WEFT_TABLE_PARTS(avx2)
WEFT_TABLE_PARTS(avx512)
WEFT_TABLE_PARTS(neon)
#undef WEFT_TABLE_PARTS

// The same for every instruction set: a row at a time needs no more.
void dequantize_row(const PanelLayout& layout, const std::byte* panels, int64_t row, float* out);

}  // namespace weft::kernels
