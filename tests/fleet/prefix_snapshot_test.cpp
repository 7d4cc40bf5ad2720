#include "fleet/prefix_snapshot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace weft::fleet {
namespace {

TEST(SaltOwners, RemembersTheLatest) {
  SaltOwners owners;
  EXPECT_EQ(owners.of(1), "");
  owners.note(1, "ann");
  owners.note(2, "bob");
  EXPECT_EQ(owners.of(1), "ann");
  EXPECT_EQ(owners.of(2), "bob");
  owners.note(2, "ben");
  EXPECT_EQ(owners.of(2), "ben");
  for (uint64_t salt = 10; salt < 10 + 2 * SaltOwners::kRemembered; ++salt) {
    if (salt % 100 == 0) owners.note(1, "ann");  // who asks again stays known
    owners.note(salt, "eve");
  }
  EXPECT_EQ(owners.of(1), "ann");
  EXPECT_EQ(owners.of(2), "");
  EXPECT_EQ(owners.of(10 + SaltOwners::kRemembered), "eve");
}

TEST(PrefixWatch, ATreeIsYoungForAWhileAndLongerWhereItWasCostly) {
  PrefixWatch watch;
  EXPECT_EQ(watch.young(0), nullptr);
  const SaltOwners owners;
  const auto cheap = watch.keep({}, owners, 1000, 2000);
  EXPECT_EQ(cheap->made_ns, 1000);
  EXPECT_EQ(watch.young(2000 + PrefixWatch::kYoungNs - 1), cheap);
  EXPECT_EQ(watch.young(2000 + PrefixWatch::kYoungNs), nullptr);
  constexpr int64_t kCost = 100'000'000;
  const auto costly = watch.keep({}, owners, 0, kCost);
  EXPECT_EQ(watch.young(kCost + PrefixWatch::kShare * kCost - 1), costly);
  EXPECT_EQ(watch.young(kCost + PrefixWatch::kShare * kCost), nullptr);
}

TEST(PrefixWatch, NamesWhoseEachPartIs) {
  SaltOwners owners;
  owners.note(7, "ann");
  cache::PrefixOutline outline;
  outline.runs.resize(2);
  outline.runs[0].salt = 7;
  outline.shares = {{3, {}}, {7, {}}};
  PrefixWatch watch;
  const auto tree = watch.keep(outline, owners, 0, 0);
  EXPECT_THAT(tree->run_principals, testing::ElementsAre("ann", ""));
  EXPECT_THAT(tree->share_principals, testing::ElementsAre("", "ann"));
}

}  // namespace
}  // namespace weft::fleet
