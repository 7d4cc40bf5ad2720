#include "parallel/partition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include "base/error.h"
#include "parallel/cuts.h"

namespace weft::parallel {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<int64_t> sizes(const std::vector<Range>& ranges) {
  std::vector<int64_t> result;
  for (const Range& range : ranges) result.push_back(range.size());
  return result;
}

double slowest(const std::vector<int64_t>& counts, const std::vector<double>& weights) {
  double result = 0;
  for (size_t r = 0; r < counts.size(); ++r)
    result = std::max(result, static_cast<double>(counts[r]) / weights[r]);
  return result;
}

void expect_tiles_in_order(const std::vector<Range>& ranges, int64_t total) {
  int64_t next = 0;
  for (const Range& range : ranges) {
    EXPECT_EQ(range.begin, next);
    EXPECT_GE(range.end, range.begin);
    next = range.end;
  }
  EXPECT_EQ(next, total);
}

// ---------------------------------------------------------------- units

TEST(PartitionUnits, KnownCuts) {
  EXPECT_THAT(sizes(partition_units(32, ones(3))), ElementsAre(11, 11, 10));
  EXPECT_THAT(sizes(partition_units(9, std::vector<double>{2, 1})), ElementsAre(6, 3));
  EXPECT_THAT(sizes(partition_units(8, std::vector<double>{3, 1})), ElementsAre(6, 2));
  EXPECT_THAT(sizes(partition_units(112, std::vector<double>{896, 272})), ElementsAre(86, 26));
  EXPECT_THAT(sizes(partition_units(2, ones(4))), ElementsAre(1, 1, 0, 0));
  EXPECT_THAT(sizes(partition_units(0, ones(2))), ElementsAre(0, 0));
}

TEST(PartitionUnits, TilesEveryUnitOnceAndIsAsFastAsAnyCut) {
  Dice dice(1);
  for (int round = 0; round < 3000; ++round) {
    const int64_t num_units = dice.roll(0, 12);
    const std::vector<double> weights = dice.weights(dice.roll(1, 4));
    std::vector<double> load;
    if (dice.roll(0, 1) == 1)
      for (size_t r = 0; r < weights.size(); ++r)
        load.push_back(static_cast<double>(dice.roll(0, 9)));
    const std::vector<Range> ranges = partition_units(num_units, weights, load);
    expect_tiles_in_order(ranges, num_units);
    double best = std::numeric_limits<double>::infinity();
    std::vector<int64_t> counts;
    each_composition(num_units, weights.size(), counts, [&](const std::vector<int64_t>& c) {
      best = std::min(best, slowest(c, weights));
    });
    ASSERT_LE(slowest(sizes(ranges), weights), best * (1 + kTolerance)) << "round " << round;
  }
}

TEST(PartitionUnits, LargeCutsTileAndNoCutIsFaster) {
  Dice dice(2);
  for (int round = 0; round < 2000; ++round) {
    const int64_t num_units = dice.roll(1, 5000);
    const std::vector<double> weights = dice.weights(dice.roll(1, 16));
    const std::vector<Range> ranges = partition_units(num_units, weights);
    expect_tiles_in_order(ranges, num_units);
    // Every rank filled to just below the slowest rank's time would leave units over.
    const double time = slowest(sizes(ranges), weights);
    int64_t room = 0;
    for (const double weight : weights)
      room += static_cast<int64_t>(std::ceil(time * weight * (1 - kTolerance))) - 1;
    ASSERT_LT(room, num_units) << "round " << round;
  }
}

TEST(PartitionUnits, KeepsCapsAndIsAsFastAsAnyCutThatKeepsThem) {
  Dice dice(3);
  int impossible = 0;
  for (int round = 0; round < 3000; ++round) {
    const int64_t num_units = dice.roll(0, 10);
    const std::vector<double> weights = dice.weights(dice.roll(1, 4));
    std::vector<int64_t> caps;
    for (size_t r = 0; r < weights.size(); ++r) caps.push_back(dice.roll(-1, 6));
    double best = std::numeric_limits<double>::infinity();
    std::vector<int64_t> counts;
    each_composition(num_units, weights.size(), counts, [&](const std::vector<int64_t>& c) {
      for (size_t r = 0; r < c.size(); ++r)
        if (caps[r] >= 0 && c[r] > caps[r]) return;
      best = std::min(best, slowest(c, weights));
    });
    if (std::isinf(best)) {
      ++impossible;
      EXPECT_THROW(partition_units(num_units, weights, {}, caps), Error);
      continue;
    }
    const std::vector<Range> ranges = partition_units(num_units, weights, {}, caps);
    expect_tiles_in_order(ranges, num_units);
    for (size_t r = 0; r < caps.size(); ++r)
      EXPECT_TRUE(caps[r] < 0 || ranges[r].size() <= caps[r]) << "rank " << r;
    ASSERT_LE(slowest(sizes(ranges), weights), best * (1 + kTolerance)) << "round " << round;
  }
  EXPECT_GT(impossible, 100);
}

TEST(PartitionUnits, ErrorNamesTheCapsAndTheUnits) {
  const std::vector<int64_t> caps = {3, 4};
  try {
    partition_units(9, ones(2), {}, caps);
    FAIL() << "9 units fit under caps of 3 and 4";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kMemory);
    EXPECT_THAT(error.summary(), HasSubstr("2 of 9 units"));
    EXPECT_THAT(error.why(), HasSubstr("[3, 4]"));
  }
}

