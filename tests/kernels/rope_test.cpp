#include "kernels/every_table.h"
#include "kernels/reference_vector.h"

namespace weft::kernels {
namespace {

std::vector<double> frequencies(double base, int64_t rotary_dim) {
  std::vector<double> all;
  for (int64_t i = 0; i < rotary_dim / 2; ++i) all.push_back(rope_inv_freq(base, i, rotary_dim));
  return all;
}

TEST(RopeTable, FrequenciesAreThePowers) {
  for (const double base : {10000.0, 1000000.0, 500000.0})
    for (int64_t i = 0; i < 64; ++i) {
      const double expected = std::pow(base, -2.0 * static_cast<double>(i) / 128.0);
      EXPECT_NEAR(rope_inv_freq(base, i, 128), expected, 4e-15 * expected);
    }
}

TEST(RopeTable, HoldsCosThenSinOfEveryPosition) {
  const std::vector<double> inv_freq = frequencies(10000.0, 80);
  const auto num_pairs = static_cast<int64_t>(inv_freq.size());
  std::vector<float> data(static_cast<size_t>(500 * 2 * num_pairs));
  rope_table(inv_freq, 1.25, 500, data.data());
  const RopeTable table{data.data(), num_pairs};
  for (int64_t position = 0; position < 500; ++position)
    for (int64_t i = 0; i < num_pairs; ++i) {
      const long double angle = static_cast<double>(position) * inv_freq[static_cast<size_t>(i)];
      EXPECT_NEAR(table.cos_of(position)[i], 1.25L * std::cos(angle), 1e-7);
      EXPECT_NEAR(table.sin_of(position)[i], 1.25L * std::sin(angle), 1e-7);
    }
}

struct RopeCase {
  int64_t num_heads, head_dim, num_pairs;
};

TEST(Rope, IsTheReference) {
  for (const RopeCase& c :
       {RopeCase{1, 2, 1}, RopeCase{3, 40, 20}, RopeCase{9, 64, 32}, RopeCase{2, 80, 40},
        RopeCase{5, 96, 24}, RopeCase{4, 128, 64}, RopeCase{1, 256, 128}, RopeCase{2, 50, 19}})
    for (const RopeLayout layout : {RopeLayout::kHalves, RopeLayout::kInterleaved}) {
      const std::vector<float> angles = Random(3).numbers(2 * c.num_pairs);
      std::vector<float> start = Random(4).numbers(c.num_heads * c.head_dim);
      start.resize(start.size() + 16, 7.0f);
      std::vector<float> expected = start;
      const float* cos = angles.data();
      const float* sin = cos + c.num_pairs;
      reference::rope(expected.data(), c.num_heads, c.head_dim, cos, sin, c.num_pairs, layout);
      EXPECT_FALSE(same_bits(start, expected));
      for (const KernelTable* table : every_table()) {
        std::vector<float> actual = start;
        table->rope(actual.data(), c.num_heads, c.head_dim, cos, sin, c.num_pairs, layout);
        EXPECT_TRUE(same_bits(expected, actual)) << table->name << " head_dim " << c.head_dim;
      }
    }
}

// The dot product of two rotated vectors depends on the distance of their positions alone.
TEST(Rope, TurnsByTheDistance) {
  const std::vector<double> inv_freq = frequencies(10000.0, 64);
  std::vector<float> data(300 * 2 * 32);
  rope_table(inv_freq, 1.0, 300, data.data());
  const RopeTable turns{data.data(), 32};
  const KernelTable& table = *every_table().back();
  for (const RopeLayout layout : {RopeLayout::kHalves, RopeLayout::kInterleaved}) {
    const auto product = [&](int64_t p, int64_t q) {
      std::vector<float> a = Random(1).numbers(64), b = Random(2).numbers(64);
      table.rope(a.data(), 1, 64, turns.cos_of(p), turns.sin_of(p), 32, layout);
      table.rope(b.data(), 1, 64, turns.cos_of(q), turns.sin_of(q), 32, layout);
      double sum = 0;
      for (size_t i = 0; i < 64; ++i) sum += static_cast<double>(a[i]) * b[i];
      return sum;
    };
    EXPECT_NEAR(product(5, 17), product(250, 262), 1e-4);
    EXPECT_GT(std::fabs(product(5, 17) - product(5, 18)), 1e-3);
  }
}

}  // namespace
}  // namespace weft::kernels
