#include "serve/cpu_shares.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "base/cpu.h"

namespace weft::serve {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const std::vector<int> kEight = {0, 1, 2, 3, 8, 9, 10, 11};

TEST(CpuShares, TheNetworkKeepsOffNamedDevices) {
  const CpuShares shares = share_cpus(kEight, {0, 1, 8}, 3, 0, false);
  EXPECT_THAT(shares.ranks, IsEmpty());  // the engine pins them itself
  EXPECT_THAT(shares.network, ElementsAre(2, 3, 9, 10, 11));
  EXPECT_THAT(share_cpus(kEight, kEight, 2, 0, false).network, IsEmpty());
  EXPECT_THAT(share_cpus({0, 1}, {0}, 1, 1, false).network, ElementsAre(1));
}

TEST(CpuShares, WhatTheDivisionLeavesOverIsTheNetworks) {
  const CpuShares three = share_cpus(kEight, {}, 3, 0, false);
  EXPECT_THAT(three.ranks, ElementsAre(0, 1, 2, 3, 8, 9));
  EXPECT_THAT(three.network, ElementsAre(10, 11));
  const CpuShares seven = share_cpus(kEight, {}, 7, 0, false);
  EXPECT_EQ(seven.ranks.size(), 7u);
  EXPECT_THAT(seven.network, ElementsAre(11));
}

TEST(CpuShares, OtherwiseNothingChanges) {
  const auto is_unbound = [](const CpuShares& shares) {
    return shares.ranks.empty() && shares.network.empty();
  };
  EXPECT_TRUE(is_unbound(share_cpus({0, 1}, {}, 2, 0, false)));
  EXPECT_TRUE(is_unbound(share_cpus(kEight, {}, 1, 0, false)));
  EXPECT_TRUE(is_unbound(share_cpus(kEight, {}, 2, 0, false)));
  EXPECT_TRUE(is_unbound(share_cpus(kEight, {}, 3, 1, false)));  // --threads 1
  EXPECT_TRUE(is_unbound(share_cpus(kEight, {}, 3, 0, true)));   // pooled
  EXPECT_TRUE(is_unbound(share_cpus({0, 1}, {}, 3, 0, false)));  // more ranks than cores
  EXPECT_TRUE(is_unbound(share_cpus({}, {}, 1, 0, false)));
}

TEST(CpuShares, AThreadAndThoseItStartsAreBoundForAWhile) {
  const std::vector<int> before = usable_cpus();
  std::vector<int> inside;
  {
    const BoundTo bound({before.back()});
    EXPECT_THAT(usable_cpus(), ElementsAre(before.back()));
    std::thread([&inside] { inside = usable_cpus(); }).join();
  }
  EXPECT_THAT(inside, ElementsAre(before.back()));
  EXPECT_EQ(usable_cpus(), before);
  { const BoundTo nothing({}); }
  EXPECT_EQ(usable_cpus(), before);
}

}  // namespace
}  // namespace weft::serve