TEST(PartitionUnits, RemainderRotatesOverLayers) {
  Dice dice(4);
  for (int round = 0; round < 300; ++round) {
    const int64_t num_units = dice.roll(1, 60), num_ranks = dice.roll(1, 16);
    const int64_t num_layers = dice.roll(1, 80);
    const std::vector<double> weights = ones(num_ranks);
    std::vector<double> load(weights.size(), 0.0);
    for (int64_t layer = 0; layer < num_layers; ++layer) {
      const std::vector<Range> ranges = partition_units(num_units, weights, load);
      for (size_t r = 0; r < load.size(); ++r) load[r] += static_cast<double>(ranges[r].size());
    }
    const double ideal =
        static_cast<double>(num_units * num_layers) / static_cast<double>(num_ranks);
    for (const double total : load) ASSERT_LT(std::abs(total - ideal), 1.0);
  }
}

TEST(PartitionUnits, TiesUnderUnequalWeightsFollowTheLoadInProportion) {
  // Two units on 2:1:1: one goes to rank 0, the other is a tie between all three.
  const std::vector<double> weights = {2, 1, 1};
  std::vector<double> load(3, 0.0);
  for (int layer = 0; layer < 40; ++layer) {
    const std::vector<Range> ranges = partition_units(2, weights, load);
    for (size_t r = 0; r < 3; ++r) load[r] += static_cast<double>(ranges[r].size());
  }
  EXPECT_NEAR(load[0], 40, 2);
  EXPECT_NEAR(load[1], 20, 2);
  EXPECT_NEAR(load[2], 20, 2);
}

TEST(PartitionUnitsDeathTest, RefusesWeightsThatAreNotPositive) {
  EXPECT_DEATH(partition_units(3, std::vector<double>{1, 0}), "weight 0");
  EXPECT_DEATH(partition_units(3, std::vector<double>{}), "at least one rank");
}

// ---------------------------------------------------------------- FFN and vocabulary

TEST(FfnUnits, FollowTheDesign) {
  EXPECT_EQ(ffn_unit_size(1000), 128);  // under 2,048
  EXPECT_EQ(ffn_unit_size(1536), 128);
  EXPECT_EQ(ffn_unit_size(2047), 128);
  EXPECT_EQ(ffn_unit_size(2048), 64);   // exactly 32 of them
  EXPECT_EQ(ffn_unit_size(3968), 64);   // 31 of 128
  EXPECT_EQ(ffn_unit_size(3969), 128);  // 32 of 128, the last of 1
  EXPECT_EQ(ffn_unit_size(4864), 128);
  EXPECT_EQ(ffn_unit_size(7936), 128);  // 31 of 256
  EXPECT_EQ(ffn_unit_size(7937), 256);
  EXPECT_EQ(ffn_unit_size(14336), 256);
  EXPECT_EQ(ffn_unit_size(29568), 256);
  EXPECT_EQ(ffn_units(1536).size(), 12u);
  EXPECT_EQ(ffn_units(1000).size(), 8u);
  EXPECT_EQ(ffn_units(1000).back(), (Range{896, 1000}));
  EXPECT_EQ(ffn_units(1).back(), (Range{0, 1}));
}

