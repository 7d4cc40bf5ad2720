// Dot products of a group's codes with AVX2; dot_portable.h says what each means. A 64-byte vector
// of codes is taken as rows 0..7 and rows 8..15. Included after vec_avx2.h.
#pragma once

#include "kernels/linear_format.h"

namespace weft::kernels {
namespace {

// 16 registers: 3 x 2 integer and 3 x 2 float accumulators leave four for codes and products.
inline constexpr int kTilePanels = 1;
// Sums of words and signed bytes depend on the code's width (linear.inl.h, Widened).
template <class Format>
inline constexpr bool kWidens = false;
template <class Format>
inline constexpr int kTileTokens = 3;

WEFT_INLINE __m128i narrow_int8(__m256i x) {
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
  return _mm_packs_epi16(words, words);
}
WEFT_INLINE void store_int8(int8_t* p, const I32x16& x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm_unpacklo_epi64(narrow_int8(x.lo), narrow_int8(x.hi)));
}
WEFT_INLINE int32_t reduce_add(const I32x16& a) {
  const __m256i s = _mm256_add_epi32(a.lo, a.hi);
  __m128i t = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
  t = _mm_add_epi32(t, _mm_shuffle_epi32(t, 0b01001110));
  return _mm_cvtsi128_si32(_mm_add_epi32(t, _mm_shuffle_epi32(t, 0b10110001)));
}
WEFT_INLINE __m128i load_8(const uint8_t* p) {
  return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
}
WEFT_INLINE F32x16 load_scale_s8(const uint8_t* p) {
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(load_8(p))),
          _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(load_8(p + 8)))};
}
WEFT_INLINE F32x16 load_scale_u8(const uint8_t* p) {
  return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(load_8(p))),
          _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(load_8(p + 8)))};
}

WEFT_INLINE __m256i load_codes(const uint8_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
// Shifts bytes' bits; neighbours' bits come in and are masked away by the caller.
template <int kLeft>
WEFT_INLINE __m256i shift_bits(__m256i x) {
  if constexpr (kLeft > 0) return _mm256_slli_epi16(x, kLeft);
  if constexpr (kLeft < 0) return _mm256_srli_epi16(x, -kLeft);
  return x;
}

// 32 codes: `kStep` of the rows that begin at byte `half` (0 or 32) of each vector.
template <Codes kCodes, int kStep>
WEFT_INLINE __m256i step_codes(const uint8_t* codes, int half) {
  if constexpr (kCodes == Codes::kU8) return load_codes(codes + 64 * kStep + half);
  __m256i w = load_codes(codes + 64 * (kStep % 4) + half);
  w = _mm256_and_si256(shift_bits < kStep < 4 ? 0 : -4 > (w), _mm256_set1_epi8(15));
  if constexpr (kCodes == Codes::kU5) {
    const __m256i top = shift_bits<4 - kStep>(load_codes(codes + 256 + half));
    w = _mm256_or_si256(w, _mm256_and_si256(top, _mm256_set1_epi8(16)));
  }
  if constexpr (kCodes == Codes::kU6) {
    const __m256i top = load_codes(codes + 256 + 64 * (kStep / 4) + half);
    w = _mm256_or_si256(
        w, _mm256_and_si256(shift_bits<4 - 2 * (kStep % 4)>(top), _mm256_set1_epi8(0x30)));
  }
  return w;
}

// Steps whose 16-bit sums of products fit: 2 * 127 * code a step, within 32,767.
template <Codes kCodes>
inline constexpr int kStepsInWord = kCodes == Codes::kU4   ? 8
                                    : kCodes == Codes::kU5 ? 4
                                    : kCodes == Codes::kU6 ? 2
                                                           : 1;

WEFT_INLINE __m256i broadcast_4(const int8_t* p) {
  int32_t four;
  __builtin_memcpy(&four, p, sizeof(four));
  return _mm256_set1_epi32(four);
}
WEFT_INLINE __m256i widen_words(__m256i words) {
  return _mm256_madd_epi16(words, _mm256_set1_epi16(1));
}

// Half a panel: 8 rows. 8-bit codes have zero 128, so code ^ 0x80 is the weight itself; its sign
// moves to the activation, because one side of the product must be unsigned. -128 stays right:
// its magnitude 128 is unsigned, and activations are never -128.
template <class Format, int kFirst, int kSteps, int kTokens>
WEFT_INLINE void dot_signed(const uint8_t* codes, int half, const int8_t* const (&x)[kTokens],
                            __m256i (&c)[kTokens]) {
  static_assert(Format::kZero == 128);
  for (int t = 0; t < kTokens; ++t) c[t] = _mm256_setzero_si256();
#pragma GCC unroll 8
  for (int step = kFirst; step < kFirst + kSteps; ++step) {
    const __m256i w =
        _mm256_xor_si256(load_codes(codes + 64 * step + half), _mm256_set1_epi8(-128));
    const __m256i magnitude = _mm256_abs_epi8(w);
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) {
      const __m256i v = _mm256_sign_epi8(broadcast_4(x[t] + 4 * step), w);
      c[t] = _mm256_add_epi32(c[t], widen_words(_mm256_maddubs_epi16(magnitude, v)));
    }
  }
}

