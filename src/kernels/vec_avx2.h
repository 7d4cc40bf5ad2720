// Sixteen lanes as two AVX2 registers; vec_portable.h says what each operation means.
#pragma once

#include <immintrin.h>

#include <cstdint>

#define WEFT_INLINE inline __attribute__((always_inline))

namespace weft::kernels {
namespace {

inline constexpr int kLanes = 16;

struct F32x16 {
  __m256 lo, hi;
};
struct I32x16 {
  __m256i lo, hi;
};
struct I64x16 {
  __m256i v[4];
};
struct Mask16 {
  __m256i lo, hi;  // all ones or all zeros a lane
};

// ---------------------------------------------------------------- masks

WEFT_INLINE Mask16 first_lanes(int64_t n) {
  const __m256i count = _mm256_set1_epi32(static_cast<int32_t>(n));
  return {_mm256_cmpgt_epi32(count, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)),
          _mm256_cmpgt_epi32(count, _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15))};
}
WEFT_INLINE uint32_t bits(const Mask16& a) {
  return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(a.lo))) |
         static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(a.hi))) << 8;
}
WEFT_INLINE Mask16 operator&(const Mask16& a, const Mask16& b) {
  return {_mm256_and_si256(a.lo, b.lo), _mm256_and_si256(a.hi, b.hi)};
}
WEFT_INLINE Mask16 operator|(const Mask16& a, const Mask16& b) {
  return {_mm256_or_si256(a.lo, b.lo), _mm256_or_si256(a.hi, b.hi)};
}
WEFT_INLINE Mask16 operator~(const Mask16& a) {
  const __m256i ones = _mm256_set1_epi32(-1);
  return {_mm256_xor_si256(a.lo, ones), _mm256_xor_si256(a.hi, ones)};
}

// ---------------------------------------------------------------- load and store