TEST(FfnUnits, TileEverySizeWithAtLeastThirtyTwoUnitsWhereTheyShould) {
  for (int64_t ffn_size = 1; ffn_size <= 40000; ++ffn_size) {
    const std::vector<Range> units = ffn_units(ffn_size);
    ASSERT_EQ(units.front().begin, 0);
    ASSERT_EQ(units.back().end, ffn_size);
    for (size_t i = 0; i + 1 < units.size(); ++i) {
      ASSERT_EQ(units[i].end, units[i + 1].begin);
      ASSERT_EQ(units[i].size(), ffn_unit_size(ffn_size));
    }
    ASSERT_FALSE(units.back().empty());
    if (ffn_size >= 2048) {
      ASSERT_GE(units.size(), 32u);
      // The next larger unit would leave fewer, unless 256 is reached.
      if (ffn_unit_size(ffn_size) < 256) {
        ASSERT_LT(ceil_div(ffn_size, 2 * ffn_unit_size(ffn_size)), 32);
      }
    }
  }
}

TEST(CutVocabulary, TilesInGroupsOfThirtyTwo) {
  Dice dice(6);
  for (int round = 0; round < 2000; ++round) {
    const int64_t vocab_size = dice.roll(1, 4000);
    const std::vector<double> weights = dice.weights(dice.roll(1, 16));
    const std::vector<Range> rows = cut_vocabulary(vocab_size, weights);
    ASSERT_EQ(rows.size(), weights.size());
    expect_tiles_in_order(rows, vocab_size);
    for (const Range& range : rows) {
      EXPECT_TRUE(range.begin == vocab_size || range.begin % 32 == 0);
      EXPECT_TRUE(range.end == vocab_size || range.end % 32 == 0);
    }
  }
}

TEST(CutVocabulary, KnownCuts) {
  EXPECT_THAT(cut_vocabulary(49152, ones(3)),
              ElementsAre(Range{0, 16384}, Range{16384, 32768}, Range{32768, 49152}));
  EXPECT_THAT(cut_vocabulary(33, ones(3)), ElementsAre(Range{0, 32}, Range{32, 33}, Range{33, 33}));
}

// ---------------------------------------------------------------- layers

double slowest_stage(const std::vector<int64_t>& layers, const std::vector<int64_t>& widths,
                     double embedding, double head, double* sum_of_squares) {
  double result = 0;
  *sum_of_squares = 0;
  for (size_t s = 0; s < layers.size(); ++s) {
    double work = static_cast<double>(layers[s]);
    if (s == 0) work += embedding;
    if (s + 1 == layers.size()) work += head;
    const double time = work / static_cast<double>(widths[s]);
    result = std::max(result, time);
    *sum_of_squares += time * time;
  }
  return result;
}

std::vector<int64_t> equal_widths(int64_t n) {
  return std::vector<int64_t>(static_cast<size_t>(n), 1);
}

