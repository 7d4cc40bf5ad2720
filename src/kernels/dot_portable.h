// Dot products of a group's codes in plain C++: the meaning of what dot_avx2.h, dot_avx512.h and
// dot_neon.h do with instructions. Included after vec_portable.h.
#pragma once

#include "kernels/linear_format.h"

namespace weft::kernels {
namespace {

// The tile that stays in registers: panels x tokens. Here only so that a decoded weight is used
// twice.
inline constexpr int kTilePanels = 1;
// Sums of words and signed bytes depend on the code's width (linear.inl.h, Widened).
template <class Format>
inline constexpr bool kWidens = false;
template <class Format>
inline constexpr int kTileTokens = 2;

// 16 sums of signed bytes, written out exactly.
WEFT_INLINE void store_int8(int8_t* p, const I32x16& x) {
  for (int i = 0; i < 16; ++i) p[i] = static_cast<int8_t>(x.v[i]);
}
WEFT_INLINE int32_t reduce_add(const I32x16& a) {
  int32_t s = 0;
  for (int i = 0; i < 16; ++i) s += a.v[i];
  return s;
}
WEFT_INLINE F32x16 load_scale_s8(const uint8_t* p) {
  F32x16 r;
  for (int i = 0; i < 16; ++i) r.v[i] = static_cast<float>(static_cast<int8_t>(p[i]));
  return r;
}
WEFT_INLINE F32x16 load_scale_u8(const uint8_t* p) {
  F32x16 r;
  for (int i = 0; i < 16; ++i) r.v[i] = static_cast<float>(p[i]);
  return r;
}

template <Codes kCodes>
WEFT_INLINE void step_codes(const uint8_t* codes, int step, int16_t (&w)[64]) {
  if constexpr (kCodes == Codes::kU8) {
    for (int i = 0; i < 64; ++i) w[i] = codes[64 * step + i];
    return;
  }
  const int shift = step < 4 ? 0 : 4;
  for (int i = 0; i < 64; ++i) w[i] = (codes[64 * (step % 4) + i] >> shift) & 15;
  const uint8_t* top = codes + 256;
  if constexpr (kCodes == Codes::kU5) {
    for (int i = 0; i < 64; ++i) w[i] = static_cast<int16_t>(w[i] | ((top[i] >> step) & 1) << 4);
  }
  if constexpr (kCodes == Codes::kU6) {
    top += 64 * (step / 4);
    for (int i = 0; i < 64; ++i) {
      w[i] = static_cast<int16_t>(w[i] | ((top[i] >> (2 * (step % 4))) & 3) << 4);
    }
  }
}

// c[p][t] += sum over steps [kFirst, kFirst + kSteps) of code * x; c begins at -zero times the sum
// of those x. x[t] points at the group's 32 activations.
template <class Format, int kFirst, int kSteps, int kPanels, int kTokens>
WEFT_INLINE void dot_codes(const uint8_t* const (&codes)[kPanels],
                           const int8_t* const (&x)[kTokens], I32x16 (&c)[kPanels][kTokens]) {
  for (int p = 0; p < kPanels; ++p) {
    for (int step = kFirst; step < kFirst + kSteps; ++step) {
      int16_t w[64];
      step_codes<Format::kCodes>(codes[p], step, w);
      for (int t = 0; t < kTokens; ++t) {
        const int8_t* v = x[t] + 4 * step;
        for (int i = 0; i < 16; ++i) {
          const int32_t sum =
              w[4 * i] * v[0] + w[4 * i + 1] * v[1] + w[4 * i + 2] * v[2] + w[4 * i + 3] * v[3];
          // Wraps, as the other tables' do, where a token's group is read and not used.
          c[p][t].v[i] = static_cast<int32_t>(static_cast<uint32_t>(c[p][t].v[i]) +
                                              static_cast<uint32_t>(sum));
        }
      }
    }
  }
}

// 64 products: the step that dot_codes cannot do without.
WEFT_INLINE I32x16 dot_int8(const I32x16& acc, const I32x16& w, const I32x16& x) {
  I32x16 r = acc;
  for (int i = 0; i < 16; ++i) {
    for (int b = 0; b < 32; b += 8) {
      r.v[i] += static_cast<uint8_t>(w.v[i] >> b) * static_cast<int8_t>(x.v[i] >> b);
    }
  }
  return r;
}

// Two inputs of 16 rows, each in the upper or lower half of 32 bits.
struct Bf16Pairs {
  F32x16 even, odd;
};
WEFT_INLINE Bf16Pairs load_bf16_pairs(const uint16_t* p) {
  Bf16Pairs r;
  for (int i = 0; i < 16; ++i) {
    r.even.v[i] = float_of_bf16(p[2 * i]);
    r.odd.v[i] = float_of_bf16(p[2 * i + 1]);
  }
  return r;
}
WEFT_INLINE Bf16Pairs broadcast_bf16_pair(const uint16_t* p) {
  return {broadcast(float_of_bf16(p[0])), broadcast(float_of_bf16(p[1]))};
}
template <bool kHardware>
WEFT_INLINE F32x16 dot_bf16(const F32x16& acc, const Bf16Pairs& w, const Bf16Pairs& x) {
  return fma(w.even, x.even, fma(w.odd, x.odd, acc));
}

}  // namespace
}  // namespace weft::kernels
