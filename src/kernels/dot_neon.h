// Dot products of a group's codes with NEON's dot product (Armv8.2 dotprod); dot_portable.h says
// what each means. A 64-byte vector of codes is four registers of four rows. Included after
// vec_neon.h.
//
// Rejected: the matrix product of i8mm (SMMLA), which does twice the work but takes 8 inputs of 2
// rows where a panel holds 4 inputs of 16 rows. Counted in instructions a token, the zips that put
// rows side by side and the sums that no longer fit in the registers cost what it saves; it would
// want panels of its own. The BF16 dot product (BFDOT) rounds otherwise than fma does.
#pragma once

#include "kernels/linear_format.h"

namespace weft::kernels {
namespace {

// 32 registers, four a sum of 16 rows: 3 tokens' integer and float sums leave eight for codes,
// activations and masks. Formats with a scale per 16 inputs hold a third set, the sum of both
// halves. Plain weights have no integer sums: 5 tokens leave eight for a pair of inputs, four for
// activations.
inline constexpr int kTilePanels = 1;
template <class Format>
inline constexpr int kTileTokens = Format::kCodes <= Codes::kBF16 ? 5
                                   : Format::kHalves == 2         ? 2
                                                                  : 3;
// Putting codes together costs an instruction or two a register here: not worth a pass of its own.
template <class Format>
inline constexpr bool kWidens = false;

WEFT_INLINE void store_int8(int8_t* p, const I32x16& x) {
  const int16x8_t lo = vcombine_s16(vmovn_s32(x.v[0]), vmovn_s32(x.v[1]));
  const int16x8_t hi = vcombine_s16(vmovn_s32(x.v[2]), vmovn_s32(x.v[3]));
  vst1q_s8(p, vcombine_s8(vmovn_s16(lo), vmovn_s16(hi)));
}
WEFT_INLINE int32_t reduce_add(const I32x16& a) {
  return vaddvq_s32(vaddq_s32(vaddq_s32(a.v[0], a.v[1]), vaddq_s32(a.v[2], a.v[3])));
}
WEFT_INLINE F32x16 widen_words(int16x8_t lo, int16x8_t hi) {
  return to_float(I32x16{{vmovl_s16(vget_low_s16(lo)), vmovl_high_s16(lo),
                          vmovl_s16(vget_low_s16(hi)), vmovl_high_s16(hi)}});
}
WEFT_INLINE F32x16 load_scale_s8(const uint8_t* p) {
  const int8x16_t x = vreinterpretq_s8_u8(vld1q_u8(p));
  return widen_words(vmovl_s8(vget_low_s8(x)), vmovl_high_s8(x));
}
WEFT_INLINE F32x16 load_scale_u8(const uint8_t* p) {
  const uint8x16_t x = vld1q_u8(p);
  return widen_words(vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(x))),
                     vreinterpretq_s16_u16(vmovl_high_u8(x)));
}

template <int kLeft>
WEFT_INLINE uint8x16_t shift_bits(uint8x16_t x) {
  if constexpr (kLeft > 0) return vshlq_n_u8(x, kLeft);
  if constexpr (kLeft < 0) return vshrq_n_u8(x, -kLeft);
  return x;
}

// 16 codes as signed bytes: `kStep` of rows 4 * quarter .. 4 * quarter + 3. An 8-bit code comes
// less its zero, 128, because the product takes signed bytes.
template <class Format, int kStep>
WEFT_INLINE int8x16_t step_codes(const uint8_t* codes, int quarter) {
  codes += 16 * quarter;
  if constexpr (Format::kCodes == Codes::kU8) {
    static_assert(Format::kZero == 128);
    return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(codes + 64 * kStep), vdupq_n_u8(128)));
  }
  uint8x16_t w = vld1q_u8(codes + 64 * (kStep % 4));
  w = kStep < 4 ? vandq_u8(w, vdupq_n_u8(15)) : vshrq_n_u8(w, 4);
  if constexpr (Format::kCodes == Codes::kU5) {
    const uint8x16_t top = shift_bits<4 - kStep>(vld1q_u8(codes + 256));
    w = vorrq_u8(w, vandq_u8(top, vdupq_n_u8(16)));
  }
  if constexpr (Format::kCodes == Codes::kU6) {
    const uint8x16_t top = vld1q_u8(codes + 256 + 64 * (kStep / 4));
    w = vorrq_u8(w, vandq_u8(shift_bits<4 - 2 * (kStep % 4)>(top), vdupq_n_u8(0x30)));
  }
  return vreinterpretq_s8_u8(w);
}

