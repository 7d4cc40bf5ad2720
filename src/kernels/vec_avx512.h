// Sixteen lanes as one AVX-512 register; vec_portable.h says what each operation means.
#pragma once

#include <immintrin.h>

#include <cstdint>

#define WEFT_INLINE inline __attribute__((always_inline))

namespace weft::kernels {
namespace {

inline constexpr int kLanes = 16;

struct F32x16 {
  __m512 v;
};
struct I32x16 {
  __m512i v;
};
struct I64x16 {
  __m512i lo, hi;
};
struct Mask16 {
  __mmask16 m;
};

// ---------------------------------------------------------------- masks

WEFT_INLINE Mask16 first_lanes(int64_t n) { return {static_cast<__mmask16>((1u << n) - 1u)}; }
WEFT_INLINE uint32_t bits(Mask16 a) { return a.m; }
WEFT_INLINE Mask16 operator&(Mask16 a, Mask16 b) { return {static_cast<__mmask16>(a.m & b.m)}; }
WEFT_INLINE Mask16 operator|(Mask16 a, Mask16 b) { return {static_cast<__mmask16>(a.m | b.m)}; }
WEFT_INLINE Mask16 operator~(Mask16 a) { return {static_cast<__mmask16>(~a.m)}; }

// ---------------------------------------------------------------- load and store

WEFT_INLINE F32x16 broadcast(float x) { return {_mm512_set1_ps(x)}; }
WEFT_INLINE F32x16 zero_f32() { return {_mm512_setzero_ps()}; }
WEFT_INLINE F32x16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
WEFT_INLINE F32x16 load_n(const float* p, int64_t n) {
  return {_mm512_maskz_loadu_ps(first_lanes(n).m, p)};
}
WEFT_INLINE void store(float* p, F32x16 x) { _mm512_storeu_ps(p, x.v); }
WEFT_INLINE void store_n(float* p, F32x16 x, int64_t n) {
  _mm512_mask_storeu_ps(p, first_lanes(n).m, x.v);
}
WEFT_INLINE __m256i load_halves(const uint16_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
WEFT_INLINE __m256i load_halves_n(const uint16_t* p, int64_t n) {
  return _mm256_maskz_loadu_epi16(first_lanes(n).m, p);
}
WEFT_INLINE F32x16 widen_f16(__m256i halves) { return {_mm512_cvtph_ps(halves)}; }
WEFT_INLINE F32x16 widen_bf16(__m256i halves) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16))};
}
WEFT_INLINE F32x16 load_f16(const uint16_t* p) { return widen_f16(load_halves(p)); }
WEFT_INLINE F32x16 load_f16_n(const uint16_t* p, int64_t n) {
  return widen_f16(load_halves_n(p, n));
}
WEFT_INLINE F32x16 load_bf16(const uint16_t* p) { return widen_bf16(load_halves(p)); }
WEFT_INLINE F32x16 load_bf16_n(const uint16_t* p, int64_t n) {
  return widen_bf16(load_halves_n(p, n));
}
// By integers: processors with VNNI but without the BF16 instructions run this table too.
WEFT_INLINE __m256i narrow_bf16(F32x16 x) {
  const __m512i u = _mm512_castps_si512(x.v);
  const __m512i top = _mm512_srli_epi32(u, 16);
  const __m512i odd = _mm512_and_si512(top, _mm512_set1_epi32(1));
  __m512i r = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  r = _mm512_srli_epi32(r, 16);
  const __mmask16 nan = _mm512_cmp_ps_mask(x.v, x.v, _CMP_UNORD_Q);
  r = _mm512_mask_or_epi32(r, nan, top, _mm512_set1_epi32(0x40));
  const __mmask16 tiny = _mm512_testn_epi32_mask(u, _mm512_set1_epi32(0x7f800000));
  r = _mm512_mask_and_epi32(r, tiny, top, _mm512_set1_epi32(0x8000));
  return _mm512_cvtepi32_epi16(r);
}
WEFT_INLINE void store_f16(uint16_t* p, F32x16 x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
WEFT_INLINE void store_bf16(uint16_t* p, F32x16 x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow_bf16(x));
}
WEFT_INLINE void store_bf16_n(uint16_t* p, F32x16 x, int64_t n) {
  _mm256_mask_storeu_epi16(p, first_lanes(n).m, narrow_bf16(x));
}

