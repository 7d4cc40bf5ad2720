#include "base/random.h"

#include <gtest/gtest.h>

#include <set>

namespace weft {
namespace {

// The known-answer vectors that the authors of Philox publish with their Random123 library.
TEST(Philox, MatchesThePublishedVectors) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (PhiloxBlock{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (PhiloxBlock{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (PhiloxBlock{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(UniformBits, IsThePhiloxBlockOfItsArguments) {
  static_assert(uniform_bits(0, 0, 0) == 0xe169c58d6627e8d5);
  EXPECT_EQ(uniform_bits(0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88),
            0x94fdccebd16cfe09u);
}

TEST(UniformBits, EveryBitOfEveryArgumentCounts) {
  std::set<uint64_t> seen{uniform_bits(0, 0, 0)};
  for (int bit = 0; bit < 64; ++bit) {
    seen.insert(uniform_bits(uint64_t{1} << bit, 0, 0));
    seen.insert(uniform_bits(0, uint64_t{1} << bit, 0));
    seen.insert(uniform_bits(0, 0, uint64_t{1} << bit));
  }
  EXPECT_EQ(seen.size(), 1u + 3 * 64);
}

TEST(UniformBits, IsEven) {
  constexpr int kDraws = 64'000, kBuckets = 64;
  int buckets[kBuckets] = {};
  for (uint64_t position = 0; position < kDraws; ++position)
    ++buckets[uniform_bits(7, 0, position) >> 58];
  double chi_square = 0;
  for (const int count : buckets) chi_square += (count - 1000.0) * (count - 1000.0) / 1000.0;
  EXPECT_LT(chi_square, 110.0);  // 63 degrees of freedom: one in ten thousand lies above
  EXPECT_GT(chi_square, 28.0);   // and one in ten thousand below
}

}  // namespace
}  // namespace weft