WEFT_INLINE F32x16 broadcast(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
WEFT_INLINE F32x16 zero_f32() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
WEFT_INLINE F32x16 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
WEFT_INLINE F32x16 load_n(const float* p, int64_t n) {
  const Mask16 m = first_lanes(n);
  return {_mm256_maskload_ps(p, m.lo), _mm256_maskload_ps(p + 8, m.hi)};
}
WEFT_INLINE void store(float* p, const F32x16& x) {
  _mm256_storeu_ps(p, x.lo);
  _mm256_storeu_ps(p + 8, x.hi);
}
WEFT_INLINE void store_n(float* p, const F32x16& x, int64_t n) {
  const Mask16 m = first_lanes(n);
  _mm256_maskstore_ps(p, m.lo, x.lo);
  _mm256_maskstore_ps(p + 8, m.hi, x.hi);
}
WEFT_INLINE F32x16 widen_f16(__m256i halves) {
  return {_mm256_cvtph_ps(_mm256_castsi256_si128(halves)),
          _mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1))};
}
WEFT_INLINE F32x16 widen_bf16(__m256i halves) {
  const __m256i lo = _mm256_cvtepu16_epi32(_mm256_castsi256_si128(halves));
  const __m256i hi = _mm256_cvtepu16_epi32(_mm256_extracti128_si256(halves, 1));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(lo, 16)),
          _mm256_castsi256_ps(_mm256_slli_epi32(hi, 16))};
}
WEFT_INLINE __m256i load_halves(const uint16_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
WEFT_INLINE __m256i load_halves_n(const uint16_t* p, int64_t n) {
  uint16_t padded[16] = {};
  for (int64_t i = 0; i < n; ++i) padded[i] = p[i];
  return load_halves(padded);
}
WEFT_INLINE F32x16 load_f16(const uint16_t* p) { return widen_f16(load_halves(p)); }
WEFT_INLINE F32x16 load_f16_n(const uint16_t* p, int64_t n) {
  return widen_f16(load_halves_n(p, n));
}
WEFT_INLINE F32x16 load_bf16(const uint16_t* p) { return widen_bf16(load_halves(p)); }
WEFT_INLINE F32x16 load_bf16_n(const uint16_t* p, int64_t n) {
  return widen_bf16(load_halves_n(p, n));
}
// Rounded bits in the low half of each 32-bit lane.
WEFT_INLINE __m256i bf16_bits(__m256 x) {
  const __m256i u = _mm256_castps_si256(x);
  const __m256i top = _mm256_srli_epi32(u, 16);
  const __m256i odd = _mm256_and_si256(top, _mm256_set1_epi32(1));
  const __m256i rounded =
      _mm256_srli_epi32(_mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
  const __m256i quiet = _mm256_or_si256(top, _mm256_set1_epi32(0x40));
  const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  const __m256i exponent = _mm256_and_si256(u, _mm256_set1_epi32(0x7f800000));
  const __m256i is_tiny = _mm256_cmpeq_epi32(exponent, _mm256_setzero_si256());
  const __m256i sign = _mm256_and_si256(top, _mm256_set1_epi32(0x8000));
  return _mm256_blendv_epi8(_mm256_blendv_epi8(rounded, quiet, is_nan), sign, is_tiny);
}
WEFT_INLINE __m256i narrow_bf16(const F32x16& x) {
  const __m256i packed = _mm256_packus_epi32(bf16_bits(x.lo), bf16_bits(x.hi));
  return _mm256_permute4x64_epi64(packed, 0b11011000);
}
WEFT_INLINE void store_f16(uint16_t* p, const F32x16& x) {
  auto* to = reinterpret_cast<__m128i*>(p);
  _mm_storeu_si128(to, _mm256_cvtps_ph(x.lo, _MM_FROUND_TO_NEAREST_INT));
  _mm_storeu_si128(to + 1, _mm256_cvtps_ph(x.hi, _MM_FROUND_TO_NEAREST_INT));
}
WEFT_INLINE void store_bf16(uint16_t* p, const F32x16& x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow_bf16(x));
}
WEFT_INLINE void store_bf16_n(uint16_t* p, const F32x16& x, int64_t n) {
  uint16_t padded[16];
  store_bf16(padded, x);
  for (int64_t i = 0; i < n; ++i) p[i] = padded[i];
}

// ---------------------------------------------------------------- arithmetic

#define WEFT_BINARY_F32(name, instruction)                     \
  WEFT_INLINE F32x16 name(const F32x16& a, const F32x16& b) {  \
    return {instruction(a.lo, b.lo), instruction(a.hi, b.hi)}; \
  }
WEFT_BINARY_F32(operator+, _mm256_add_ps)
WEFT_BINARY_F32(operator-, _mm256_sub_ps)
WEFT_BINARY_F32(operator*, _mm256_mul_ps)
WEFT_BINARY_F32(operator/, _mm256_div_ps)
WEFT_BINARY_F32(min, _mm256_min_ps)
WEFT_BINARY_F32(max, _mm256_max_ps)
#undef WEFT_BINARY_F32
WEFT_INLINE F32x16 fma(const F32x16& a, const F32x16& b, const F32x16& c) {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
WEFT_INLINE F32x16 abs(const F32x16& a) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, a.lo), _mm256_andnot_ps(sign, a.hi)};
}
WEFT_INLINE F32x16 sqrt(const F32x16& a) { return {_mm256_sqrt_ps(a.lo), _mm256_sqrt_ps(a.hi)}; }
WEFT_INLINE F32x16 round(const F32x16& a) {
  constexpr int kMode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(a.lo, kMode), _mm256_round_ps(a.hi, kMode)};
}

// ---------------------------------------------------------------- integers and bits

