// Sixteen lanes as four NEON registers; vec_portable.h says what each operation means.
//
// Where Arm's instruction means something else, two make what is meant: its minimum and maximum
// choose NaN and order the zeros, and its conversion to integers saturates and takes NaN as 0.
// Numbers differ from x86's in one place only, at the edge of what is flushed to zero
// (base/float_state.h).
#pragma once

#include <arm_neon.h>

#include <cstdint>

#define WEFT_INLINE inline __attribute__((always_inline))

namespace weft::kernels {
namespace {

inline constexpr int kLanes = 16;

struct F32x16 {
  float32x4_t v[4];
};
struct I32x16 {
  int32x4_t v[4];
};
struct I64x16 {
  int64x2_t v[8];
};
struct Mask16 {
  uint32x4_t v[4];  // all ones or all zeros a lane
};

// The statement for i = 0..3, written out: compilers keep arrays in registers only where the index
// is a constant from the first.
#define WEFT_QUARTERS(statement) \
  {                              \
    constexpr int i = 0;         \
    statement;                   \
  }                              \
  {                              \
    constexpr int i = 1;         \
    statement;                   \
  }                              \
  {                              \
    constexpr int i = 2;         \
    statement;                   \
  }                              \
  {                              \
    constexpr int i = 3;         \
    statement;                   \
  }
#define WEFT_EACH(type, expression)    \
  type r;                              \
  WEFT_QUARTERS(r.v[i] = (expression)) \
  return r
#define WEFT_F32(expression) WEFT_EACH(F32x16, expression)
#define WEFT_I32(expression) WEFT_EACH(I32x16, expression)
#define WEFT_MASK(expression) WEFT_EACH(Mask16, expression)

// ---------------------------------------------------------------- masks

WEFT_INLINE int32x4_t lanes_from(int first) {
  const int32_t lanes[4] = {first, first + 1, first + 2, first + 3};
  return vld1q_s32(lanes);
}
WEFT_INLINE Mask16 first_lanes(int64_t n) {
  const int32x4_t count = vdupq_n_s32(static_cast<int32_t>(n));
  WEFT_MASK(vcgtq_s32(count, lanes_from(4 * i)));
}
// Each lane keeps the bit of its place, and eight places add up to a byte.
WEFT_INLINE uint32_t bits(const Mask16& a) {
  const uint8x8_t places = vcreate_u8(0x8040201008040201u);
  const uint16x8_t lo = vcombine_u16(vmovn_u32(a.v[0]), vmovn_u32(a.v[1]));
  const uint16x8_t hi = vcombine_u16(vmovn_u32(a.v[2]), vmovn_u32(a.v[3]));
  return static_cast<uint32_t>(vaddv_u8(vand_u8(vmovn_u16(lo), places))) |
         static_cast<uint32_t>(vaddv_u8(vand_u8(vmovn_u16(hi), places))) << 8;
}
WEFT_INLINE Mask16 operator&(const Mask16& a, const Mask16& b) {
  WEFT_MASK(vandq_u32(a.v[i], b.v[i]));
}
WEFT_INLINE Mask16 operator|(const Mask16& a, const Mask16& b) {
  WEFT_MASK(vorrq_u32(a.v[i], b.v[i]));
}
WEFT_INLINE Mask16 operator~(const Mask16& a) { WEFT_MASK(vmvnq_u32(a.v[i])); }

// ---------------------------------------------------------------- load and store

WEFT_INLINE F32x16 broadcast(float x) { WEFT_F32(vdupq_n_f32(x)); }
WEFT_INLINE F32x16 zero_f32() { return broadcast(0.0f); }
WEFT_INLINE F32x16 load(const float* p) { WEFT_F32(vld1q_f32(p + 4 * i)); }
WEFT_INLINE F32x16 load_n(const float* p, int64_t n) {
  float padded[16] = {};
  for (int64_t i = 0; i < n; ++i) padded[i] = p[i];
  return load(padded);
}
WEFT_INLINE void store(float* p,
                       const F32x16& x){WEFT_QUARTERS(vst1q_f32(p + 4 * i, x.v[i]))} WEFT_INLINE
    void store_n(float* p, const F32x16& x, int64_t n) {
  float padded[16];
  store(padded, x);
  for (int64_t i = 0; i < n; ++i) p[i] = padded[i];
}
WEFT_INLINE F32x16 load_f16(const uint16_t* p) {
  WEFT_F32(vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i))));
}
WEFT_INLINE F32x16 load_bf16(const uint16_t* p) {
  WEFT_F32(vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p + 4 * i), 16)));
}
struct Halves {
  uint16_t v[16];
};
WEFT_INLINE Halves load_halves_n(const uint16_t* p, int64_t n) {
  Halves padded = {};
  for (int64_t i = 0; i < n; ++i) padded.v[i] = p[i];
  return padded;
}
WEFT_INLINE F32x16 load_f16_n(const uint16_t* p, int64_t n) {
  return load_f16(load_halves_n(p, n).v);
}
WEFT_INLINE F32x16 load_bf16_n(const uint16_t* p, int64_t n) {
  return load_bf16(load_halves_n(p, n).v);
}
// By integers: Arm's BF16 instructions keep denormals, and older processors lack them.
WEFT_INLINE uint16x4_t narrow_bf16(float32x4_t x) {
  const uint32x4_t u = vreinterpretq_u32_f32(x);
  const uint32x4_t top = vshrq_n_u32(u, 16);
  const uint32x4_t odd = vandq_u32(top, vdupq_n_u32(1));
  uint32x4_t r = vshrq_n_u32(vaddq_u32(u, vaddq_u32(odd, vdupq_n_u32(0x7fff))), 16);
  const uint32x4_t is_number = vceqq_f32(x, x);
  r = vbslq_u32(is_number, r, vorrq_u32(top, vdupq_n_u32(0x40)));
  const uint32x4_t is_normal = vtstq_u32(u, vdupq_n_u32(0x7f800000));
  return vmovn_u32(vbslq_u32(is_normal, r, vandq_u32(top, vdupq_n_u32(0x8000))));
}
WEFT_INLINE void store_f16(uint16_t* p, const F32x16& x){
    WEFT_QUARTERS(vst1_u16(p + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(x.v[i]))))} WEFT_INLINE
    void store_bf16(uint16_t* p, const F32x16& x){
        WEFT_QUARTERS(vst1_u16(p + 4 * i, narrow_bf16(x.v[i])))} WEFT_INLINE
    void store_bf16_n(uint16_t* p, const F32x16& x, int64_t n) {
  uint16_t padded[16];
  store_bf16(padded, x);
  for (int64_t i = 0; i < n; ++i) p[i] = padded[i];
}

