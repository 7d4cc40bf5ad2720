// The blocks of ggml's file types (ggml-common.h), taken apart into codes and scales without
// rounding anything: one block of 32 inputs of one row at a time, which is a panel's group.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace weft::kernels {

// What a panel holds of 32 inputs of one row; which fields count follows from the PanelFormat
// (panel.h). Codes are unsigned, the format's `zero` included.
struct FileGroup {
  uint8_t codes[32];
  uint16_t scale_f16, min_f16;  // Scales::kF16
  float scale_f32;              // Scales::kF32
  uint16_t d, dmin;             // Scales::kTwoLevel: f16, the same for the whole super-block
  int8_t sc[2];                 //   per half; both equal where 32 inputs share a scale
  uint8_t m[2];
};

// Group `block` (inputs 32 * block ..) of a row of a quantised type.
FileGroup read_group(tensor::DType file_type, const std::byte* row, int64_t block);

}  // namespace weft::kernels
