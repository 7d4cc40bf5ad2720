// The compute format of each file type, known when compiling: packing has a body for each.
#pragma once

#include "tensor/panel.h"

namespace weft::tensor {

// What panel_format() gives.
constexpr PanelFormat panel_format_of(DType dtype) {
  const auto plain = [](Codes codes) { return PanelFormat{codes, Scales::kNone, false, 0, 32}; };
  const auto f16 = [](Codes codes, bool has_min, int zero) {
    return PanelFormat{codes, Scales::kF16, has_min, zero, 32};
  };
  const auto two_level = [](Codes codes, bool has_min, int zero, int scale_inputs) {
    return PanelFormat{codes, Scales::kTwoLevel, has_min, zero, scale_inputs};
  };
  switch (dtype) {
    case DType::kF32:
      return plain(Codes::kF32);
    case DType::kF16:
      return plain(Codes::kF16);
    case DType::kBF16:
      return plain(Codes::kBF16);
    case DType::kQ4_0:
      return f16(Codes::kU4, false, 8);
    case DType::kQ4_1:
      return f16(Codes::kU4, true, 0);
    case DType::kQ5_0:
      return f16(Codes::kU5, false, 16);
    case DType::kQ5_1:
      return f16(Codes::kU5, true, 0);
    case DType::kQ8_0:
      return f16(Codes::kU8, false, 128);
    case DType::kQ2_K:
      return two_level(Codes::kU4, true, 0, 16);
    case DType::kQ3_K:
      return two_level(Codes::kU4, false, 4, 16);
    case DType::kQ4_K:
      return two_level(Codes::kU4, true, 0, 32);
    case DType::kQ5_K:
      return two_level(Codes::kU5, true, 0, 32);
    case DType::kQ6_K:
      return two_level(Codes::kU6, false, 32, 16);
    case DType::kIQ4_NL:
      return f16(Codes::kU8, false, 128);
    case DType::kIQ4_XS:
      return two_level(Codes::kU8, false, 128, 32);
    case DType::kMXFP4:
      return PanelFormat{Codes::kU8, Scales::kF32, false, 128, 32};
  }
  return {};  // no other value is a type
}

}  // namespace weft::tensor
