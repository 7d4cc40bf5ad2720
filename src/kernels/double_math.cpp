#include "kernels/double_math.h"

#include <bit>
#include <cstdint>
#include <limits>

#include "kernels/kernels.h"

namespace weft::kernels {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// Round to nearest even for |x| < 2^51: the sum's last bit is the unit.
constexpr double kRounder = 0x1.8p52;
double round_to_integer(double x) { return (x + kRounder) - kRounder; }

// 2^exponent for a normal exponent.
double power_of_two(int64_t exponent) {
  return std::bit_cast<double>(static_cast<uint64_t>(exponent + 1023) << 52);
}

template <int N>
double polynomial(const double (&coefficients)[N], double x) {
  double sum = coefficients[N - 1];
  for (int i = N - 2; i >= 0; --i) sum = sum * x + coefficients[i];
  return sum;
}

// ln 2 in two parts; the high one has 33 bits, so that its product with an exponent is exact.
constexpr double kLn2High = 0x1.62e42fef00000p-1;
constexpr double kLn2Low = 0x1.473de6af278edp-34;

// (exp(r) - 1 - r) / r^2 on |r| <= ln(2) / 2, relative error of exp 2^-57.9.
constexpr double kExp[] = {0x1.000000000000ap-1,  0x1.55555555554f9p-3,  0x1.555555555083ep-5,
                           0x1.1111111127d12p-7,  0x1.6c16c18438ad1p-10, 0x1.a01a012a0de71p-13,
                           0x1.a01999e26bfa7p-16, 0x1.71df25b64c759p-19, 0x1.28ad9b7dbaf49p-22,
                           0x1.ad7f395612954p-26};

// (log((1 + s) / (1 - s)) - 2 s) / s^3 as a polynomial of s^2, |s| <= 0.1716.
constexpr double kLog[] = {0x1.5555555555592p-1, 0x1.999999997fd82p-2, 0x1.24924941f454ap-2,
                           0x1.c71c5206989c9p-3, 0x1.74663f82b06b5p-3, 0x1.39a1aa4f23eb2p-3,
                           0x1.2f0611289c87cp-3};

// (sin(r) - r) / r^3 and (cos(r) - 1 + r^2 / 2) / r^4 as polynomials of r^2, |r| <= pi / 4.
constexpr double kSin[] = {-0x1.5555555555549p-3, 0x1.111111110f87ap-7,   -0x1.a01a019c11993p-13,
                           0x1.71de3577b67c3p-19, -0x1.ae5e663a7999ep-26, 0x1.5d9300f603ea7p-33};
constexpr double kCos[] = {0x1.555555555554cp-5,   -0x1.6c16c16c1517ep-10, 0x1.a01a019cb1bd8p-16,
                           -0x1.27e4f809f07d0p-22, 0x1.1ee9ebe914ed5p-29,  -0x1.8fae9c6a0ed35p-37};

// pi / 2 in parts of 29 bits, so that products with a count below 2^24 are exact.
constexpr double kHalfPi[] = {0x1.921fb54000000p+0, 0x1.10b4611000000p-30, 0x1.4c4c662000000p-59,
                              0x1.1701b83a00000p-88};
constexpr double kTwoOverPi = 0x1.45f306dc9c883p-1;

struct DoubleDouble {
  double high, low;
};

// a - b as a double and its rounding error (Knuth).
DoubleDouble exact_difference(double a, double b) {
  const double difference = a - b;
  const double part = difference - a;
  return {difference, (a - (difference - part)) - (b + part)};
}

// x - count * pi / 2 to about 2^-100 of pi.
DoubleDouble reduce(double x, double count) {
  const double first = x - count * kHalfPi[0];  // exact
  const DoubleDouble second = exact_difference(first, count * kHalfPi[1]);
  const DoubleDouble third = exact_difference(second.high, count * kHalfPi[2]);
  const double low = (second.low + third.low) - count * kHalfPi[3];
  const double high = third.high + low;
  return {high, (third.high - high) + low};
}

double reduced_sin(DoubleDouble r) {
  const double square = r.high * r.high;
  const double tail = r.high * square * polynomial(kSin, square) + r.low * (1.0 - 0.5 * square);
  return r.high + tail;
}

double reduced_cos(DoubleDouble r) {
  const double square = r.high * r.high;
  const double half = 0.5 * square;
  const double head = 1.0 - half;
  // (1 - head) - half restores what the subtraction above rounded away.
  const double tail =
      ((1.0 - head) - half) + (square * square * polynomial(kCos, square) - r.high * r.low);
  return head + tail;
}

}  // namespace

double exp_double(double x) {
  if (x != x) return kNaN;
  if (x > 709.7827) return kInfinity;
  if (x < -708.39) return 0.0;  // below the smallest normal number
  const double count = round_to_integer(x * 0x1.71547652b82fep+0);
  const double high = x - count * kLn2High;  // exact
  const double low = count * kLn2Low;
  const double r = high - low;
  const double rest = (high - r) - low;
  const double fraction = 1.0 + (r + (r * r * polynomial(kExp, r) + rest));
  // In two steps: 2^1024 is no double, though fraction * 2^1024 may be.
  const auto exponent = static_cast<int64_t>(count);
  return fraction * power_of_two(exponent - exponent / 2) * power_of_two(exponent / 2);
}

double log_double(double x) {
  if (x != x || x < 0) return kNaN;
  const auto bits = std::bit_cast<uint64_t>(x);
  if (bits << 1 >> 53 == 0) return -kInfinity;  // zero, and denormals, which count as zero
  if (x == kInfinity) return x;
  // x = 2^exponent * m, m in [sqrt(1/2), sqrt(2)).
  constexpr uint64_t kSqrtHalf = 0x3fe6a09e667f3bcd;
  const auto exponent = static_cast<int64_t>(bits - kSqrtHalf) >> 52;
  const double m = std::bit_cast<double>(bits - (static_cast<uint64_t>(exponent) << 52));
  const double f = m - 1.0;
  const double s = f / (2.0 + f);
  const double square = s * s;
  const double half_square = 0.5 * f * f;
  const auto count = static_cast<double>(exponent);
  // log(1 + f) = f - f^2/2 + s (f^2/2 + R(s^2)).
  const double rest = s * (half_square + square * polynomial(kLog, square)) + count * kLn2Low;
  return count * kLn2High - ((half_square - rest) - f);
}

SinCos sincos_double(double x) {
  if (!(x >= -kMaxAngle && x <= kMaxAngle)) return {kNaN, kNaN};
  const double count = round_to_integer(x * kTwoOverPi);
  const DoubleDouble r = reduce(x, count);
  const double sine = reduced_sin(r), cosine = reduced_cos(r);
  switch (static_cast<int64_t>(count) & 3) {
    case 0:
      return {sine, cosine};
    case 1:
      return {cosine, -sine};
    case 2:
      return {-sine, -cosine};
    default:
      return {-cosine, sine};
  }
}

}  // namespace weft::kernels
