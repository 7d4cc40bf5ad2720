// Sums as they travel rounded: how far each type is off, what is never rounded, and what no sum can
// be.
#include "comm/sum_coder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "comm/rounded_sums.h"

namespace weft::comm {
namespace {

struct Expectation {
  SumWire wire;
  int64_t row_bytes;     // of kSums sums
  double largest_error;  // over the sum itself, or over the largest of 32
};
// 70 sums: two groups of 32 and one of 6.
constexpr Expectation kExpectations[] = {
    {SumWire::kF32, 8 + 4 * 70, 0x1p-24},
    {SumWire::kBF16, 8 + 2 * 70, 0x1p-8},
    {SumWire::kQ8, 8 + 70 + 2 * 3, 0.5 * (1 + 0x1p-6) / 127},
};

// What a sum may be compared with: itself, or the largest of those that share its scale.
double magnitude(const SumTable& table, SumWire wire, int64_t row, int64_t i) {
  const int64_t begin = wire == SumWire::kQ8 ? i / 32 * 32 : i;
  const int64_t end = wire == SumWire::kQ8 ? std::min(begin + 32, kSums) : i + 1;
  double largest = 0;
  for (int64_t j = begin; j < end; ++j)
    largest = std::max(largest, std::fabs(static_cast<double>(table.at(row, j))));
  return largest;
}

TEST(SumCoder, RoundsToWhatItSays) {
  for (const auto& [wire, row_bytes, largest_error] : kExpectations) {
    const SumTable exact(20, 3);
    SumTable rounded = exact;
    const SumCoder coder(rounded.rows(), wire);
    EXPECT_EQ(coder.row_bytes(), row_bytes) << name(wire);
    coder.round({0, 20});
    double worst = 0;
    for (int64_t row = 0; row < 20; ++row) {
      EXPECT_EQ(rounded.count(row), exact.count(row));
      for (int64_t i = 0; i < kSums; ++i) {
        const double error = std::fabs(static_cast<double>(rounded.at(row, i) - exact.at(row, i)));
        // A multiple of a scale goes to a whole number.
        const double whole = wire == SumWire::kQ8 ? 0.5 : 0;
        const double limit = largest_error * magnitude(exact, wire, row, i) + whole;
        EXPECT_LE(error, limit * (1 + 1e-6)) << name(wire) << ' ' << row << ' ' << i;
        worst = std::max(worst, limit > 0 ? error / limit : 0);
      }
    }
    EXPECT_GT(worst, 0.5) << "no bound of " << name(wire);
  }
}

// Who reads adds what stays with who wrote: all hold the same.
TEST(SumCoder, WhatIsReadIsWhatIsLeft) {
  for (const auto& [wire, row_bytes, error] : kExpectations) {
    SumTable written(20, 4), read(20, 4), rounded(20, 4);
    std::fill(read.words.begin(), read.words.end(), 0);
    std::vector<std::byte> codes(static_cast<size_t>(20 * row_bytes));
    SumCoder(written.rows(), wire).write({0, 20}, codes.data());
    EXPECT_TRUE(SumCoder(read.rows(), wire).add({0, 20}, codes.data()));
    SumCoder(rounded.rows(), wire).round({0, 20});
    for (int64_t row = 0; row < 20; ++row) {
      EXPECT_EQ(read.count(row), written.count(row));
      for (int64_t i = 0; i < kSums; ++i) {
        EXPECT_EQ(read.at(row, i), written.at(row, i)) << name(wire);
        EXPECT_EQ(rounded.at(row, i), written.at(row, i)) << name(wire);
      }
    }
  }
}

TEST(SumCoder, SmallAndLargestSumsKeepTheirSign) {
  for (const SumWire wire : kRoundedWires) {
    SumTable table(1, 0);
    std::fill(table.words.begin(), table.words.end(), 0);
    table.rows().data[1] = 1;
    table.rows().data[2] = -127;
    table.rows().data[40] = int64_t{1} << 62;
    table.rows().data[41] = -(int64_t{1} << 62);
    SumCoder(table.rows(), wire).round({0, 1});
    EXPECT_EQ(table.at(0, 0), 0);
    EXPECT_EQ(table.at(0, 1), 1);
    EXPECT_EQ(table.at(0, 2), -127);
    EXPECT_GE(table.at(0, 40), int64_t{1} << 61);
    EXPECT_EQ(table.at(0, 41), -table.at(0, 40));
  }
}

// A peer is believed nothing that would not convert.
TEST(SumCoder, RefusesWhatNoSumCanBe) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const float wrong : {nan, std::numeric_limits<float>::infinity(), 0x1p63f, -0x1p100f}) {
    for (const SumWire wire : kRoundedWires) {
      SumTable table(2, 5);
      const SumCoder coder(table.rows(), wire);
      std::vector<std::byte> codes(static_cast<size_t>(coder.num_bytes({0, 2})));
      coder.write({0, 2}, codes.data());
      EXPECT_TRUE(coder.add({0, 2}, codes.data()));
      // The first code of the second row, or the scale of its first sums.
      std::byte* at = codes.data() + coder.row_bytes() + 8;
      const auto bits = std::bit_cast<uint32_t>(wrong);
      const auto high = static_cast<uint16_t>(bits >> 16);
      if (wire == SumWire::kF32)
        std::memcpy(at, &bits, sizeof(bits));
      else
        std::memcpy(at, &high, sizeof(high));
      if (wire == SumWire::kQ8) at[2] = std::byte{127};
      EXPECT_FALSE(coder.add({0, 2}, codes.data())) << name(wire) << ' ' << wrong;
      EXPECT_TRUE(coder.add({0, 1}, codes.data()));
    }
  }
}

}  // namespace
}  // namespace weft::comm
