#include "base/float_state.h"

#include <gtest/gtest.h>

#include <cfenv>
#include <limits>
#include <thread>

namespace weft {
namespace {

constexpr float kSmallest = std::numeric_limits<float>::min();

// Opaque to the compiler, which computes with denormals.
float product(float a, float b) {
  volatile float x = a, y = b;
  return x * y;
}

bool rounds_upwards() { return product(1.0f + 0x1p-23f, 1.0f + 0x1p-23f) > 1.0f + 0x1p-22f; }

TEST(FloatState, AScopeFlushesAndGivesTheOldStateBack) {
  std::thread([] {
    std::fesetround(FE_UPWARD);
    EXPECT_TRUE(rounds_upwards());
    EXPECT_GT(product(kSmallest, 0.5f), 0.0f);
    {
      const PreparedScope scope;
      EXPECT_FALSE(rounds_upwards());
      EXPECT_EQ(product(kSmallest, 0.5f), 0.0f);
      EXPECT_EQ(product(std::numeric_limits<float>::denorm_min(), 0x1p30f), 0.0f);
    }
    EXPECT_TRUE(rounds_upwards());
    EXPECT_GT(product(kSmallest, 0.5f), 0.0f);
  }).join();
}

TEST(FloatState, NormalNumbersAreKept) {
  const PreparedScope scope;
  EXPECT_EQ(product(kSmallest, 1.0f), kSmallest);
  EXPECT_EQ(product(2 * kSmallest, 0.5f), kSmallest);
}

// The one place where families differ: (1 + 2^-23) (1 - 2^-23) 2^-126 rounds up to 2^-126, and Arm
// flushes it before. If this fails, float_state.h is wrong.
TEST(FloatState, TheSliverBelowTheSmallestNumberIsTheFamilys) {
  const PreparedScope scope;
  const float found = product((1.0f + 0x1p-23f) * 0x1p-63f, (1.0f - 0x1p-23f) * 0x1p-63f);
#if defined(__aarch64__)
  EXPECT_EQ(found, 0.0f);
#else
  EXPECT_EQ(found, kSmallest);
#endif
  // Below the sliver both are zero.
  EXPECT_EQ(product((1.0f - 0x1p-23f) * 0x1p-63f, 0x1p-63f), 0.0f);
}

}  // namespace
}  // namespace weft
