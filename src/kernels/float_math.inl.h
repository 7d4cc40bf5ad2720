// exp, tanh and the activations over 16 lanes (float_math_constants.h has their definition).
// Part of a kernel text: a translation unit includes its vector header first.
#pragma once

#include "kernels/float_math_constants.h"

namespace weft::kernels {
namespace {

// exp where kExpLowest <= x <= kExpHighest; anything at all elsewhere.
WEFT_INLINE F32x16 exp_inside(const F32x16& x) {
  const F32x16 rounder = broadcast(kRounder);
  const F32x16 t = fma(x, broadcast(kLog2E), rounder);
  const F32x16 n = t - rounder;
  const F32x16 r = fma(n, broadcast(-kLn2Low), fma(n, broadcast(-kLn2High), x));
  F32x16 q = broadcast(kExp[4]);
  q = fma(q, r, broadcast(kExp[3]));
  q = fma(q, r, broadcast(kExp[2]));
  q = fma(q, r, broadcast(kExp[1]));
  q = fma(q, r, broadcast(kExp[0]));
  const F32x16 p = fma(r * r, q, r) + broadcast(1.0f);
  // The low bits of t are n: shifted, they add to the exponent of p.
  return as_float(as_int(p) + shift_left<23>(as_int(t)));
}

// exp of numbers that are not positive, the whole need of a softmax.
WEFT_INLINE F32x16 exp_nonpositive(const F32x16& x) {
  // max returns its second operand for NaN: 0 below the lowest, NaN for NaN.
  return select(x >= broadcast(kExpLowest), exp_inside(x), max(zero_f32(), x));
}

WEFT_INLINE F32x16 exp(const F32x16& x) {
  const F32x16 infinity = broadcast(__builtin_inff());
  return select(x > broadcast(kExpHighest), infinity, exp_nonpositive(x));
}

WEFT_INLINE F32x16 tanh(const F32x16& x) {
  const F32x16 z = abs(x);
  const F32x16 s = z * z;
  F32x16 q = broadcast(kTanh[4]);
  q = fma(q, s, broadcast(kTanh[3]));
  q = fma(q, s, broadcast(kTanh[2]));
  q = fma(q, s, broadcast(kTanh[1]));
  q = fma(q, s, broadcast(kTanh[0]));
  const F32x16 small = fma(z * s, q, z);
  const F32x16 one = broadcast(1.0f);
  const F32x16 large = one - broadcast(2.0f) / (exp(z + z) + one);
  const F32x16 positive = select(z < broadcast(kTanhSwitch), small, large);
  const I32x16 sign = as_int(x) & broadcast_int(INT32_MIN);
  return as_float(as_int(positive) | sign);
}

// x / (1 + exp(-x))
WEFT_INLINE F32x16 silu(const F32x16& x) { return x / (broadcast(1.0f) + exp(zero_f32() - x)); }

// (0.5 x) (1 + tanh(kGeluScale (x + kGeluCubic (x x x)))), products from the left.
WEFT_INLINE F32x16 gelu_tanh(const F32x16& x) {
  const F32x16 inner = x + broadcast(kGeluCubic) * (x * x * x);
  return broadcast(0.5f) * x * (broadcast(1.0f) + tanh(broadcast(kGeluScale) * inner));
}

// cap * tanh(x / cap)
WEFT_INLINE F32x16 capped(const F32x16& x, const F32x16& cap) { return cap * tanh(x / cap); }

}  // namespace
}  // namespace weft::kernels