WEFT_INLINE I32x16 broadcast_int(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
WEFT_INLINE I32x16 load_int(const int32_t* p) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 8))};
}
WEFT_INLINE void store_int(int32_t* p, const I32x16& x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x.lo);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8), x.hi);
}
WEFT_INLINE I32x16 to_int(const F32x16& a) {
  return {_mm256_cvtps_epi32(a.lo), _mm256_cvtps_epi32(a.hi)};
}
WEFT_INLINE F32x16 to_float(const I32x16& a) {
  return {_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)};
}
WEFT_INLINE I32x16 as_int(const F32x16& a) {
  return {_mm256_castps_si256(a.lo), _mm256_castps_si256(a.hi)};
}
WEFT_INLINE F32x16 as_float(const I32x16& a) {
  return {_mm256_castsi256_ps(a.lo), _mm256_castsi256_ps(a.hi)};
}
#define WEFT_BINARY_I32(name, instruction)                     \
  WEFT_INLINE I32x16 name(const I32x16& a, const I32x16& b) {  \
    return {instruction(a.lo, b.lo), instruction(a.hi, b.hi)}; \
  }
WEFT_BINARY_I32(operator+, _mm256_add_epi32)
WEFT_BINARY_I32(operator-, _mm256_sub_epi32)
WEFT_BINARY_I32(operator&, _mm256_and_si256)
WEFT_BINARY_I32(operator|, _mm256_or_si256)
WEFT_BINARY_I32(operator^, _mm256_xor_si256)
#undef WEFT_BINARY_I32
template <int kBits>
WEFT_INLINE I32x16 shift_left(const I32x16& a) {
  return {_mm256_slli_epi32(a.lo, kBits), _mm256_slli_epi32(a.hi, kBits)};
}
template <int kBits>
WEFT_INLINE I32x16 shift_right(const I32x16& a) {
  return {_mm256_srai_epi32(a.lo, kBits), _mm256_srai_epi32(a.hi, kBits)};
}
template <int kBits>
WEFT_INLINE I32x16 shift_right_logical(const I32x16& a) {
  return {_mm256_srli_epi32(a.lo, kBits), _mm256_srli_epi32(a.hi, kBits)};
}

// ---------------------------------------------------------------- comparisons

template <int kPredicate>
WEFT_INLINE Mask16 compare(const F32x16& a, const F32x16& b) {
  return {_mm256_castps_si256(_mm256_cmp_ps(a.lo, b.lo, kPredicate)),
          _mm256_castps_si256(_mm256_cmp_ps(a.hi, b.hi, kPredicate))};
}
WEFT_INLINE Mask16 operator<(const F32x16& a, const F32x16& b) { return compare<_CMP_LT_OQ>(a, b); }
WEFT_INLINE Mask16 operator<=(const F32x16& a, const F32x16& b) {
  return compare<_CMP_LE_OQ>(a, b);
}
WEFT_INLINE Mask16 operator>(const F32x16& a, const F32x16& b) { return compare<_CMP_GT_OQ>(a, b); }
WEFT_INLINE Mask16 operator>=(const F32x16& a, const F32x16& b) {
  return compare<_CMP_GE_OQ>(a, b);
}
WEFT_INLINE Mask16 operator==(const F32x16& a, const F32x16& b) {
  return compare<_CMP_EQ_OQ>(a, b);
}
WEFT_INLINE Mask16 is_nan(const F32x16& a) { return compare<_CMP_UNORD_Q>(a, a); }
WEFT_INLINE Mask16 operator>(const I32x16& a, const I32x16& b) {
  return {_mm256_cmpgt_epi32(a.lo, b.lo), _mm256_cmpgt_epi32(a.hi, b.hi)};
}
WEFT_INLINE Mask16 operator==(const I32x16& a, const I32x16& b) {
  return {_mm256_cmpeq_epi32(a.lo, b.lo), _mm256_cmpeq_epi32(a.hi, b.hi)};
}
WEFT_INLINE I32x16 select(const Mask16& m, const I32x16& yes, const I32x16& no) {
  return {_mm256_blendv_epi8(no.lo, yes.lo, m.lo), _mm256_blendv_epi8(no.hi, yes.hi, m.hi)};
}
WEFT_INLINE F32x16 select(const Mask16& m, const F32x16& yes, const F32x16& no) {
  return as_float(select(m, as_int(yes), as_int(no)));
}

// ---------------------------------------------------------------- across lanes

