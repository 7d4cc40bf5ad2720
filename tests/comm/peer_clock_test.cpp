#include "comm/peer_clock.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace weft::comm {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

TEST(PeerClock, ATripTellsHowFarItIsAheadToHalfOfItself) {
  const ClockReading reading = reading_of_trip(1000, 1200, 9100);
  EXPECT_EQ(reading.at_ns, 1100);
  EXPECT_EQ(reading.ahead_ns, 8000);
  EXPECT_EQ(reading.error_ns, 100);
  EXPECT_EQ(reading_of_trip(1000, 1200, 500).ahead_ns, -600);
  // Of one machine's clock every trip says that it is ahead by something.
  EXPECT_EQ(reading_of_trip(1000, 1200, 1190).ahead_ns, 0);
  EXPECT_EQ(reading_of_trip(1000, 1200, 1010).ahead_ns, 0);
}

TEST(PeerClock, IsOursUntilItWasRead) {
  const PeerClock clock;
  EXPECT_EQ(clock.ours(123), 123);
  EXPECT_EQ(clock.theirs(123), 123);
  EXPECT_EQ(clock.error_since(0), 0);
}

// One that is a thousandth fast, and was read at 10 and at 20 seconds.
TEST(PeerClock, RunsEvenlyBetweenTwoReadings) {
  PeerClock clock;
  clock.add({10 * kSecond, 5 * kSecond, 300});
  clock.add({20 * kSecond, 5 * kSecond + kSecond / 100, 40});
  for (const int64_t tenths : {100, 125, 150, 199, 200}) {
    const int64_t ours = tenths * kSecond / 10;
    const int64_t theirs = ours + 5 * kSecond + (ours - 10 * kSecond) / 1000;
    EXPECT_LE(std::abs(clock.ours(theirs) - ours), 2) << tenths;
    EXPECT_LE(std::abs(clock.theirs(ours) - theirs), 2) << tenths;
  }
  EXPECT_EQ(clock.ours(14 * kSecond), 9 * kSecond) << "before the first it stays as it was";
  EXPECT_EQ(clock.theirs(9 * kSecond), 14 * kSecond);
  EXPECT_EQ(clock.ours(35 * kSecond + kSecond / 100), 30 * kSecond) << "and after the last";
  EXPECT_EQ(clock.error_since(5 * kSecond), 300);
  EXPECT_EQ(clock.error_since(15 * kSecond), 300);
  EXPECT_EQ(clock.error_since(25 * kSecond), 40);
}

TEST(PeerClock, KeepsTheFirstReadingAndTheLastOnes) {
  PeerClock clock;
  for (int64_t i = 0; i < 100'000; ++i) clock.add({i * kSecond, i, 1});
  const std::vector<ClockReading>& kept = clock.readings();
  EXPECT_LE(kept.size(), PeerClock::kMostReadings);
  EXPECT_GE(kept.size(), PeerClock::kMostReadings / 2);
  EXPECT_EQ(kept.front().at_ns, 0);
  EXPECT_EQ(kept.back().at_ns, 99'999 * kSecond);
  for (size_t i = 1; i < kept.size(); ++i) EXPECT_LT(kept[i - 1].at_ns, kept[i].at_ns);
  for (int64_t i = 0; i < 16; ++i)
    EXPECT_EQ(kept[kept.size() - 1 - static_cast<size_t>(i)].at_ns, (99'999 - i) * kSecond);
}

}  // namespace
}  // namespace weft::comm
