// Dot products of a group's codes with AVX-512 VNNI and BF16; dot_portable.h says what each means.
// Included after vec_avx512.h.
#pragma once

#include "kernels/linear_format.h"

namespace weft::kernels {
namespace {

// 32 registers: 2 x 6 integer and 2 x 6 float accumulators leave eight for codes, scales and one
// broadcast. Formats with a scale per 16 inputs hold a third set, the sum of both halves.
inline constexpr int kTilePanels = 2;
template <class Format>
inline constexpr int kTileTokens = Format::kHalves == 2 ? 4 : 6;

// Formats whose codes are put together once for many tokens (linear.inl.h, Widened).
template <class Format>
inline constexpr bool kWidens = Format::kCodes == Codes::kU5 || Format::kCodes == Codes::kU6;

WEFT_INLINE void store_int8(int8_t* p, I32x16 x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(x.v));
}
WEFT_INLINE int32_t reduce_add(I32x16 a) {
  const __m256i s =
      _mm256_add_epi32(_mm512_castsi512_si256(a.v), _mm512_extracti64x4_epi64(a.v, 1));
  __m128i t = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
  t = _mm_add_epi32(t, _mm_shuffle_epi32(t, 0b01001110));
  return _mm_cvtsi128_si32(_mm_add_epi32(t, _mm_shuffle_epi32(t, 0b10110001)));
}
WEFT_INLINE __m128i load_16(const uint8_t* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
WEFT_INLINE F32x16 load_scale_s8(const uint8_t* p) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(load_16(p)))};
}
WEFT_INLINE F32x16 load_scale_u8(const uint8_t* p) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(load_16(p)))};
}

// Shifts bytes' bits; neighbours' bits come in and are masked away by the caller.
template <int kLeft>
WEFT_INLINE __m512i shift_bits(__m512i x) {
  if constexpr (kLeft > 0) return _mm512_slli_epi16(x, kLeft);
  if constexpr (kLeft < 0) return _mm512_srli_epi16(x, -kLeft);
  return x;
}
// a | (b & mask) in one instruction.
WEFT_INLINE __m512i or_masked(__m512i a, __m512i b, __m512i mask) {
  return _mm512_ternarylogic_epi64(a, b, mask, 0xf8);
}

template <Codes kCodes, int kStep>
WEFT_INLINE __m512i step_codes(const uint8_t* codes) {
  if constexpr (kCodes == Codes::kU8) return _mm512_loadu_si512(codes + 64 * kStep);
  __m512i w = _mm512_loadu_si512(codes + 64 * (kStep % 4));
  w = _mm512_and_si512(shift_bits < kStep < 4 ? 0 : -4 > (w), _mm512_set1_epi8(15));
  if constexpr (kCodes == Codes::kU5) {
    const __m512i top = _mm512_loadu_si512(codes + 256);
    w = or_masked(w, shift_bits<4 - kStep>(top), _mm512_set1_epi8(16));
  }
  if constexpr (kCodes == Codes::kU6) {
    const __m512i top = _mm512_loadu_si512(codes + 256 + 64 * (kStep / 4));
    w = or_masked(w, shift_bits<4 - 2 * (kStep % 4)>(top), _mm512_set1_epi8(0x30));
  }
  return w;
}

WEFT_INLINE void store_codes(uint8_t* p, __m512i codes) { _mm512_storeu_si512(p, codes); }

template <Codes kCodes, int kStep, int kPanels, int kTokens>
WEFT_INLINE void add_step(const uint8_t* const (&codes)[kPanels], const int8_t* const (&x)[kTokens],
                          I32x16 (&c)[kPanels][kTokens]) {
  __m512i w[kPanels];
#pragma GCC unroll 8
  for (int p = 0; p < kPanels; ++p) w[p] = step_codes<kCodes, kStep>(codes[p]);
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; ++t) {
    int32_t four;
    __builtin_memcpy(&four, x[t] + 4 * kStep, sizeof(four));
    const __m512i v = _mm512_set1_epi32(four);
#pragma GCC unroll 8
    for (int p = 0; p < kPanels; ++p) c[p][t].v = _mm512_dpbusd_epi32(c[p][t].v, w[p], v);
  }
}

template <Codes kCodes, int kStep, int kEnd, int kPanels, int kTokens>
WEFT_INLINE void add_steps(const uint8_t* const (&codes)[kPanels],
                           const int8_t* const (&x)[kTokens], I32x16 (&c)[kPanels][kTokens]) {
  if constexpr (kStep < kEnd) {
    add_step<kCodes, kStep>(codes, x, c);
    add_steps<kCodes, kStep + 1, kEnd>(codes, x, c);
  }
}

template <class Format, int kFirst, int kSteps, int kPanels, int kTokens>
WEFT_INLINE void dot_codes(const uint8_t* const (&codes)[kPanels],
                           const int8_t* const (&x)[kTokens], I32x16 (&c)[kPanels][kTokens]) {
  add_steps<Format::kCodes, kFirst, kFirst + kSteps>(codes, x, c);
}

// 64 products of registers: the step that dot_codes cannot do without.
WEFT_INLINE I32x16 dot_int8(I32x16 acc, I32x16 w, I32x16 x) {
  return {_mm512_dpbusd_epi32(acc.v, w.v, x.v)};
}

struct Bf16Pairs {
  __m512i v;
};
WEFT_INLINE Bf16Pairs load_bf16_pairs(const uint16_t* p) { return {_mm512_loadu_si512(p)}; }
WEFT_INLINE Bf16Pairs broadcast_bf16_pair(const uint16_t* p) {
  int32_t pair;
  __builtin_memcpy(&pair, p, sizeof(pair));
  __m512i pairs = _mm512_set1_epi32(pair);
  // Opaque, because clang 16 recurses without end over a broadcast that is taken as BF16.
  asm("" : "+v"(pairs));
  return {pairs};
}
WEFT_INLINE F32x16 even_of_pairs(Bf16Pairs pairs) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(pairs.v, 16))};
}
WEFT_INLINE F32x16 odd_of_pairs(Bf16Pairs pairs) {
  return {_mm512_castsi512_ps(
      _mm512_and_si512(pairs.v, _mm512_set1_epi32(static_cast<int32_t>(0xffff0000u))))};
}
// Rounds and stores as store_bf16 does; returns what was stored.
WEFT_INLINE F32x16 store_bf16_by_instruction(uint16_t* p, F32x16 x) {
  const __m256i halves = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x.v));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), halves);
  return widen_bf16(halves);
}
// The instruction, or the same sum for processors that lack it or round otherwise.
template <bool kHardware>
WEFT_INLINE F32x16 dot_bf16(F32x16 acc, Bf16Pairs w, Bf16Pairs x) {
  if constexpr (kHardware) {
    return {
        _mm512_dpbf16_ps(acc.v, reinterpret_cast<__m512bh>(w.v), reinterpret_cast<__m512bh>(x.v))};
  } else {
    return fma(even_of_pairs(w), even_of_pairs(x), fma(odd_of_pairs(w), odd_of_pairs(x), acc));
  }
}

}  // namespace
}  // namespace weft::kernels
