// The versions that were climbed on the way to the matrix kernel of Q4_0, kept so that each step
// can be read and measured. Each rung is a whole product, out = weights x activations, in as little
// text as shows its idea; what the shipped kernel adds for every format and shape (units, ragged
// rows, outliers, biases) is left out. From rung 2 on all have the bits of the plain reference.
//
// What bounds them, on a core that starts two 512-bit operations a cycle: 64 products are one
// `vpdpbusd` (u8 weights x s8 activations, four products added into each 32-bit lane), so a group
// of 32 inputs x 16 rows x 1 token needs 8 of them. Everything else takes the same two ports, and
// every rung removes some of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/kernels.h"

namespace weft::ladder {

struct Product {
  const kernels::PanelLayout* layout = nullptr;  // Q4_0, a whole input of a multiple of 32
  const std::byte* file_rows = nullptr;  // [num_rows, num_inputs / 32] blocks as GGUF has them
  const std::byte* panels = nullptr;     // the same weights as panels
  kernels::Activations input;            // 8 bits, no outliers
  float* out = nullptr;                  // [num_tokens, out_stride]
  int64_t out_stride = 0;
};

struct Rung {
  const char* name;
  const char* change;  // what differs from the rung before
  bool has_reference_bits;
  // Rows of panels [panels.begin, panels.end), whose number is even, for all tokens.
  void (*run)(const Product& product, Range panels);
};

// In the order in which they were climbed; empty where this processor's instructions are not those
// of the ladder (AVX-512 with VNNI).
std::span<const Rung> rungs();

}  // namespace weft::ladder