// x: the 16 activations of each token to which this step's four belong.
template <class Format, int kStep, int kTokens>
WEFT_INLINE void add_step(const uint8_t* codes, const int8x16_t (&x)[kTokens],
                          I32x16 (&c)[kTokens]) {
#pragma GCC unroll 4
  for (int quarter = 0; quarter < 4; ++quarter) {
    const int8x16_t w = step_codes<Format, kStep>(codes, quarter);
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t)
      c[t].v[quarter] = vdotq_laneq_s32(c[t].v[quarter], w, x[t], kStep % 4);
  }
}

// Four steps at most, which share their registers of activations.
template <class Format, int kStep, int kEnd, int kTokens>
WEFT_INLINE void add_steps(const uint8_t* codes, const int8x16_t (&x)[kTokens],
                           I32x16 (&c)[kTokens]) {
  if constexpr (kStep < kEnd) {
    add_step<Format, kStep>(codes, x, c);
    add_steps<Format, kStep + 1, kEnd>(codes, x, c);
  }
}

template <class Format, int kFirst, int kSteps, int kPanels, int kTokens>
WEFT_INLINE void dot_codes(const uint8_t* const (&codes)[kPanels],
                           const int8_t* const (&x)[kTokens], I32x16 (&c)[kPanels][kTokens]) {
  static_assert(kFirst % 4 == 0 && kSteps % 4 == 0);
#pragma GCC unroll 4
  for (int p = 0; p < kPanels; ++p) {
    I32x16 sums[kTokens];
    int8x16_t inputs[kTokens];
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) {
      sums[t] = Format::kCodes == Codes::kU8 ? broadcast_int(0) : c[p][t];
      inputs[t] = vld1q_s8(x[t] + 4 * kFirst);
    }
    add_steps<Format, kFirst, kFirst + 4>(codes[p], inputs, sums);
    if constexpr (kSteps == 8) {
#pragma GCC unroll 4
      for (int t = 0; t < kTokens; ++t) inputs[t] = vld1q_s8(x[t] + 16);
      add_steps<Format, 4, 8>(codes[p], inputs, sums);
    }
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) c[p][t] = sums[t];
  }
}

// 64 products of registers: the step that dot_codes cannot do without.
WEFT_INLINE int32x4_t dot_quarter(int32x4_t acc, int32x4_t w, int32x4_t x) {
  return vdotq_s32(acc, vreinterpretq_s8_s32(w), vreinterpretq_s8_s32(x));
}
WEFT_INLINE I32x16 dot_int8(const I32x16& acc, const I32x16& w, const I32x16& x) {
  return {{dot_quarter(acc.v[0], w.v[0], x.v[0]), dot_quarter(acc.v[1], w.v[1], x.v[1]),
           dot_quarter(acc.v[2], w.v[2], x.v[2]), dot_quarter(acc.v[3], w.v[3], x.v[3])}};
}

struct Bf16Pairs {
  F32x16 even, odd;
};
WEFT_INLINE F32x16 even_of_pairs(const I32x16& pairs) { return as_float(shift_left<16>(pairs)); }
WEFT_INLINE F32x16 odd_of_pairs(const I32x16& pairs) {
  return as_float(pairs & broadcast_int(static_cast<int32_t>(0xffff0000u)));
}
WEFT_INLINE Bf16Pairs load_bf16_pairs(const uint16_t* p) {
  I32x16 pairs;
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) pairs.v[i] = vreinterpretq_s32_u16(vld1q_u16(p + 8 * i));
  return {even_of_pairs(pairs), odd_of_pairs(pairs)};
}
WEFT_INLINE Bf16Pairs broadcast_bf16_pair(const uint16_t* p) {
  int32_t pair;
  __builtin_memcpy(&pair, p, sizeof(pair));
  const I32x16 pairs = broadcast_int(pair);
  return {even_of_pairs(pairs), odd_of_pairs(pairs)};
}
template <bool kHardware>
WEFT_INLINE F32x16 dot_bf16(const F32x16& acc, const Bf16Pairs& w, const Bf16Pairs& x) {
  return fma(w.even, x.even, fma(w.odd, x.odd, acc));
}

}  // namespace
}  // namespace weft::kernels
