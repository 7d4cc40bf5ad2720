#include "base/thread_team.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <cfenv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <limits>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/error.h"

namespace weft {
namespace {

class ThreadTeamOfSize : public testing::TestWithParam<int> {};

TEST_P(ThreadTeamOfSize, RunsEveryTileOnceOnAValidThread) {
  ThreadTeam team(GetParam());
  EXPECT_EQ(team.num_threads(), GetParam());
  for (const int64_t num_tiles : {0, 1, 2, 3, 7, 16, 100, 1000}) {
    std::vector<std::atomic<int>> runs(static_cast<size_t>(num_tiles));
    std::atomic<int> bad_threads = 0;
    team.parallel_for(num_tiles, [&](int64_t tile, int thread) {
      if (thread < 0 || thread >= GetParam()) ++bad_threads;
      ++runs[static_cast<size_t>(tile)];
    });
    for (int64_t tile = 0; tile < num_tiles; ++tile)
      ASSERT_EQ(runs[static_cast<size_t>(tile)], 1) << "tile " << tile << " of " << num_tiles;
    EXPECT_EQ(bad_threads, 0);
  }
}

// Plain memory written in one phase is read by other threads in the next and by the leader after
// it: what a missing release or acquire (or ThreadSanitizer) would show.
TEST_P(ThreadTeamOfSize, MakesResultsVisibleToLaterPhasesAndToTheLeader) {
  ThreadTeam team(GetParam());
  constexpr int64_t kTiles = 37;
  std::vector<int64_t> front(kTiles, 0), back(kTiles, 0);
  for (int64_t phase = 0; phase < 500; ++phase) {
    team.parallel_for(kTiles, [&](int64_t tile, int) {
      const auto i = static_cast<size_t>(tile);
      const auto neighbour = static_cast<size_t>((tile + 1) % kTiles);
      back[i] = front[neighbour] + 1;
    });
    for (const int64_t value : back) ASSERT_EQ(value, phase + 1);
    std::swap(front, back);
  }
}

TEST_P(ThreadTeamOfSize, ThreadsAreNeverUsedTwiceAtOnce) {
  ThreadTeam team(GetParam());
  std::vector<std::atomic<int>> inside(static_cast<size_t>(GetParam()));
  std::atomic<int> clashes = 0;
  for (int phase = 0; phase < 200; ++phase) {
    team.parallel_for(64, [&](int64_t, int thread) {
      std::atomic<int>& mine = inside[static_cast<size_t>(thread)];
      if (++mine != 1) ++clashes;
      --mine;
    });
  }
  EXPECT_EQ(clashes, 0);
}

INSTANTIATE_TEST_SUITE_P(Sizes, ThreadTeamOfSize, testing::Values(1, 2, 3, 4, 5, 8, 16),
                         testing::PrintToStringParamName());

// A spin without bound needs a time slice for every hand-over here: minutes instead of seconds.
TEST(ThreadTeam, ManyPhasesFinishQuicklyWhereThreadsOutnumberCores) {
  constexpr int kPhases = 5000;
  ThreadTeam team(8);
  std::atomic<int64_t> sum = 0;
  const int64_t begin = now_ns();
  for (int phase = 0; phase < kPhases; ++phase)
    team.parallel_for(16, [&](int64_t tile, int) { sum += tile; });
  const double seconds = seconds_between(begin, now_ns());
  std::printf("8 threads on %u cores: %d phases of 16 tiles in %.3f s, %.2f us each\n",
              std::thread::hardware_concurrency(), kPhases, seconds, seconds / kPhases * 1e6);
  EXPECT_EQ(sum, int64_t{kPhases} * (16 * 15 / 2));
  EXPECT_LT(seconds, 30.0);
}

void expect_three_sleepers_to_come(int num_threads) {
  ThreadTeam team(num_threads);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));  // long past the spin
    std::atomic<int> arrived = 0;
    // Each tile waits for the others, so all three threads must come.
    team.parallel_for(3, [&](int64_t, int) {
      ++arrived;
      while (arrived < 3) std::this_thread::yield();
    });
    EXPECT_EQ(arrived, 3);
  }
}

TEST(ThreadTeam, SleepingWorkersWakeForTheNextPhase) { expect_three_sleepers_to_come(3); }

// Whichever two of them wake find the tiles.
TEST(ThreadTeam, AnySleepersOfALargeTeamWakeForAFewTiles) { expect_three_sleepers_to_come(16); }