TEST(BalanceLayers, KnownSplitsWithTheHeadCounted) {
  EXPECT_THAT(balance_layers(30, equal_widths(2), 0, 8.0), ElementsAre(19, 11));
  EXPECT_THAT(balance_layers(30, equal_widths(3), 0, 8.0), ElementsAre(13, 13, 4));
  EXPECT_THAT(balance_layers(24, equal_widths(2), 0, 9.1), ElementsAre(17, 7));
  EXPECT_THAT(balance_layers(24, equal_widths(3), 0, 9.1), ElementsAre(11, 11, 2));
  EXPECT_THAT(balance_layers(32, equal_widths(2), 0, 2.4), ElementsAre(17, 15));
  EXPECT_THAT(balance_layers(32, equal_widths(4), 0, 2.4), ElementsAre(9, 9, 8, 6));
  EXPECT_THAT(balance_layers(10, equal_widths(3), 0, 0), ElementsAre(4, 3, 3));
  EXPECT_THAT(balance_layers(10, equal_widths(1), 3, 4), ElementsAre(10));
  EXPECT_THAT(balance_layers(12, std::vector<int64_t>{1, 3, 2}, 0, 0), ElementsAre(2, 6, 4));
}

TEST(BalanceLayers, IntervalsAreCompleteForEveryNumberOfStages) {
  for (int64_t num_layers = 1; num_layers <= 128; ++num_layers)
    for (int64_t num_stages = 1; num_stages <= num_layers; ++num_stages) {
      const std::vector<int64_t> counts =
          balance_layers(num_layers, equal_widths(num_stages), 0.5, 2.5);
      ASSERT_EQ(static_cast<int64_t>(counts.size()), num_stages);
      ASSERT_EQ(std::accumulate(counts.begin(), counts.end(), int64_t{0}), num_layers);
      ASSERT_GE(*std::min_element(counts.begin(), counts.end()), 1)
          << num_layers << " layers over " << num_stages;
    }
}

TEST(BalanceLayers, IsAsGoodAsEverySplitTried) {
  Dice dice(7);
  for (int round = 0; round < 1500; ++round) {
    const int64_t num_layers = dice.roll(1, 12);
    std::vector<int64_t> widths(
        static_cast<size_t>(dice.roll(1, std::min<int64_t>(4, num_layers))));
    for (int64_t& width : widths) width = dice.roll(1, 4);
    const double embedding = static_cast<double>(dice.roll(0, 6)) / 4.0;
    const double head = static_cast<double>(dice.roll(0, 40)) / 4.0;
    double best = std::numeric_limits<double>::infinity(), least_squares = best;
    std::vector<int64_t> counts;
    each_composition(num_layers, widths.size(), counts, [&](const std::vector<int64_t>& c) {
      if (*std::min_element(c.begin(), c.end()) < 1) return;
      double squares = 0;
      const double time = slowest_stage(c, widths, embedding, head, &squares);
      if (time < best * (1 - kTolerance) ||
          (time <= best * (1 + kTolerance) && squares < least_squares)) {
        best = time;
        least_squares = squares;
      }
    });
    double squares = 0;
    const std::vector<int64_t> got = balance_layers(num_layers, widths, embedding, head);
    ASSERT_LE(slowest_stage(got, widths, embedding, head, &squares), best * (1 + kTolerance));
    ASSERT_LE(squares, least_squares * (1 + 1e-6));
  }
}

TEST(BalanceLayers, OneStageMoreThanLayersHoldsTheHeadAlone) {
  EXPECT_THAT(balance_layers(3, equal_widths(4), 0, 5), ElementsAre(1, 1, 1, 0));
  try {
    balance_layers(3, equal_widths(5), 0, 5);
    FAIL() << "five stages for three layers";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    EXPECT_THAT(error.summary(), HasSubstr("5 stages"));
    EXPECT_THAT(error.summary(), HasSubstr("3 layers"));
  }
}

// ---------------------------------------------------------------- imbalance

TEST(Imbalance, IsTheSlowestRankOverThePerfectOne) {
  EXPECT_DOUBLE_EQ(imbalance(std::vector<double>{5, 4}, ones(2)), 10.0 / 9.0);
  EXPECT_DOUBLE_EQ(imbalance(std::vector<double>{6, 3}, std::vector<double>{2, 1}), 1.0);
  EXPECT_DOUBLE_EQ(imbalance(std::vector<double>{3, 3, 2, 2, 2}, ones(5)), 1.25);
  EXPECT_DOUBLE_EQ(imbalance(std::vector<double>{0, 0}, ones(2)), 1.0);
}

}  // namespace
}  // namespace weft::parallel
