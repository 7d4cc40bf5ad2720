// Double-precision functions of the project: sums, products and quotients of IEEE doubles in a
// fixed order, without FMA, so that every machine and compiler gives the same bits (libm picks
// variants by processor). Polynomials are minimax over the reduced range. exp_double and
// log_double are declared in kernels.h.
#pragma once

namespace weft::kernels {

struct SinCos {
  double sin = 0;
  double cos = 0;
};

// Largest |x| that sincos_double reduces exactly: 2^24 quarter turns.
inline constexpr double kMaxAngle = 16777216.0 * 1.5;

// sin(x) and cos(x) within 1 ulp for |x| <= kMaxAngle; NaN beyond it and for NaN.
SinCos sincos_double(double x);

}  // namespace weft::kernels