WEFT_INLINE float reduce_add(const F32x16& a) {
  const __m256 s8 = _mm256_add_ps(a.lo, a.hi);
  const __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
  const __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
  return _mm_cvtss_f32(_mm_add_ss(s2, _mm_shuffle_ps(s2, s2, 1)));
}
WEFT_INLINE float reduce_max(const F32x16& a) {
  const __m256 s8 = _mm256_max_ps(a.lo, a.hi);
  const __m128 s4 = _mm_max_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
  const __m128 s2 = _mm_max_ps(s4, _mm_movehl_ps(s4, s4));
  return _mm_cvtss_f32(_mm_max_ss(s2, _mm_shuffle_ps(s2, s2, 1)));
}

WEFT_INLINE F32x16 load_twice(const float* p) {
  const __m256 x = _mm256_loadu_ps(p);
  return {_mm256_permutevar8x32_ps(x, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3)),
          _mm256_permutevar8x32_ps(x, _mm256_setr_epi32(4, 4, 5, 5, 6, 6, 7, 7))};
}
WEFT_INLINE F32x16 swap_pairs(const F32x16& a) {
  return {_mm256_permute_ps(a.lo, 0b10110001), _mm256_permute_ps(a.hi, 0b10110001)};
}
WEFT_INLINE F32x16 negate_even(const F32x16& a) {
  const __m256 signs = _mm256_setr_ps(-0.0f, 0, -0.0f, 0, -0.0f, 0, -0.0f, 0);
  return {_mm256_xor_ps(a.lo, signs), _mm256_xor_ps(a.hi, signs)};
}

// ---------------------------------------------------------------- 64-bit integers

WEFT_INLINE I64x16 zero_i64() {
  const __m256i zero = _mm256_setzero_si256();
  return {{zero, zero, zero, zero}};
}
WEFT_INLINE I64x16 load_i64(const int64_t* p) {
  I64x16 r;
  for (int i = 0; i < 4; ++i)
    r.v[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 4 * i));
  return r;
}
WEFT_INLINE void store_i64(int64_t* p, const I64x16& x) {
  for (int i = 0; i < 4; ++i) _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 4 * i), x.v[i]);
}
WEFT_INLINE I64x16 operator+(const I64x16& a, const I64x16& b) {
  I64x16 r;
  for (int i = 0; i < 4; ++i) r.v[i] = _mm256_add_epi64(a.v[i], b.v[i]);
  return r;
}
WEFT_INLINE __m256i round_to_i64(__m128 x) {
  // Adding 1.5 * 2^52 leaves the rounded integer in the low bits of the double.
  const __m256d magic = _mm256_set1_pd(6755399441055744.0);
  return _mm256_sub_epi64(_mm256_castpd_si256(_mm256_add_pd(_mm256_cvtps_pd(x), magic)),
                          _mm256_castpd_si256(magic));
}
WEFT_INLINE I64x16 to_i64(const F32x16& a) {
  return {{round_to_i64(_mm256_castps256_ps128(a.lo)), round_to_i64(_mm256_extractf128_ps(a.lo, 1)),
           round_to_i64(_mm256_castps256_ps128(a.hi)),
           round_to_i64(_mm256_extractf128_ps(a.hi, 1))}};
}
WEFT_INLINE F32x16 to_float(const I64x16& a) {
  // AVX2 has no such instruction, and by way of double it would round twice.
  int64_t lanes[16];
  float out[16];
  store_i64(lanes, a);
  for (int i = 0; i < 16; ++i) out[i] = static_cast<float>(lanes[i]);
  return load(out);
}
WEFT_INLINE int64_t reduce_add(const I64x16& a) {
  const __m256i s =
      _mm256_add_epi64(_mm256_add_epi64(a.v[0], a.v[1]), _mm256_add_epi64(a.v[2], a.v[3]));
  const __m128i t = _mm_add_epi64(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
  return _mm_cvtsi128_si64(_mm_add_epi64(t, _mm_unpackhi_epi64(t, t)));
}

}  // namespace
}  // namespace weft::kernels