template <Codes kCodes, int kStep, int kTokens>
WEFT_INLINE void add_step(const uint8_t* codes, int half, const int8_t* const (&x)[kTokens],
                          __m256i (&words)[kTokens]) {
  const __m256i w = step_codes<kCodes, kStep>(codes, half);
#pragma GCC unroll 4
  for (int t = 0; t < kTokens; ++t) {
    const __m256i products = _mm256_maddubs_epi16(w, broadcast_4(x[t] + 4 * kStep));
    words[t] = _mm256_add_epi16(words[t], products);
  }
}

template <Codes kCodes, int kStep, int kEnd, int kTokens>
WEFT_INLINE void add_steps(const uint8_t* codes, int half, const int8_t* const (&x)[kTokens],
                           __m256i (&words)[kTokens]) {
  if constexpr (kStep < kEnd) {
    add_step<kCodes, kStep>(codes, half, x, words);
    add_steps<kCodes, kStep + 1, kEnd>(codes, half, x, words);
  }
}

template <Codes kCodes, int kStep, int kEnd, int kTokens>
WEFT_INLINE void add_runs(const uint8_t* codes, int half, const int8_t* const (&x)[kTokens],
                          __m256i (&c)[kTokens]) {
  if constexpr (kStep < kEnd) {
    constexpr int kRun = kEnd - kStep < kStepsInWord<kCodes> ? kEnd - kStep : kStepsInWord<kCodes>;
    __m256i words[kTokens];
    for (int t = 0; t < kTokens; ++t) words[t] = _mm256_setzero_si256();
    add_steps<kCodes, kStep, kStep + kRun>(codes, half, x, words);
    for (int t = 0; t < kTokens; ++t) c[t] = _mm256_add_epi32(c[t], widen_words(words[t]));
    add_runs<kCodes, kStep + kRun, kEnd>(codes, half, x, c);
  }
}

template <class Format, int kFirst, int kSteps, int kTokens>
WEFT_INLINE void dot_half(const uint8_t* codes, int half, const int8_t* const (&x)[kTokens],
                          __m256i (&c)[kTokens]) {
  if constexpr (Format::kCodes == Codes::kU8) {
    dot_signed<Format, kFirst, kSteps>(codes, half, x, c);
  } else {
    add_runs<Format::kCodes, kFirst, kFirst + kSteps>(codes, half, x, c);
  }
}

template <class Format, int kFirst, int kSteps, int kPanels, int kTokens>
WEFT_INLINE void dot_codes(const uint8_t* const (&codes)[kPanels],
                           const int8_t* const (&x)[kTokens], I32x16 (&c)[kPanels][kTokens]) {
  for (int p = 0; p < kPanels; ++p) {
    __m256i lo[kTokens], hi[kTokens];
    for (int t = 0; t < kTokens; ++t) lo[t] = c[p][t].lo, hi[t] = c[p][t].hi;
    dot_half<Format, kFirst, kSteps>(codes[p], 0, x, lo);
    dot_half<Format, kFirst, kSteps>(codes[p], 32, x, hi);
    for (int t = 0; t < kTokens; ++t) c[p][t] = {lo[t], hi[t]};
  }
}

// 64 products of registers, summed in words: the step that dot_codes cannot do without.
WEFT_INLINE I32x16 dot_int8(const I32x16& acc, const I32x16& w, const I32x16& x) {
  return {_mm256_add_epi16(acc.lo, _mm256_maddubs_epi16(w.lo, x.lo)),
          _mm256_add_epi16(acc.hi, _mm256_maddubs_epi16(w.hi, x.hi))};
}

struct Bf16Pairs {
  F32x16 even, odd;
};
WEFT_INLINE F32x16 even_of_pairs(const I32x16& pairs) { return as_float(shift_left<16>(pairs)); }
WEFT_INLINE F32x16 odd_of_pairs(const I32x16& pairs) {
  return as_float(pairs & broadcast_int(static_cast<int32_t>(0xffff0000u)));
}
WEFT_INLINE Bf16Pairs load_bf16_pairs(const uint16_t* p) {
  const I32x16 pairs = {load_halves(p), load_halves(p + 16)};
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
