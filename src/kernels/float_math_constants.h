// Constants of the project's float exp and tanh. Both are part of the arithmetic: the vector text
// (float_math.inl.h) and the reference (reference_vector.cpp) evaluate the same steps.
//
// exp(x), within 1.02 ulp:
//   t = fma(x, log2(e), kRounder), n = t - kRounder         the nearest integer to x / ln 2
//   r = fma(n, -kLn2Low, fma(n, -kLn2High, x))
//   q = Horner in r by fma over kExp; p = fma(r * r, q, r) + 1
//   exp = p with n added to its exponent
// and exactly 0 for x < kExpLowest, infinity for x > kExpHighest, NaN for NaN.
//
// tanh(x), within 2 ulp, with z = |x|:
//   z < kTanhSwitch: s = z * z, q = Horner in s by fma over kTanh; tanh = fma(z * s, q, z)
//   otherwise:       tanh = 1 - 2 / (exp(z + z) + 1)
// with the sign of x.
#pragma once

namespace weft::kernels {

constexpr float kLog2E = 0x1.715476p+0f;
constexpr float kLn2High = 0x1.62e400p-1f;  // 15 bits: its products with n are exact
constexpr float kLn2Low = 0x1.7f7d1cp-20f;
constexpr float kRounder = 0x1.8p23f;  // adding it rounds to an integer, in the low bits
constexpr float kExpLowest = -87.3f;   // exp of it is still a normal number
constexpr float kExpHighest = 88.72283f;

// (exp(r) - 1 - r) / r^2 on |r| <= ln(2) / 2: relative error of exp 2^-28.3.
constexpr float kExp[5] = {0x1.fffffcp-2f, 0x1.555490p-3f, 0x1.5558f8p-5f, 0x1.123b02p-7f,
                           0x1.6a2258p-10f};

// (tanh(z) - z) / z^3 as a polynomial of z^2 on z < 0.625: relative error of tanh 2^-27.8.
constexpr float kTanhSwitch = 0.625f;
constexpr float kTanh[5] = {-0x1.555532p-2f, 0x1.110726p-3f, -0x1.b83c5ap-5f, 0x1.52269cp-6f,
                            -0x1.75e1d4p-8f};

// gelu_pytorch_tanh: sqrt(2 / pi) and the cubic's factor.
constexpr float kGeluScale = 0x1.988454p-1f;
constexpr float kGeluCubic = 0.044715f;

}  // namespace weft::kernels