// ---------------------------------------------------------------- arithmetic

WEFT_INLINE F32x16 operator+(const F32x16& a, const F32x16& b) {
  WEFT_F32(vaddq_f32(a.v[i], b.v[i]));
}
WEFT_INLINE F32x16 operator-(const F32x16& a, const F32x16& b) {
  WEFT_F32(vsubq_f32(a.v[i], b.v[i]));
}
WEFT_INLINE F32x16 operator*(const F32x16& a, const F32x16& b) {
  WEFT_F32(vmulq_f32(a.v[i], b.v[i]));
}
WEFT_INLINE F32x16 operator/(const F32x16& a, const F32x16& b) {
  WEFT_F32(vdivq_f32(a.v[i], b.v[i]));
}
WEFT_INLINE F32x16 fma(const F32x16& a, const F32x16& b, const F32x16& c) {
  WEFT_F32(vfmaq_f32(c.v[i], a.v[i], b.v[i]));
}
WEFT_INLINE float32x4_t smaller(float32x4_t a, float32x4_t b) {
  return vbslq_f32(vcltq_f32(a, b), a, b);
}
WEFT_INLINE float32x4_t larger(float32x4_t a, float32x4_t b) {
  return vbslq_f32(vcgtq_f32(a, b), a, b);
}
WEFT_INLINE F32x16 min(const F32x16& a, const F32x16& b) { WEFT_F32(smaller(a.v[i], b.v[i])); }
WEFT_INLINE F32x16 max(const F32x16& a, const F32x16& b) { WEFT_F32(larger(a.v[i], b.v[i])); }
WEFT_INLINE F32x16 abs(const F32x16& a) { WEFT_F32(vabsq_f32(a.v[i])); }
WEFT_INLINE F32x16 sqrt(const F32x16& a) { WEFT_F32(vsqrtq_f32(a.v[i])); }
WEFT_INLINE F32x16 round(const F32x16& a) { WEFT_F32(vrndnq_f32(a.v[i])); }

// ---------------------------------------------------------------- integers and bits

