#include "base/activity.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <numeric>
#include <thread>

#include "base/clock.h"

namespace weft {
namespace {

int64_t sum(const ActivityTotals& totals) {
  return std::accumulate(totals.ns.begin(), totals.ns.end(), int64_t{0});
}

void nap(int milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds)); }

TEST(ActivityClock, TimesAddUpToTheWindow) {
  ActivityClock clock;
  const ActivityTotals before = clock.totals();
  clock.enter(Activity::kCompute, 7);
  nap(3);
  clock.enter(Activity::kWaitPeers);
  nap(2);
  clock.enter(Activity::kReduce);
  clock.enter(Activity::kWaitInput);
  const int64_t worked = clock.worked_ns();
  nap(1);
  const ActivityTotals after = clock.totals();  // in the middle of the wait
  EXPECT_EQ(sum(after) - sum(before), after.at_ns - before.at_ns);
  EXPECT_GE(after.of(Activity::kCompute), 3'000'000);
  EXPECT_GE(after.of(Activity::kWaitPeers), 2'000'000);
  EXPECT_GE(after.of(Activity::kWaitInput), 1'000'000);
  EXPECT_EQ(worked, after.of(Activity::kCompute) + after.of(Activity::kWaitPeers) +
                        after.of(Activity::kReduce));
}

TEST(ActivityClock, KeepsTheLastEventsAndCountsTheOthers) {
  ActivityClock clock;
  clock.keep_events(8);
  clock.enter(Activity::kCompute, 1);
  clock.enter(Activity::kCompute, 1);  // goes on
  clock.enter(Activity::kCompute, 2);  // another step
  ActivityClock::Events kept = clock.events();
  ASSERT_EQ(kept.events.size(), 2u);
  EXPECT_EQ(kept.num_dropped, 0);
  EXPECT_EQ(kept.events[1].step, 2u);
  EXPECT_LE(kept.events[0].begin_ns, kept.events[1].begin_ns);
  EXPECT_LE(kept.events[1].begin_ns, kept.end_ns);
  for (uint64_t step = 3; step < 40; ++step) {
    clock.enter(Activity::kWaitInput, step);
    clock.enter(Activity::kCompute, step);
  }
  kept = clock.events();
  ASSERT_EQ(kept.events.size(), 7u);  // one may be half overwritten
  EXPECT_EQ(kept.num_dropped + 7, 2 + 37 * 2);
  EXPECT_EQ(kept.events.back().step, 39u);
  EXPECT_EQ(kept.events.back().activity, Activity::kCompute);
  EXPECT_EQ(kept.events[kept.events.size() - 2].activity, Activity::kWaitInput);
}

TEST(ActivityClock, FindsTheFirstAndTheLastWorkOfAWindow) {
  ActivityClock clock;
  clock.enter(Activity::kCompute);
  nap(1);
  clock.enter(Activity::kNothing);
  const int64_t begin = now_ns();
  clock.begin_window(begin);
  EXPECT_EQ(clock.totals().first_work_ns, 0);
  nap(2);
  clock.enter(Activity::kCompute);
  nap(1);
  clock.enter(Activity::kWaitInput);
  clock.enter(Activity::kReduce);
  clock.enter(Activity::kNothing);
  nap(3);
  const ActivityTotals totals = clock.totals();
  EXPECT_GE(totals.first_work_ns - begin, 2'000'000);
  EXPECT_GE(totals.last_work_ns - totals.first_work_ns, 1'000'000);
  EXPECT_GE(totals.at_ns - totals.last_work_ns, 3'000'000);
}

TEST(ActivityClock, WorkUnderWayBeginsWithTheWindowAndEndsWithIt) {
  ActivityClock clock;
  clock.enter(Activity::kCompute);
  nap(1);
  const int64_t begin = now_ns();
  clock.begin_window(begin);
  nap(1);
  EXPECT_EQ(clock.totals().first_work_ns, begin);
  clock.enter(Activity::kNothing);
  clock.enter(Activity::kCompute);
  const ActivityTotals totals = clock.totals();
  EXPECT_EQ(totals.first_work_ns, begin);
  EXPECT_EQ(totals.last_work_ns, totals.at_ns);
}

// What another thread sees while the rank runs is of one moment. (Also for ThreadSanitizer.)
TEST(ActivityClock, IsReadWhileItRuns) {
  ActivityClock clock;
  clock.keep_events(64);
  const ActivityTotals before = clock.totals();
  std::atomic<bool> stop{false};
  std::thread rank([&] {
    for (uint64_t step = 0; !stop.load(); ++step) {
      for (const Activity a : {Activity::kSchedule, Activity::kCompute, Activity::kWaitPeers,
                               Activity::kReduce, Activity::kWaitSend})
        clock.enter(a, step);
    }
  });
  int64_t last = before.at_ns;
  for (int i = 0; i < 2000; ++i) {
    const ActivityTotals totals = clock.totals();
    ASSERT_EQ(sum(totals) - sum(before), totals.at_ns - before.at_ns);
    ASSERT_GE(totals.at_ns, last);
    last = totals.at_ns;
    const ActivityClock::Events kept = clock.events();
    for (size_t e = 1; e < kept.events.size(); ++e) {
      ASSERT_LE(kept.events[e - 1].begin_ns, kept.events[e].begin_ns);
      ASSERT_LE(kept.events[e - 1].step, kept.events[e].step);
      ASSERT_NE(kept.events[e].activity, kept.events[e - 1].activity);
    }
    clock.begin_window(now_ns());
  }
  stop = true;
  rank.join();
}

}  // namespace
}  // namespace weft
