// The compute formats that exist, as types: a kernel text is instantiated once for each.
#pragma once

#include "kernels/panel_codes.h"

namespace weft::kernels {
namespace {

// Offsets are bytes within a group; a header is d f16 [16 rows], then dmin where minimums exist.
template <Codes kCodes_, Scales kScales_, bool kHasMin_, int kZero_, int kHalves_ = 1>
struct Quantized {
  static constexpr Codes kCodes = kCodes_;
  static constexpr Scales kScales = kScales_;
  static constexpr bool kHasMin = kHasMin_;
  static constexpr int kZero = kZero_;
  static constexpr int kHalves = kHalves_;
  static constexpr bool kTwoLevel = kScales == Scales::kTwoLevel;

  static constexpr int kScaleBytes = 16 * (kScales == Scales::kF16   ? 2
                                           : kScales == Scales::kF32 ? 4
                                                                     : 1);  // of one half
  static constexpr int kMinOffset = kHalves * kScaleBytes;
  static constexpr int kCodesOffset = kMinOffset * (kHasMin ? 2 : 1);
  static constexpr int kCodesBytes = kCodes == Codes::kU4   ? 256
                                     : kCodes == Codes::kU5 ? 320
                                     : kCodes == Codes::kU6 ? 384
                                                            : 512;
  static constexpr int kGroupBytes = kCodesOffset + kCodesBytes;
  static constexpr int kHeaderBytes = kTwoLevel ? (kHasMin ? 64 : 32) : 0;
};

using FormatQ4_0 = Quantized<Codes::kU4, Scales::kF16, false, 8>;
using FormatQ4_1 = Quantized<Codes::kU4, Scales::kF16, true, 0>;
using FormatQ5_0 = Quantized<Codes::kU5, Scales::kF16, false, 16>;
using FormatQ5_1 = Quantized<Codes::kU5, Scales::kF16, true, 0>;
using FormatQ8_0 = Quantized<Codes::kU8, Scales::kF16, false, 128>;  // and IQ4_NL
using FormatQ2K = Quantized<Codes::kU4, Scales::kTwoLevel, true, 0, 2>;
using FormatQ3K = Quantized<Codes::kU4, Scales::kTwoLevel, false, 4, 2>;
using FormatQ4K = Quantized<Codes::kU4, Scales::kTwoLevel, true, 0>;
using FormatQ5K = Quantized<Codes::kU5, Scales::kTwoLevel, true, 0>;
using FormatQ6K = Quantized<Codes::kU6, Scales::kTwoLevel, false, 32, 2>;
using FormatIQ4XS = Quantized<Codes::kU8, Scales::kTwoLevel, false, 128>;
using FormatMXFP4 = Quantized<Codes::kU8, Scales::kF32, false, 128>;

}  // namespace
}  // namespace weft::kernels