WEFT_INLINE I32x16 broadcast_int(int32_t x) { WEFT_I32(vdupq_n_s32(x)); }
WEFT_INLINE I32x16 load_int(const int32_t* p) { WEFT_I32(vld1q_s32(p + 4 * i)); }
WEFT_INLINE void store_int(int32_t* p, const I32x16& x){WEFT_QUARTERS(vst1q_s32(p + 4 * i, x.v[i]))}
// Too small saturates to the smallest int32 as it should; too large and NaN are put right.
WEFT_INLINE int32x4_t nearest_int(float32x4_t x) {
  const uint32x4_t fits = vcltq_f32(x, vdupq_n_f32(2147483648.0f));
  return vbslq_s32(fits, vcvtnq_s32_f32(x), vdupq_n_s32(INT32_MIN));
}
WEFT_INLINE I32x16 to_int(const F32x16& a) { WEFT_I32(nearest_int(a.v[i])); }
WEFT_INLINE F32x16 to_float(const I32x16& a) { WEFT_F32(vcvtq_f32_s32(a.v[i])); }
WEFT_INLINE I32x16 as_int(const F32x16& a) { WEFT_I32(vreinterpretq_s32_f32(a.v[i])); }
WEFT_INLINE F32x16 as_float(const I32x16& a) { WEFT_F32(vreinterpretq_f32_s32(a.v[i])); }
WEFT_INLINE I32x16 operator+(const I32x16& a, const I32x16& b) {
  WEFT_I32(vaddq_s32(a.v[i], b.v[i]));
}
WEFT_INLINE I32x16 operator-(const I32x16& a, const I32x16& b) {
  WEFT_I32(vsubq_s32(a.v[i], b.v[i]));
}
WEFT_INLINE I32x16 operator&(const I32x16& a, const I32x16& b) {
  WEFT_I32(vandq_s32(a.v[i], b.v[i]));
}
WEFT_INLINE I32x16 operator|(const I32x16& a, const I32x16& b) {
  WEFT_I32(vorrq_s32(a.v[i], b.v[i]));
}
WEFT_INLINE I32x16 operator^(const I32x16& a, const I32x16& b) {
  WEFT_I32(veorq_s32(a.v[i], b.v[i]));
}
template <int kBits>
WEFT_INLINE I32x16 shift_left(const I32x16& a) {
  WEFT_I32(vshlq_n_s32(a.v[i], kBits));
}
template <int kBits>
WEFT_INLINE I32x16 shift_right(const I32x16& a) {
  WEFT_I32(vshrq_n_s32(a.v[i], kBits));
}
template <int kBits>
WEFT_INLINE I32x16 shift_right_logical(const I32x16& a) {
  WEFT_I32(vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_s32(a.v[i]), kBits)));
}

// ---------------------------------------------------------------- comparisons

WEFT_INLINE Mask16 operator<(const F32x16& a, const F32x16& b) {
  WEFT_MASK(vcltq_f32(a.v[i], b.v[i]));
}
WEFT_INLINE Mask16 operator<=(const F32x16& a, const F32x16& b) {
  WEFT_MASK(vcleq_f32(a.v[i], b.v[i]));
}
WEFT_INLINE Mask16 operator>(const F32x16& a, const F32x16& b) {
  WEFT_MASK(vcgtq_f32(a.v[i], b.v[i]));
}
WEFT_INLINE Mask16 operator>=(const F32x16& a, const F32x16& b) {
  WEFT_MASK(vcgeq_f32(a.v[i], b.v[i]));
}
WEFT_INLINE Mask16 operator==(const F32x16& a, const F32x16& b) {
  WEFT_MASK(vceqq_f32(a.v[i], b.v[i]));
}
WEFT_INLINE Mask16 is_nan(const F32x16& a) { WEFT_MASK(vmvnq_u32(vceqq_f32(a.v[i], a.v[i]))); }
WEFT_INLINE Mask16 operator>(const I32x16& a, const I32x16& b) {
  WEFT_MASK(vcgtq_s32(a.v[i], b.v[i]));
}
WEFT_INLINE Mask16 operator==(const I32x16& a, const I32x16& b) {
  WEFT_MASK(vceqq_s32(a.v[i], b.v[i]));
}
WEFT_INLINE F32x16 select(const Mask16& m, const F32x16& yes, const F32x16& no) {
  WEFT_F32(vbslq_f32(m.v[i], yes.v[i], no.v[i]));
}
WEFT_INLINE I32x16 select(const Mask16& m, const I32x16& yes, const I32x16& no) {
  WEFT_I32(vbslq_s32(m.v[i], yes.v[i], no.v[i]));
}