// ---------------------------------------------------------------- arithmetic

WEFT_INLINE F32x16 operator+(F32x16 a, F32x16 b) { return {_mm512_add_ps(a.v, b.v)}; }
WEFT_INLINE F32x16 operator-(F32x16 a, F32x16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
WEFT_INLINE F32x16 operator*(F32x16 a, F32x16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
WEFT_INLINE F32x16 operator/(F32x16 a, F32x16 b) { return {_mm512_div_ps(a.v, b.v)}; }
WEFT_INLINE F32x16 fma(F32x16 a, F32x16 b, F32x16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
WEFT_INLINE F32x16 min(F32x16 a, F32x16 b) { return {_mm512_min_ps(a.v, b.v)}; }
WEFT_INLINE F32x16 max(F32x16 a, F32x16 b) { return {_mm512_max_ps(a.v, b.v)}; }
WEFT_INLINE F32x16 abs(F32x16 a) {
  return {_mm512_castsi512_ps(
      _mm512_and_si512(_mm512_castps_si512(a.v), _mm512_set1_epi32(0x7fffffff)))};
}
WEFT_INLINE F32x16 sqrt(F32x16 a) { return {_mm512_sqrt_ps(a.v)}; }
WEFT_INLINE F32x16 round(F32x16 a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}

// ---------------------------------------------------------------- integers and bits

WEFT_INLINE I32x16 broadcast_int(int32_t x) { return {_mm512_set1_epi32(x)}; }
WEFT_INLINE I32x16 load_int(const int32_t* p) { return {_mm512_loadu_si512(p)}; }
WEFT_INLINE void store_int(int32_t* p, I32x16 x) { _mm512_storeu_si512(p, x.v); }
WEFT_INLINE I32x16 to_int(F32x16 a) { return {_mm512_cvtps_epi32(a.v)}; }
WEFT_INLINE F32x16 to_float(I32x16 a) { return {_mm512_cvtepi32_ps(a.v)}; }
WEFT_INLINE I32x16 as_int(F32x16 a) { return {_mm512_castps_si512(a.v)}; }
WEFT_INLINE F32x16 as_float(I32x16 a) { return {_mm512_castsi512_ps(a.v)}; }
WEFT_INLINE I32x16 operator+(I32x16 a, I32x16 b) { return {_mm512_add_epi32(a.v, b.v)}; }
WEFT_INLINE I32x16 operator-(I32x16 a, I32x16 b) { return {_mm512_sub_epi32(a.v, b.v)}; }
WEFT_INLINE I32x16 operator&(I32x16 a, I32x16 b) { return {_mm512_and_si512(a.v, b.v)}; }
WEFT_INLINE I32x16 operator|(I32x16 a, I32x16 b) { return {_mm512_or_si512(a.v, b.v)}; }
WEFT_INLINE I32x16 operator^(I32x16 a, I32x16 b) { return {_mm512_xor_si512(a.v, b.v)}; }
template <int kBits>
WEFT_INLINE I32x16 shift_left(I32x16 a) {
  return {_mm512_slli_epi32(a.v, kBits)};
}
template <int kBits>
WEFT_INLINE I32x16 shift_right(I32x16 a) {
  return {_mm512_srai_epi32(a.v, kBits)};
}
template <int kBits>
WEFT_INLINE I32x16 shift_right_logical(I32x16 a) {
  return {_mm512_srli_epi32(a.v, kBits)};
}

// ---------------------------------------------------------------- comparisons

WEFT_INLINE Mask16 operator<(F32x16 a, F32x16 b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)};
}
WEFT_INLINE Mask16 operator<=(F32x16 a, F32x16 b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ)};
}
WEFT_INLINE Mask16 operator>(F32x16 a, F32x16 b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ)};
}
WEFT_INLINE Mask16 operator>=(F32x16 a, F32x16 b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ)};
}
WEFT_INLINE Mask16 operator==(F32x16 a, F32x16 b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)};
}
WEFT_INLINE Mask16 is_nan(F32x16 a) { return {_mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q)}; }
WEFT_INLINE Mask16 operator>(I32x16 a, I32x16 b) { return {_mm512_cmpgt_epi32_mask(a.v, b.v)}; }
WEFT_INLINE Mask16 operator==(I32x16 a, I32x16 b) { return {_mm512_cmpeq_epi32_mask(a.v, b.v)}; }
WEFT_INLINE F32x16 select(Mask16 m, F32x16 yes, F32x16 no) {
  return {_mm512_mask_blend_ps(m.m, no.v, yes.v)};
}
WEFT_INLINE I32x16 select(Mask16 m, I32x16 yes, I32x16 no) {
  return {_mm512_mask_blend_epi32(m.m, no.v, yes.v)};
}

