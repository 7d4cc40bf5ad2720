#include "cli/workload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace weft::cli {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::Ge;
using ::testing::Lt;

struct Moments {
  double mean = 0, log_deviation = 0;  // the latter of those below the cap's reach: the lower half
  int64_t low = 0, high = 0;
};

Moments moments_of(const std::vector<int64_t>& lengths) {
  Moments found;
  for (const int64_t length : lengths) found.mean += static_cast<double>(length);
  found.mean /= static_cast<double>(lengths.size());
  std::vector<int64_t> sorted = lengths;
  std::sort(sorted.begin(), sorted.end());
  found.low = sorted.front();
  found.high = sorted.back();
  // Of a normal distribution 15.87 % lie one deviation below the median.
  const auto at = [&](double share) {
    return std::log(static_cast<double>(
        sorted[static_cast<size_t>(share * static_cast<double>(sorted.size()))]));
  };
  found.log_deviation = at(0.5) - at(0.1587);
  return found;
}

TEST(Workload, ChatsHaveTheLengthsThatTheySay) {
  std::vector<int64_t> inputs, outputs;
  for (const Lengths& each : chat_lengths(50'000, 3)) {
    inputs.push_back(each.input);
    outputs.push_back(each.output);
  }
  const Moments input = moments_of(inputs), output = moments_of(outputs);
  EXPECT_NEAR(input.mean, 220, 220 * 0.02);
  EXPECT_NEAR(output.mean, 180, 180 * 0.02);
  EXPECT_NEAR(input.log_deviation, 1.0, 0.03);
  EXPECT_NEAR(output.log_deviation, 1.0, 0.03);
  EXPECT_GE(input.low, 1);
  EXPECT_EQ(input.high, 1024);
  EXPECT_EQ(output.high, 1024);
}

TEST(Workload, LengthsFollowFromTheSeed) {
  const auto outputs = [](uint64_t seed) {
    std::vector<int64_t> lengths;
    for (const Lengths& each : chat_lengths(100, seed)) lengths.push_back(each.output);
    return lengths;
  };
  EXPECT_EQ(outputs(1), outputs(1));
  EXPECT_NE(outputs(1), outputs(2));
  const std::vector<Lengths> mixed = chat_lengths(100, 1);
  EXPECT_TRUE(std::any_of(mixed.begin(), mixed.end(),
                          [](const Lengths& each) { return each.input != each.output; }));
}

TEST(Workload, IdsAreOfTheVocabularyAndDiffer) {
  const std::vector<int32_t> ids = random_ids(5000, 1, 2, 300);
  EXPECT_THAT(ids, Each(AllOf(Ge(0), Lt(300))));
  EXPECT_EQ(*std::max_element(ids.begin(), ids.end()), 299);
  EXPECT_EQ(ids, random_ids(5000, 1, 2, 300));
  EXPECT_NE(ids, random_ids(5000, 1, 3, 300));
  EXPECT_NE(ids, random_ids(5000, 2, 2, 300));
}

}  // namespace
}  // namespace weft::cli
