#include <algorithm>
#include <array>
#include <limits>

#include "kernels/every_table.h"
#include "kernels/reference_vector.h"

namespace weft::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int32_t kFirstId = 4096;

// Ties, both zeros, denormals, and logits that are forbidden already.
std::vector<float> hard_logits(int64_t n, Random& random) {
  std::vector<float> all = random.numbers(n, 3.0f);
  for (float& x : all) {
    const int64_t pick = random.below(60);
    if (pick < 20) x = std::round(x);
    if (pick == 20) x = -kInfinity;
    if (pick == 21) x = -0.0f;
    if (pick == 22) x = 0.0f;
    if (pick == 23) x = 1e-41f;
  }
  return all;
}

KeptIds random_kept(const std::vector<float>& logits, Random& random) {
  KeptIds kept;
  kept.max = *std::max_element(logits.begin(), logits.end());
  kept.inv_temperature = std::array{0.1f, 1.0f, 3.0f}[static_cast<size_t>(random.below(3))];
  const auto n = static_cast<int64_t>(logits.size());
  if (random.below(2) == 0) kept.lowest = -4.0f * static_cast<float>(random.below(5));
  if (random.below(2) == 0) {
    const int64_t at = random.below(n);
    kept.last = {logits[static_cast<size_t>(at)], kFirstId + static_cast<int32_t>(random.below(n))};
  }
  if (random.below(2) == 0) {
    kept.centre = -static_cast<float>(random.below(5));
    const float l = logits[static_cast<size_t>(random.below(n))];
    kept.farthest = std::fabs(std::min(0.0f, (l - kept.max) * kept.inv_temperature) - kept.centre);
    kept.farthest_id = kFirstId + static_cast<int32_t>(random.below(n));
  }
  return kept;
}

constexpr int64_t kSizes[] = {1, 15, 16, 33, 1000, 2049, 5003};

TEST(KeptIds, SumsAreTheReference) {
  Random random(1);
  for (int round = 0; round < 60; ++round) {
    const int64_t n = kSizes[round % std::ssize(kSizes)];
    const std::vector<float> logits = hard_logits(n, random);
    const KeptIds kept = random_kept(logits, random);
    const int64_t sum = reference::kept_sum(logits.data(), n, kFirstId, kept);
    const int64_t moment = reference::kept_moment(logits.data(), n, kFirstId, kept);
    std::vector<int64_t> weights(logits.size()), expected(logits.size());
    reference::weigh(logits.data(), n, kept.max, kept.inv_temperature, expected.data());
    for (const KernelTable* table : every_table()) {
      EXPECT_EQ(table->kept_sum(logits.data(), n, kFirstId, kept), sum) << table->name;
      EXPECT_EQ(table->kept_moment(logits.data(), n, kFirstId, kept), moment) << table->name;
      table->weigh(logits.data(), n, kept.max, kept.inv_temperature, weights.data());
      EXPECT_EQ(weights, expected) << table->name;
      for (int i = 0; i < 8; ++i) {
        const int64_t target = i == 0 ? 0 : i == 1 ? sum : random.below(sum + 1);
        EXPECT_EQ(table->kept_locate(logits.data(), n, kFirstId, kept, target),
                  reference::kept_locate(logits.data(), n, kFirstId, kept, target))
            << table->name;
      }
    }
  }
}

TEST(KeptIds, AllAreKeptWhereNothingIsSaid) {
  Random random(2);
  const std::vector<float> logits = hard_logits(3000, random);
  KeptIds kept;
  kept.max = *std::max_element(logits.begin(), logits.end());
  for (const KernelTable* table : every_table())
    EXPECT_EQ(table->kept_sum(logits.data(), 3000, 0, kept),
              table->exp_sum(logits.data(), 3000, kept.max, 1.0f));
}

// Which is how the rank of a token is counted.
TEST(KeptIds, AtAnInfiniteTemperatureTheirMassIsTheirNumber) {
  Random random(5);
  for (const int64_t n : kSizes) {
    std::vector<float> logits = hard_logits(n, random);
    for (float& x : logits) x = std::max(x, -100.0f);  // what cannot come has no weight
    const auto at = static_cast<size_t>(random.below(n));
    const Candidate last{logits[at], kFirstId + static_cast<int32_t>(at)};
    KeptIds kept;
    kept.max = *std::max_element(logits.begin(), logits.end());
    kept.inv_temperature = 0.0f;
    kept.last = last;
    int64_t count = 0;
    for (int64_t i = 0; i < n; ++i) {
      const Candidate one{logits[static_cast<size_t>(i)], kFirstId + static_cast<int32_t>(i)};
      count += better(last, one) ? 0 : 1;
    }
    EXPECT_EQ(reference::kept_sum(logits.data(), n, kFirstId, kept), count << 40);
    for (const KernelTable* table : every_table())
      EXPECT_EQ(table->kept_sum(logits.data(), n, kFirstId, kept), count << 40) << table->name;
  }
}