// ---------------------------------------------------------------- across lanes

WEFT_INLINE __m256 low_half(__m512 x) { return _mm512_castps512_ps256(x); }
WEFT_INLINE __m256 high_half(__m512 x) { return _mm512_extractf32x8_ps(x, 1); }
WEFT_INLINE float reduce_add(F32x16 a) {
  const __m256 s8 = _mm256_add_ps(low_half(a.v), high_half(a.v));
  const __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
  const __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
  return _mm_cvtss_f32(_mm_add_ss(s2, _mm_shuffle_ps(s2, s2, 1)));
}
WEFT_INLINE float reduce_max(F32x16 a) {
  const __m256 s8 = _mm256_max_ps(low_half(a.v), high_half(a.v));
  const __m128 s4 = _mm_max_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
  const __m128 s2 = _mm_max_ps(s4, _mm_movehl_ps(s4, s4));
  return _mm_cvtss_f32(_mm_max_ss(s2, _mm_shuffle_ps(s2, s2, 1)));
}

WEFT_INLINE F32x16 load_twice(const float* p) {
  const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
  return {_mm512_permutexvar_ps(twice, _mm512_castps256_ps512(_mm256_loadu_ps(p)))};
}
WEFT_INLINE F32x16 swap_pairs(F32x16 a) { return {_mm512_permute_ps(a.v, 0b10110001)}; }
WEFT_INLINE F32x16 negate_even(F32x16 a) {
  const __m512i signs = _mm512_set1_epi64(0x80000000);
  return {_mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(a.v), signs))};
}

// ---------------------------------------------------------------- 64-bit integers

WEFT_INLINE I64x16 zero_i64() { return {_mm512_setzero_si512(), _mm512_setzero_si512()}; }
WEFT_INLINE I64x16 load_i64(const int64_t* p) {
  return {_mm512_loadu_si512(p), _mm512_loadu_si512(p + 8)};
}
WEFT_INLINE void store_i64(int64_t* p, I64x16 x) {
  _mm512_storeu_si512(p, x.lo);
  _mm512_storeu_si512(p + 8, x.hi);
}
WEFT_INLINE I64x16 operator+(I64x16 a, I64x16 b) {
  return {_mm512_add_epi64(a.lo, b.lo), _mm512_add_epi64(a.hi, b.hi)};
}
WEFT_INLINE I64x16 to_i64(F32x16 a) {
  return {_mm512_cvtps_epi64(low_half(a.v)), _mm512_cvtps_epi64(high_half(a.v))};
}
WEFT_INLINE F32x16 to_float(I64x16 a) {
  return {_mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtepi64_ps(a.lo)),
                             _mm512_cvtepi64_ps(a.hi), 1)};
}
WEFT_INLINE int64_t reduce_add(I64x16 a) {
  const __m512i s = _mm512_add_epi64(a.lo, a.hi);
  const __m256i t = _mm256_add_epi64(_mm512_castsi512_si256(s), _mm512_extracti64x4_epi64(s, 1));
  const __m128i u = _mm_add_epi64(_mm256_castsi256_si128(t), _mm256_extracti128_si256(t, 1));
  return _mm_cvtsi128_si64(_mm_add_epi64(u, _mm_unpackhi_epi64(u, u)));
}

}  // namespace
}  // namespace weft::kernels
