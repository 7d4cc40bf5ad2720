#include <limits>

#include "kernels/every_table.h"
#include "kernels/reference_vector.h"

namespace weft::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr int64_t kSizes[] = {1, 2, 15, 16, 17, 31, 40, 64, 100, 576, 1000, 1536};

// Numbers of every size, and the ones where functions change their form.
std::vector<float> hard_numbers(int64_t count, uint32_t seed) {
  const float special[] = {0.0f,   -0.0f,   kNaN,   kInfinity, -kInfinity, 0.625f, -0.625f,
                           -87.3f, -87.4f,  88.72f, 88.73f,    -88.8f,     1e-30f, 3e38f,
                           1e-39f, -1e-39f, 43.65f, 44.4f,     8.0f,       1.0f};
  Random random(seed);
  std::vector<float> all = random.numbers(count, 3.0f);
  for (float& x : all) {
    const int64_t pick = random.below(40);
    if (pick < 20) x = pick % 2 == 0 ? x * 10 : x * 0.01f;
    if (pick == 39) x = special[random.below(std::size(special))];
  }
  return all;
}

// Runs `kernel(table's entry or reference)` on copies and compares the whole buffers, a guard
// behind the last element included.
template <typename Entry, typename Call>
void compare(Entry KernelTable::*entry, Entry reference, const std::vector<float>& input,
             Call call) {
  std::vector<float> expected = input;
  expected.resize(input.size() + 16, 7.0f);
  std::vector<float> start = expected;
  prepare_this_thread();
  call(reference, expected);
  for (const KernelTable* table : every_table()) {
    std::vector<float> actual = start;
    call(table->*entry, actual);
    EXPECT_TRUE(same_bits(expected, actual)) << table->name << " n " << input.size();
  }
}

TEST(VectorKernels, AddIsTheReference) {
  for (const int64_t n : kSizes) {
    const std::vector<float> y = hard_numbers(n, 2);
    compare(&KernelTable::add, &reference::add, hard_numbers(n, 1),
            [&](auto kernel, std::vector<float>& x) { kernel(x.data(), y.data(), n); });
  }
}

TEST(VectorKernels, ScaleIsTheReference) {
  for (const int64_t n : kSizes)
    compare(&KernelTable::scale, &reference::scale, hard_numbers(n, 3),
            [&](auto kernel, std::vector<float>& x) { kernel(x.data(), 0.3f, n); });
}

TEST(VectorKernels, RmsNormIsTheReference) {
  for (const int64_t n : kSizes) {
    const std::vector<float> weight = Random(5).numbers(n);
    const std::vector<float> apart = Random(6).numbers(n);
    for (const bool in_place : {false, true})
      compare(&KernelTable::rms_norm, &reference::rms_norm, Random(4).numbers(n),
              [&](auto kernel, std::vector<float>& x) {
                kernel(in_place ? x.data() : apart.data(), weight.data(), 1e-5f, x.data(), n);
              });
  }
}

TEST(VectorKernels, RmsNormIsTheDefinition) {
  for (const int64_t n : kSizes) {
    const std::vector<float> x = Random(7).numbers(n), weight = Random(8).numbers(n);
    double squares = 0;
    for (const float v : x) squares += static_cast<double>(v) * v;
    const double r = 1.0 / std::sqrt(squares / static_cast<double>(n) + 1e-5);
    for (const KernelTable* table : every_table()) {
      std::vector<float> out(x.size());
      table->rms_norm(x.data(), weight.data(), 1e-5f, out.data(), n);
      for (size_t i = 0; i < x.size(); ++i)
        EXPECT_NEAR(out[i], x[i] * r * weight[i], 1e-5 * std::fabs(x[i] * weight[i]) + 1e-9);
    }
  }
}

TEST(VectorKernels, RmsNormOfNanIsNan) {
  for (const KernelTable* table : every_table()) {
    std::vector<float> x(40, 1.0f), weight(40, 1.0f);
    x[37] = kNaN;
    table->rms_norm(x.data(), weight.data(), 1e-5f, x.data(), 40);
    for (const float v : x) EXPECT_TRUE(std::isnan(v));
  }
}

TEST(VectorKernels, GatesAreTheReference) {
  for (const int64_t n : kSizes) {
    const std::vector<float> up = Random(9).numbers(n);
    const auto call = [&](auto kernel, std::vector<float>& x) { kernel(x.data(), up.data(), n); };
    compare(&KernelTable::silu_mul, &reference::silu_mul, hard_numbers(n, 10), call);
    compare(&KernelTable::gelu_tanh_mul, &reference::gelu_tanh_mul, hard_numbers(n, 11), call);
  }
}

TEST(VectorKernels, GatesAreTheDefinition) {
  std::vector<float> x = Random(12).numbers(4096, 4.0f);
  const std::vector<float> ones(x.size(), 1.0f);
  for (const KernelTable* table : every_table()) {
    std::vector<float> silu = x, gelu = x;
    table->silu_mul(silu.data(), ones.data(), 4096);
    table->gelu_tanh_mul(gelu.data(), ones.data(), 4096);
    for (size_t i = 0; i < x.size(); ++i) {
      const double v = x[i];
      EXPECT_NEAR(silu[i], v / (1 + std::exp(-v)), 3e-7 * std::fabs(v));
      const double inner = std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v);
      EXPECT_NEAR(gelu[i], 0.5 * v * (1 + std::tanh(inner)), 3e-7 * std::fabs(v));
    }
  }
}

TEST(VectorKernels, SoftcapIsTheReference) {
  for (const int64_t n : kSizes)
    compare(&KernelTable::softcap, &reference::softcap, hard_numbers(n, 13),
            [&](auto kernel, std::vector<float>& x) { kernel(x.data(), 30.0f, n); });
}

// A sum or product that depended on the neighbours in its vector would show here.
TEST(VectorKernels, AnElementDependsOnItselfAlone) {
  const std::vector<float> x = hard_numbers(333, 14), up = Random(15).numbers(333);
  for (const KernelTable* table : every_table()) {
    std::vector<float> all = x, single = x;
    table->silu_mul(all.data(), up.data(), 333);
    for (size_t i = 0; i < 333; ++i) table->silu_mul(&single[i], &up[i], 1);
    EXPECT_TRUE(same_bits(all, single)) << table->name;
  }
}

}  // namespace
}  // namespace weft::kernels