TEST(ThreadTeam, GivesItsLeaderTheCoresBack) {
  cpu_set_t before, during, after;
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  int first = 0;
  while (!CPU_ISSET(first, &before)) ++first;
  {
    ThreadTeam team(1, {first});
    team.pin_leader();
    ASSERT_EQ(sched_getaffinity(0, sizeof(during), &during), 0);
    EXPECT_EQ(CPU_COUNT(&during), 1);
  }
  ASSERT_EQ(sched_getaffinity(0, sizeof(after), &after), 0);
  EXPECT_TRUE(CPU_EQUAL(&before, &after));
}

TEST(ThreadTeam, AnUnequalTileDoesNotHoldTheOthersUp) {
  ThreadTeam team(2);
  std::atomic<int> others = 0;
  // Tile 0 ends only after all others have: a fixed share of tiles would hang.
  team.parallel_for(50, [&](int64_t tile, int) {
    if (tile == 0) {
      while (others < 49) std::this_thread::yield();
    } else {
      ++others;
    }
  });
  EXPECT_EQ(others, 49);
}

TEST(ThreadTeam, MayBeLedByOneThreadAfterAnother) {
  ThreadTeam team(3);
  int64_t total = 0;
  for (int leader = 0; leader < 4; ++leader) {
    std::thread([&] {
      team.pin_leader();
      std::atomic<int64_t> sum = 0;
      for (int phase = 0; phase < 50; ++phase)
        team.parallel_for(10, [&](int64_t tile, int) { sum += tile; });
      total += sum;
    }).join();
  }
  EXPECT_EQ(total, 4 * 50 * 45);
}

int count_wrong_float_modes() {
  int wrong = 0;
  volatile float denormal = std::numeric_limits<float>::denorm_min();
  volatile float smallest = std::numeric_limits<float>::min();
  volatile float one = 1.0f, tiny = 1e-9f;
  if (denormal * one != 0.0f) ++wrong;   // denormals are zero
  if (smallest * 0.5f != 0.0f) ++wrong;  // results flush to zero
  if (one + tiny != 1.0f) ++wrong;       // to nearest, not upwards
  return wrong;
}

TEST(ThreadTeam, EveryThreadFlushesDenormalsAndRoundsToNearest) {
  std::thread([] {
    std::fesetround(FE_UPWARD);
    EXPECT_GT(count_wrong_float_modes(), 0) << "the test could not fail";
    ThreadTeam team(3);  // its threads would inherit the wrong mode
    team.pin_leader();
    std::atomic<int> arrived = 0, wrong = 0;
    team.parallel_for(3, [&](int64_t, int) {
      wrong += count_wrong_float_modes();
      ++arrived;
      while (arrived < 3) std::this_thread::yield();  // all three threads answer
    });
    EXPECT_EQ(wrong, 0);
  }).join();
}

TEST(ThreadTeam, PinsItsThreads) {
  cpu_set_t allowed;
  ASSERT_EQ(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
  int cpu = 0;
  while (!CPU_ISSET(static_cast<size_t>(cpu), &allowed)) ++cpu;
  std::thread([&] {
    ThreadTeam team(2, {cpu, cpu});
    team.pin_leader();
    std::atomic<int> arrived = 0, wrong = 0;
    team.parallel_for(2, [&](int64_t, int) {
      if (sched_getcpu() != cpu) ++wrong;
      ++arrived;
      while (arrived < 2) std::this_thread::yield();
    });
    EXPECT_EQ(wrong, 0);
  }).join();
}

TEST(ThreadTeam, ACpuThatDoesNotExistIsAnErrorThatNamesIt) {
  try {
    ThreadTeam team(2, {0, 1000});
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    EXPECT_NE(error.summary().find("1000"), std::string::npos) << error.summary();
  }
}

TEST(ThreadTeamDeathTest, ABodyThatThrowsEndsTheProgram) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(
      {
        ThreadTeam team(2);
        team.parallel_for(4, [](int64_t, int) { throw std::runtime_error("a bug"); });
      },
      "");
  EXPECT_DEATH(
      {
        ThreadTeam team(1);
        team.parallel_for(4, [](int64_t, int) { throw std::runtime_error("a bug"); });
      },
      "");
}

TEST(ThreadTeamDeathTest, ABodyMustNotCallItsTeam) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(
      {
        ThreadTeam team(2);
        team.parallel_for(2, [&](int64_t, int) { team.parallel_for(1, [](int64_t, int) {}); });
      },
      "called its own team");
}

}  // namespace
}  // namespace weft
