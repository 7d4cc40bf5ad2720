// Accuracy of the project's own functions against libm in long double, in units of the last place.
#include "kernels/double_math.h"
#include "kernels/every_table.h"
#include "kernels/reference_vector.h"

namespace weft::kernels {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// Distance in units of the last place of T at `expected`.
template <typename T>
double ulps(T actual, long double expected) {
  const T rounded = static_cast<T>(expected);
  int exponent = 0;
  std::frexp(rounded, &exponent);
  const long double unit = std::ldexp(1.0L, exponent - std::numeric_limits<T>::digits);
  return static_cast<double>(std::fabs(static_cast<long double>(actual) - expected) / unit);
}

template <typename T, typename Function, typename Oracle>
double worst_ulps(T from, T to, int64_t steps, Function function, Oracle oracle) {
  double worst = 0;
  for (int64_t i = 0; i <= steps; ++i) {
    const T x = from + (to - from) * (static_cast<T>(i) / static_cast<T>(steps));
    worst = std::max(worst, ulps<T>(function(x), oracle(static_cast<long double>(x))));
  }
  return worst;
}

TEST(FloatMath, ExpIsWithin1_02Ulps) {
  const auto oracle = [](long double x) { return std::exp(x); };
  EXPECT_LT(worst_ulps(-87.2f, 88.7f, 2000000, reference::exp_float, oracle), 1.02);
  EXPECT_LT(worst_ulps(-1.0f, 1.0f, 1000000, reference::exp_float, oracle), 1.02);
}

TEST(FloatMath, ExpOfSpecialNumbers) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(bits_of(reference::exp_float(-kInf)), 0u);
  EXPECT_EQ(bits_of(reference::exp_float(-87.4f)), 0u);
  EXPECT_EQ(reference::exp_float(0.0f), 1.0f);
  EXPECT_EQ(reference::exp_float(-0.0f), 1.0f);
  EXPECT_EQ(reference::exp_float(89.0f), kInf);
  EXPECT_TRUE(std::isnan(reference::exp_float(std::nanf(""))));
}

TEST(FloatMath, TanhIsWithinTwoUlps) {
  const auto oracle = [](long double x) { return std::tanh(x); };
  EXPECT_LT(worst_ulps(-10.0f, 10.0f, 2000000, reference::tanh_float, oracle), 2.0);
  EXPECT_LT(worst_ulps(1e-6f, 0.7f, 1000000, reference::tanh_float, oracle), 2.0);
  EXPECT_EQ(reference::tanh_float(100.0f), 1.0f);
  EXPECT_EQ(reference::tanh_float(-100.0f), -1.0f);
  EXPECT_EQ(bits_of(reference::tanh_float(-0.0f)), 0x80000000u);
}

TEST(DoubleMath, ExpIsWithinOneUlp) {
  const auto oracle = [](long double x) { return std::exp(x); };
  EXPECT_LT(worst_ulps(-708.0, 709.7, 500000, exp_double, oracle), 1.0);
  EXPECT_LT(worst_ulps(-1.0, 1.0, 500000, exp_double, oracle), 1.0);
  EXPECT_EQ(exp_double(0.0), 1.0);
  EXPECT_EQ(exp_double(-kInfinity), 0.0);
  EXPECT_EQ(exp_double(-709.0), 0.0);
  EXPECT_EQ(exp_double(710.0), kInfinity);
  EXPECT_TRUE(std::isnan(exp_double(kNaN)));
}

TEST(DoubleMath, LogIsWithinOneUlp) {
  const auto oracle = [](long double x) { return std::log(x); };
  EXPECT_LT(worst_ulps(0.5, 2.5, 500000, log_double, oracle), 1.0);
  EXPECT_LT(worst_ulps(1.0, 1e7, 500000, log_double, oracle), 1.0);
  EXPECT_LT(worst_ulps(1e-300, 1e-290, 100000, log_double, oracle), 1.0);
  EXPECT_EQ(log_double(1.0), 0.0);
  EXPECT_EQ(log_double(0.0), -kInfinity);
  EXPECT_EQ(log_double(kInfinity), kInfinity);
  EXPECT_TRUE(std::isnan(log_double(-1.0)));
  EXPECT_TRUE(std::isnan(log_double(kNaN)));
}

TEST(DoubleMath, SinAndCosAreWithinOneUlp) {
  const auto sine = [](double x) { return sincos_double(x).sin; };
  const auto cosine = [](double x) { return sincos_double(x).cos; };
  const auto sine_oracle = [](long double x) { return std::sin(x); };
  const auto cosine_oracle = [](long double x) { return std::cos(x); };
  for (const double to : {1.0, 10.0, 1e3, 131072.0, 2e6, 2.5e7}) {
    EXPECT_LT(worst_ulps(0.0, to, 300000, sine, sine_oracle), 1.0) << to;
    EXPECT_LT(worst_ulps(-to, to, 300000, cosine, cosine_oracle), 1.0) << to;
  }
}

// Whole numbers are the angles of the first pair; the ones nearest to a multiple of pi / 2 lose
// most bits in the reduction: 355 and 103993 are numerators of pi's continued fraction.
TEST(DoubleMath, AnglesNearMultiplesOfHalfPi) {
  for (const double x : {11.0, 22.0, 355.0, 710.0, 103993.0, 104348.0, 208341.0, 312689.0, 833719.0,
                         1146408.0, 4272943.0, 5419351.0}) {
    const SinCos turn = sincos_double(x);
    EXPECT_LT(ulps<double>(turn.sin, std::sin(static_cast<long double>(x))), 1.5) << x;
    EXPECT_LT(ulps<double>(turn.cos, std::cos(static_cast<long double>(x))), 1.5) << x;
  }
  for (int64_t position = 0; position < 131072; ++position) {
    const auto x = static_cast<long double>(position);
    const SinCos turn = sincos_double(static_cast<double>(position));
    ASSERT_LT(ulps<double>(turn.sin, std::sin(x)), 1.0) << position;
    ASSERT_LT(ulps<double>(turn.cos, std::cos(x)), 1.0) << position;
  }
}

TEST(DoubleMath, AnglesOutOfRangeAreNan) {
  EXPECT_TRUE(std::isnan(sincos_double(1e9).sin));
  EXPECT_TRUE(std::isnan(sincos_double(kInfinity).cos));
  EXPECT_TRUE(std::isnan(sincos_double(kNaN).cos));
}

}  // namespace
}  // namespace weft::kernels
