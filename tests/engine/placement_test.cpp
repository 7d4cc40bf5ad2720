#include "engine/placement.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace weft::engine {
namespace {

using Cpus = std::vector<int>;

EngineOptions threads(int per_rank, Placement placement = Placement::kAuto) {
  EngineOptions options;
  options.threads_per_rank = per_rank;
  options.placement = placement;
  return options;
}

TEST(Placement, WhoTakesEveryCoreKeepsThem) {
  const PlacementPlan one = place_ranks(1, threads(4), {0, 1, 2, 3}, {});
  ASSERT_EQ(one.workers.size(), 1u);
  EXPECT_EQ(one.workers[0].cpus, (Cpus{0, 1, 2, 3}));
  const PlacementPlan two = place_ranks(2, threads(0), {0, 1, 2, 3}, {});
  ASSERT_EQ(two.workers.size(), 2u);
  EXPECT_EQ(two.workers[0].cpus, (Cpus{0, 1}));
  EXPECT_EQ(two.workers[1].cpus, (Cpus{2, 3}));
  EXPECT_TRUE(two.warnings.empty());
}

// Two programs of one thread must not meet on the first core.
TEST(Placement, FewerThreadsThanCoresGoWhereTheSystemSendsThem) {
  for (const int num_ranks : {1, 2, 3}) {
    const PlacementPlan plan = place_ranks(num_ranks, threads(1), {0, 1, 2, 3}, {});
    ASSERT_EQ(plan.workers.size(), static_cast<size_t>(num_ranks));
    for (const WorkerPlace& worker : plan.workers) EXPECT_TRUE(worker.cpus.empty());
  }
}

TEST(Placement, NamedDevicesAreKept) {
  const PlacementPlan plan = place_ranks(2, threads(1), {0, 1, 2, 3}, {{3}, {1}});
  ASSERT_EQ(plan.workers.size(), 2u);
  EXPECT_EQ(plan.workers[0].cpus, Cpus{3});
  EXPECT_EQ(plan.workers[1].cpus, Cpus{1});
  EXPECT_THROW(place_ranks(3, threads(1), {0, 1, 2, 3}, {{3}, {1}}), Error);
}

TEST(Placement, RanksBeyondTheCoresShareOnePool) {
  const PlacementPlan plan = place_ranks(5, threads(1), {0, 1}, {});
  EXPECT_TRUE(plan.pooled);
  ASSERT_EQ(plan.workers.size(), 1u);
  EXPECT_EQ(plan.workers[0].num_threads, 2);
  EXPECT_EQ(plan.warnings.size(), 1u);
  const PlacementPlan dedicated = place_ranks(5, threads(1, Placement::kDedicated), {0, 1}, {});
  ASSERT_EQ(dedicated.workers.size(), 5u);
  for (const WorkerPlace& worker : dedicated.workers) EXPECT_TRUE(worker.cpus.empty());
}

}  // namespace
}  // namespace weft::engine
