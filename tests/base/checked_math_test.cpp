#include "base/checked_math.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

namespace weft {
namespace {

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
constexpr uint64_t kUnsignedMax = std::numeric_limits<uint64_t>::max();

TEST(CheckedMath, GivesWhatFits) {
  EXPECT_EQ(checked_add(kMax - 1, 1), kMax);
  EXPECT_EQ(checked_sub(kMin + 1, 1), kMin);
  EXPECT_EQ(checked_mul(int64_t{1} << 31, int64_t{1} << 31), int64_t{1} << 62);
  EXPECT_EQ(checked_mul(uint64_t{1} << 32, 0xffffffffu), uint64_t{0xffffffff} << 32);
  EXPECT_EQ(checked_mul(kMin, 1), kMin);
}

TEST(CheckedMath, GivesNothingWhereItDoesNot) {
  EXPECT_FALSE(checked_add(kMax, 1));
  EXPECT_FALSE(checked_add(kUnsignedMax, 1));
  EXPECT_FALSE(checked_sub(kMin, 1));
  EXPECT_FALSE(checked_sub(uint64_t{0}, 1));
  EXPECT_FALSE(checked_mul(int64_t{1} << 32, int64_t{1} << 31));
  EXPECT_FALSE(checked_mul(uint64_t{1} << 32, uint64_t{1} << 32));
  EXPECT_FALSE(checked_mul(kMin, -1));
}

TEST(CheckedMath, CastsValuesNotBits) {
  EXPECT_EQ(checked_cast<int64_t>(uint64_t{7}), 7);
  EXPECT_EQ(checked_cast<uint8_t>(255), 255);
  EXPECT_FALSE(checked_cast<int64_t>(kUnsignedMax));
  EXPECT_FALSE(checked_cast<uint64_t>(-1));
  EXPECT_FALSE(checked_cast<uint8_t>(256));
}

}  // namespace
}  // namespace weft