// ---------------------------------------------------------------- across lanes

WEFT_INLINE float reduce_add(const F32x16& a) {
  const float32x4_t s4 = vaddq_f32(vaddq_f32(a.v[0], a.v[2]), vaddq_f32(a.v[1], a.v[3]));
  const float32x2_t s2 = vadd_f32(vget_low_f32(s4), vget_high_f32(s4));
  return vget_lane_f32(s2, 0) + vget_lane_f32(s2, 1);
}
WEFT_INLINE float reduce_max(const F32x16& a) {
  const float32x4_t s4 = larger(larger(a.v[0], a.v[2]), larger(a.v[1], a.v[3]));
  const float32x4_t s2 = larger(s4, vextq_f32(s4, s4, 2));
  return vgetq_lane_f32(larger(s2, vextq_f32(s2, s2, 1)), 0);
}

WEFT_INLINE F32x16 load_twice(const float* p) {
  const float32x4_t lo = vld1q_f32(p), hi = vld1q_f32(p + 4);
  return {{vzip1q_f32(lo, lo), vzip2q_f32(lo, lo), vzip1q_f32(hi, hi), vzip2q_f32(hi, hi)}};
}
WEFT_INLINE F32x16 swap_pairs(const F32x16& a) { WEFT_F32(vrev64q_f32(a.v[i])); }
WEFT_INLINE F32x16 negate_even(const F32x16& a) {
  const uint32x4_t signs = vreinterpretq_u32_u64(vdupq_n_u64(0x80000000u));
  WEFT_F32(vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(a.v[i]), signs)));
}

// ---------------------------------------------------------------- 64-bit integers

WEFT_INLINE I64x16 zero_i64() {
  const int64x2_t zero = vdupq_n_s64(0);
  return {{zero, zero, zero, zero, zero, zero, zero, zero}};
}
WEFT_INLINE I64x16 load_i64(const int64_t* p) {
  I64x16 r;
  WEFT_QUARTERS((r.v[2 * i] = vld1q_s64(p + 4 * i), r.v[2 * i + 1] = vld1q_s64(p + 4 * i + 2)))
  return r;
}
WEFT_INLINE void store_i64(int64_t* p, const I64x16& x){
    WEFT_QUARTERS((vst1q_s64(p + 4 * i, x.v[2 * i]),
                   vst1q_s64(p + 4 * i + 2, x.v[2 * i + 1])))} WEFT_INLINE I64x16
operator+(const I64x16& a, const I64x16& b) {
  I64x16 r;
  WEFT_QUARTERS((r.v[2 * i] = vaddq_s64(a.v[2 * i], b.v[2 * i]),
                 r.v[2 * i + 1] = vaddq_s64(a.v[2 * i + 1], b.v[2 * i + 1])))
  return r;
}
WEFT_INLINE I64x16 to_i64(const F32x16& a) {
  I64x16 r;
  WEFT_QUARTERS((r.v[2 * i] = vcvtnq_s64_f64(vcvt_f64_f32(vget_low_f32(a.v[i]))),
                 r.v[2 * i + 1] = vcvtnq_s64_f64(vcvt_high_f64_f32(a.v[i]))))
  return r;
}
WEFT_INLINE F32x16 to_float(const I64x16& a) {
  // NEON goes by way of double, which would round twice; the scalar instruction does not.
  int64_t lanes[16];
  float out[16];
  store_i64(lanes, a);
  for (int i = 0; i < 16; ++i) out[i] = static_cast<float>(lanes[i]);
  return load(out);
}
WEFT_INLINE int64_t reduce_add(const I64x16& a) {
  const int64x2_t lo = vaddq_s64(vaddq_s64(a.v[0], a.v[1]), vaddq_s64(a.v[2], a.v[3]));
  const int64x2_t hi = vaddq_s64(vaddq_s64(a.v[4], a.v[5]), vaddq_s64(a.v[6], a.v[7]));
  return vaddvq_s64(vaddq_s64(lo, hi));
}

#undef WEFT_QUARTERS
#undef WEFT_EACH
#undef WEFT_F32
#undef WEFT_I32
#undef WEFT_MASK

}  // namespace
}  // namespace weft::kernels
