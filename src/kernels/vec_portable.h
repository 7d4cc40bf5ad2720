// Sixteen lanes in plain C++: the meaning of every operation that the kernel texts use. The AVX2,
// AVX-512 and NEON headers offer the same names and give the same bits, so that one text serves
// all.
//
// A translation unit includes exactly one of vec_portable.h, vec_avx2.h, vec_avx512.h and
// vec_neon.h. All that they define has internal linkage, and they use no standard library template:
// a copy that the linker shared between instruction sets would stop an older processor
// (DESIGN.md 1.7).
//
// Loads and stores need no alignment. Comparisons with NaN are false. Rounding is to nearest even.
#pragma once

#include <cstdint>

#define WEFT_INLINE inline __attribute__((always_inline))

namespace weft::kernels {
namespace {

inline constexpr int kLanes = 16;

struct F32x16 {
  float v[16];
};
struct I32x16 {
  int32_t v[16];
};
struct I64x16 {
  int64_t v[16];
};
struct Mask16 {
  uint32_t m;  // lane i is bit i
};

#define WEFT_LANES for (int i = 0; i < 16; ++i)
#define WEFT_F32(expression)        \
  F32x16 r;                         \
  WEFT_LANES r.v[i] = (expression); \
  return r
#define WEFT_I32(expression)        \
  I32x16 r;                         \
  WEFT_LANES r.v[i] = (expression); \
  return r
#define WEFT_I64(expression)        \
  I64x16 r;                         \
  WEFT_LANES r.v[i] = (expression); \
  return r
#define WEFT_MASK(condition)                    \
  uint32_t m = 0;                               \
  WEFT_LANES m |= ((condition) ? 1u : 0u) << i; \
  return { m }

// ---------------------------------------------------------------- scalar conversions

WEFT_INLINE float float_of_bits(uint32_t bits) { return __builtin_bit_cast(float, bits); }
WEFT_INLINE uint32_t bits_of_float(float x) { return __builtin_bit_cast(uint32_t, x); }

// Exact; NaN becomes quiet.
WEFT_INLINE float float_of_f16(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
  uint32_t exponent = (h >> 10) & 31u, mantissa = h & 1023u;
  if (exponent == 31) {
    return float_of_bits(sign | 0x7f800000u | (mantissa != 0 ? (mantissa << 13) | 0x400000u : 0u));
  }
  if (exponent == 0) {
    if (mantissa == 0) return float_of_bits(sign);
    const uint32_t shift = static_cast<uint32_t>(__builtin_clz(mantissa)) - 21u;
    mantissa = (mantissa << shift) & 1023u;
    exponent = 1u - shift;  // wraps; the sum below is right modulo 2^32
  }
  return float_of_bits(sign | ((exponent + 112u) << 23) | (mantissa << 13));
}
// To nearest even, with denormals, as the processors' instruction does; past 65,504 infinity.
WEFT_INLINE uint16_t f16_of_float(float x) {
  const uint32_t bits = bits_of_float(x);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u)
    return static_cast<uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
  if (magnitude >= 0x47800000u) return static_cast<uint16_t>(sign | 0x7c00u);
  if (magnitude >= 0x38800000u) {
    const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
    return static_cast<uint16_t>(sign | ((rounded >> 13) - (112u << 10)));
  }
  // Adding a half leaves multiples of 2^-24, the type's smallest step, in the low bits.
  const float shifted = float_of_bits(magnitude) + 0.5f;
  return static_cast<uint16_t>(sign | (bits_of_float(shifted) - 0x3f000000u));
}
WEFT_INLINE float float_of_bf16(uint16_t b) {
  return float_of_bits(static_cast<uint32_t>(b) << 16);
}
// To nearest even; denormals become zero and NaN quiet, as the processors' instruction does.
WEFT_INLINE uint16_t bf16_of_float(float x) {
  const uint32_t u = bits_of_float(x);
  if ((u & 0x7f800000u) == 0) return static_cast<uint16_t>((u >> 16) & 0x8000u);
  if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((u >> 16) | 0x40u);
  return static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}
// To nearest even; outside int32 and for NaN the smallest int32, as the processors do.
WEFT_INLINE int32_t round_to_int(float x) {
  if (!(x >= -2147483648.0f && x < 2147483648.0f)) return INT32_MIN;
  return static_cast<int32_t>(__builtin_rintf(x));
}

// ---------------------------------------------------------------- load and store

WEFT_INLINE F32x16 broadcast(float x) { WEFT_F32(x); }
WEFT_INLINE F32x16 zero_f32() { return broadcast(0.0f); }
WEFT_INLINE F32x16 load(const float* p) { WEFT_F32(p[i]); }
// Lanes n..15 are zero and their memory is not touched; 0 <= n <= 16.
WEFT_INLINE F32x16 load_n(const float* p, int64_t n) { WEFT_F32(i < n ? p[i] : 0.0f); }
WEFT_INLINE void store(float* p, const F32x16& x) { WEFT_LANES p[i] = x.v[i]; }
WEFT_INLINE void store_n(float* p, const F32x16& x, int64_t n) {
  WEFT_LANES if (i < n) p[i] = x.v[i];
}
WEFT_INLINE F32x16 load_f16(const uint16_t* p) { WEFT_F32(float_of_f16(p[i])); }
WEFT_INLINE F32x16 load_f16_n(const uint16_t* p, int64_t n) {
  WEFT_F32(i < n ? float_of_f16(p[i]) : 0.0f);
}
WEFT_INLINE F32x16 load_bf16(const uint16_t* p) { WEFT_F32(float_of_bf16(p[i])); }
WEFT_INLINE F32x16 load_bf16_n(const uint16_t* p, int64_t n) {
  WEFT_F32(i < n ? float_of_bf16(p[i]) : 0.0f);
}
WEFT_INLINE void store_f16(uint16_t* p, const F32x16& x) { WEFT_LANES p[i] = f16_of_float(x.v[i]); }
WEFT_INLINE void store_bf16(uint16_t* p, const F32x16& x) {
  WEFT_LANES p[i] = bf16_of_float(x.v[i]);
}
WEFT_INLINE void store_bf16_n(uint16_t* p, const F32x16& x, int64_t n) {
  WEFT_LANES if (i < n) p[i] = bf16_of_float(x.v[i]);
}

// ---------------------------------------------------------------- arithmetic

WEFT_INLINE F32x16 operator+(const F32x16& a, const F32x16& b) { WEFT_F32(a.v[i] + b.v[i]); }
WEFT_INLINE F32x16 operator-(const F32x16& a, const F32x16& b) { WEFT_F32(a.v[i] - b.v[i]); }
WEFT_INLINE F32x16 operator*(const F32x16& a, const F32x16& b) { WEFT_F32(a.v[i] * b.v[i]); }
WEFT_INLINE F32x16 operator/(const F32x16& a, const F32x16& b) { WEFT_F32(a.v[i] / b.v[i]); }
// a * b + c with one rounding.
WEFT_INLINE F32x16 fma(const F32x16& a, const F32x16& b, const F32x16& c) {
  WEFT_F32(__builtin_fmaf(a.v[i], b.v[i], c.v[i]));
}
// b where either is NaN or both are zero.
WEFT_INLINE F32x16 min(const F32x16& a, const F32x16& b) {
  WEFT_F32(a.v[i] < b.v[i] ? a.v[i] : b.v[i]);
}
WEFT_INLINE F32x16 max(const F32x16& a, const F32x16& b) {
  WEFT_F32(a.v[i] > b.v[i] ? a.v[i] : b.v[i]);
}
WEFT_INLINE F32x16 abs(const F32x16& a) { WEFT_F32(__builtin_fabsf(a.v[i])); }
WEFT_INLINE F32x16 sqrt(const F32x16& a) { WEFT_F32(__builtin_sqrtf(a.v[i])); }
WEFT_INLINE F32x16 round(const F32x16& a) { WEFT_F32(__builtin_rintf(a.v[i])); }

// ---------------------------------------------------------------- integers and bits

WEFT_INLINE I32x16 broadcast_int(int32_t x) { WEFT_I32(x); }
WEFT_INLINE I32x16 load_int(const int32_t* p) { WEFT_I32(p[i]); }
WEFT_INLINE void store_int(int32_t* p, const I32x16& x) { WEFT_LANES p[i] = x.v[i]; }
WEFT_INLINE I32x16 to_int(const F32x16& a) { WEFT_I32(round_to_int(a.v[i])); }
WEFT_INLINE F32x16 to_float(const I32x16& a) { WEFT_F32(static_cast<float>(a.v[i])); }
WEFT_INLINE I32x16 as_int(const F32x16& a) { WEFT_I32(__builtin_bit_cast(int32_t, a.v[i])); }
WEFT_INLINE F32x16 as_float(const I32x16& a) { WEFT_F32(__builtin_bit_cast(float, a.v[i])); }
// Wraps modulo 2^32, like the shifts.
WEFT_INLINE I32x16 operator+(const I32x16& a, const I32x16& b) {
  WEFT_I32(static_cast<int32_t>(static_cast<uint32_t>(a.v[i]) + static_cast<uint32_t>(b.v[i])));
}
WEFT_INLINE I32x16 operator-(const I32x16& a, const I32x16& b) {
  WEFT_I32(static_cast<int32_t>(static_cast<uint32_t>(a.v[i]) - static_cast<uint32_t>(b.v[i])));
}
WEFT_INLINE I32x16 operator&(const I32x16& a, const I32x16& b) { WEFT_I32(a.v[i] & b.v[i]); }
WEFT_INLINE I32x16 operator|(const I32x16& a, const I32x16& b) { WEFT_I32(a.v[i] | b.v[i]); }
WEFT_INLINE I32x16 operator^(const I32x16& a, const I32x16& b) { WEFT_I32(a.v[i] ^ b.v[i]); }
template <int kBits>
WEFT_INLINE I32x16 shift_left(const I32x16& a) {
  WEFT_I32(static_cast<int32_t>(static_cast<uint32_t>(a.v[i]) << kBits));
}
template <int kBits>
WEFT_INLINE I32x16 shift_right(const I32x16& a) {  // arithmetic
  WEFT_I32(a.v[i] >> kBits);
}
template <int kBits>
WEFT_INLINE I32x16 shift_right_logical(const I32x16& a) {
  WEFT_I32(static_cast<int32_t>(static_cast<uint32_t>(a.v[i]) >> kBits));
}

// ---------------------------------------------------------------- masks

WEFT_INLINE Mask16 operator<(const F32x16& a, const F32x16& b) { WEFT_MASK(a.v[i] < b.v[i]); }
WEFT_INLINE Mask16 operator<=(const F32x16& a, const F32x16& b) { WEFT_MASK(a.v[i] <= b.v[i]); }
WEFT_INLINE Mask16 operator>(const F32x16& a, const F32x16& b) { WEFT_MASK(a.v[i] > b.v[i]); }
WEFT_INLINE Mask16 operator>=(const F32x16& a, const F32x16& b) { WEFT_MASK(a.v[i] >= b.v[i]); }
WEFT_INLINE Mask16 operator==(const F32x16& a, const F32x16& b) { WEFT_MASK(a.v[i] == b.v[i]); }
WEFT_INLINE Mask16 operator>(const I32x16& a, const I32x16& b) { WEFT_MASK(a.v[i] > b.v[i]); }
WEFT_INLINE Mask16 operator==(const I32x16& a, const I32x16& b) { WEFT_MASK(a.v[i] == b.v[i]); }
WEFT_INLINE Mask16 is_nan(const F32x16& a) { WEFT_MASK(a.v[i] != a.v[i]); }
WEFT_INLINE Mask16 operator&(Mask16 a, Mask16 b) { return {a.m & b.m}; }
WEFT_INLINE Mask16 operator|(Mask16 a, Mask16 b) { return {a.m | b.m}; }
WEFT_INLINE Mask16 operator~(Mask16 a) { return {~a.m & 0xffffu}; }
WEFT_INLINE Mask16 first_lanes(int64_t n) {  // 0 <= n <= 16
  return {(1u << n) - 1u};
}
WEFT_INLINE uint32_t bits(Mask16 a) { return a.m; }
WEFT_INLINE F32x16 select(Mask16 m, const F32x16& yes, const F32x16& no) {
  WEFT_F32(((m.m >> i) & 1u) != 0 ? yes.v[i] : no.v[i]);
}
WEFT_INLINE I32x16 select(Mask16 m, const I32x16& yes, const I32x16& no) {
  WEFT_I32(((m.m >> i) & 1u) != 0 ? yes.v[i] : no.v[i]);
}

// ---------------------------------------------------------------- across lanes

// The tree of kernels.h: i + (i + 8), i + (i + 4), i + (i + 2), i + (i + 1).
WEFT_INLINE float reduce_add(const F32x16& a) {
  float s[8];
  for (int i = 0; i < 8; ++i) s[i] = a.v[i] + a.v[i + 8];
  for (int i = 0; i < 4; ++i) s[i] = s[i] + s[i + 4];
  return (s[0] + s[2]) + (s[1] + s[3]);
}
// The same tree of max(a, b); without NaN.
WEFT_INLINE float reduce_max(const F32x16& a) {
  float s[8];
  for (int i = 0; i < 8; ++i) s[i] = a.v[i] > a.v[i + 8] ? a.v[i] : a.v[i + 8];
  for (int n = 4; n > 0; n /= 2) {
    for (int i = 0; i < n; ++i) s[i] = s[i] > s[i + n] ? s[i] : s[i + n];
  }
  return s[0];
}

// For interleaved rotations: lane i is p[i / 2]; lanes 2 i and 2 i + 1 change places; the sign of
// lanes 2 i is turned.
WEFT_INLINE F32x16 load_twice(const float* p) { WEFT_F32(p[i / 2]); }
WEFT_INLINE F32x16 swap_pairs(const F32x16& a) { WEFT_F32(a.v[i ^ 1]); }
WEFT_INLINE F32x16 negate_even(const F32x16& a) { WEFT_F32(i % 2 == 0 ? -a.v[i] : a.v[i]); }

// ---------------------------------------------------------------- 64-bit integers

WEFT_INLINE I64x16 zero_i64() { WEFT_I64(0); }
WEFT_INLINE I64x16 load_i64(const int64_t* p) { WEFT_I64(p[i]); }
WEFT_INLINE void store_i64(int64_t* p, const I64x16& x) { WEFT_LANES p[i] = x.v[i]; }
WEFT_INLINE I64x16 operator+(const I64x16& a, const I64x16& b) {  // wraps
  WEFT_I64(static_cast<int64_t>(static_cast<uint64_t>(a.v[i]) + static_cast<uint64_t>(b.v[i])));
}
// To nearest even; |x| < 2^51, otherwise unspecified.
WEFT_INLINE I64x16 to_i64(const F32x16& a) {
  // Adding 1.5 * 2^52 leaves the rounded integer in the low bits of the double.
  constexpr double kMagic = 6755399441055744.0;
  WEFT_I64(static_cast<int64_t>(
      static_cast<uint64_t>(__builtin_bit_cast(int64_t, static_cast<double>(a.v[i]) + kMagic)) -
      static_cast<uint64_t>(__builtin_bit_cast(int64_t, kMagic))));
}
// Rounded once.
WEFT_INLINE F32x16 to_float(const I64x16& a) { WEFT_F32(static_cast<float>(a.v[i])); }
WEFT_INLINE int64_t reduce_add(const I64x16& a) {
  uint64_t s = 0;
  WEFT_LANES s += static_cast<uint64_t>(a.v[i]);
  return static_cast<int64_t>(s);
}

#undef WEFT_LANES
#undef WEFT_F32
#undef WEFT_I32
#undef WEFT_I64
#undef WEFT_MASK

}  // namespace
}  // namespace weft::kernels