// The mean of the logarithm, against a plain sum in double precision.
TEST(KeptMoment, IsCloseToTheEntropy) {
  const std::vector<float> logits = Random(3).numbers(20'000, 2.0f);
  KeptIds kept;
  kept.max = *std::max_element(logits.begin(), logits.end());
  double expected = 0;
  for (const float l : logits) {
    const double s = static_cast<double>(l) - kept.max;
    expected += std::exp(s) * s;
  }
  for (const KernelTable* table : every_table())
    EXPECT_NEAR(static_cast<double>(table->kept_moment(logits.data(), 20'000, 0, kept)) * 0x1p-40,
                expected, 1e-6 * std::fabs(expected));
}

TEST(CountKeys, BinsAreTheReferenceOnEveryLevel) {
  Random random(4);
  for (int round = 0; round < 40; ++round) {
    const int64_t n = kSizes[round % std::ssize(kSizes)];
    const std::vector<float> logits = hard_logits(n, random);
    const KeptIds kept = random_kept(logits, random);
    for (const KeptOrder order : {KeptOrder::kLogit, KeptOrder::kDeviation}) {
      uint64_t key = 0;
      for (int level = 0; level < kNumKeyLevels; ++level) {
        const std::vector<KeyBin> empty(kMostKeyBins, {3, 4});  // bins are added to
        std::vector<KeyBin> expected = empty;
        reference::count_keys(logits.data(), n, kFirstId, kept, order, key, level, expected.data());
        for (const KernelTable* table : every_table()) {
          std::vector<KeyBin> bins = empty;
          table->count_keys(logits.data(), n, kFirstId, kept, order, key, level, bins.data());
          for (size_t b = 0; b < bins.size(); ++b) {
            ASSERT_EQ(bins[b].count, expected[b].count) << table->name << " level " << level;
            ASSERT_EQ(bins[b].mass, expected[b].mass) << table->name << " level " << level;
          }
        }
        const auto largest =
            std::max_element(expected.begin(), expected.end(),
                             [](const KeyBin& a, const KeyBin& b) { return a.count < b.count; });
        key |= static_cast<uint64_t>(largest - expected.begin()) << kKeyLevels[level].shift;
      }
    }
  }
}

TEST(Adjust, IsTheReference) {
  Random random(5);
  for (const int64_t n : kSizes) {
    const std::vector<float> logits = hard_logits(n, random);
    std::vector<TokenAdjustment> all;
    for (int i = 0; i < 300; ++i)
      all.push_back({.id = kFirstId - 5 + static_cast<int32_t>(random.below(n + 10)),
                     .bias = i % 7 == 0 ? -kInfinity : random.number(),
                     .penalty = random.number(),
                     .repeated = static_cast<uint32_t>(random.below(2))});
    const Range ids{kFirstId, kFirstId + n};
    for (const float penalty : {1.3f, 0.5f, 1e-37f}) {
      std::vector<float> expected = logits, expected_before(all.size(), 7.0f);
      reference::adjust(expected.data(), ids, all.data(), std::ssize(all), penalty,
                        expected_before.data());
      for (const KernelTable* table : every_table()) {
        std::vector<float> actual = logits, before(all.size(), 7.0f);
        table->adjust(actual.data(), ids, all.data(), std::ssize(all), penalty, before.data());
        EXPECT_TRUE(same_bits(expected, actual)) << table->name;
        EXPECT_TRUE(same_bits(expected_before, before)) << table->name;
      }
      EXPECT_LT(*std::max_element(expected.begin(), expected.end()), kInfinity);
    }
  }
}

TEST(Forbid, IsTheReference) {
  Random random(6);
  for (const int64_t n : kSizes) {
    const std::vector<float> logits = hard_logits(n, random);
    std::vector<uint32_t> mask(static_cast<size_t>(ceil_div(n, 32)));
    for (uint32_t& word : mask) {
      const int64_t kind = random.below(4);
      word = kind == 0   ? 0
             : kind == 1 ? ~0u
                         : static_cast<uint32_t>(random.below(int64_t{1} << 32));
    }
    std::vector<float> expected = logits;
    reference::forbid(expected.data(), n, mask.data());
    for (const KernelTable* table : every_table()) {
      std::vector<float> actual = logits;
      table->forbid(actual.data(), n, mask.data());
      EXPECT_TRUE(same_bits(expected, actual)) << table->name;
    }
  }
}

}  // namespace
}  // namespace weft::kernels
