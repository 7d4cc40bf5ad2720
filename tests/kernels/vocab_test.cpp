#include <algorithm>
#include <limits>

#include "kernels/every_table.h"
#include "kernels/reference_vector.h"

namespace weft::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr int64_t kSizes[] = {1, 5, 16, 17, 100, 1024, 1025, 5003, 49152};

// Many equal logits, some masked ones, a few NaN.
std::vector<float> logits_with_ties(int64_t n, uint32_t seed) {
  Random random(seed);
  std::vector<float> all = random.numbers(n, 4.0f);
  for (float& x : all) {
    const int64_t pick = random.below(100);
    if (pick < 50) x = std::round(x);
    if (pick == 50) x = -kInfinity;
    if (pick == 51) x = kNaN;
    if (pick == 52) x = -0.0f;
  }
  return all;
}

float largest(const std::vector<float>& logits) {
  float max = -kInfinity;
  for (const float x : logits) max = x > max ? x : max;
  return max;
}

void expect_same_candidates(const std::vector<float>& logits, int32_t first_id, int k) {
  const auto n = static_cast<int64_t>(logits.size());
  std::vector<Candidate> expected(static_cast<size_t>(k) + 1, {5.0f, 77}), start = expected;
  int64_t expected_nan = -1;
  reference::top_k(logits.data(), n, first_id, k, expected.data(), &expected_nan);
  for (const KernelTable* table : every_table()) {
    std::vector<Candidate> actual = start;
    int64_t num_nan = -1;
    table->top_k(logits.data(), n, first_id, k, actual.data(), &num_nan);
    EXPECT_EQ(num_nan, expected_nan);
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_EQ(actual[i].id, expected[i].id) << table->name << " n " << n << " place " << i;
      ASSERT_EQ(bits_of(actual[i].logit), bits_of(expected[i].logit)) << table->name;
    }
  }
}

TEST(TopK, IsTheReference) {
  for (const int64_t n : kSizes)
    for (const int k : {0, 1, 2, 20, 128}) expect_same_candidates(logits_with_ties(n, 1), 1000, k);
}

TEST(TopK, OfHardOrders) {
  std::vector<float> rising(3000), falling(3000), equal(3000, 1.5f), masked(3000, -kInfinity);
  for (size_t i = 0; i < rising.size(); ++i) {
    rising[i] = static_cast<float>(i);
    falling[i] = -static_cast<float>(i);
  }
  const std::vector<float> nan(3000, kNaN);
  for (const auto& logits : {rising, falling, equal, masked, nan})
    for (const int k : {1, 7, 64}) expect_same_candidates(logits, 0, k);
}

// A cut of the vocabulary never shows: the best of the parts' best are the best.
TEST(TopK, MergesAcrossCuts) {
  const std::vector<float> logits = logits_with_ties(5003, 9);
  const KernelTable& table = *every_table().back();
  const int k = 40;
  int64_t nan = 0;
  std::vector<Candidate> whole(k), merged;
  table.top_k(logits.data(), 5003, 0, k, whole.data(), &nan);
  for (int64_t part = 0; part < 7; ++part) {
    const Range ids = equal_part({0, 5003}, part, 7);
    std::vector<Candidate> best(k);
    table.top_k(logits.data() + ids.begin, ids.size(), static_cast<int32_t>(ids.begin), k,
                best.data(), &nan);
    merged.insert(merged.end(), best.begin(), best.end());
  }
  std::sort(merged.begin(), merged.end(), better);
  for (size_t i = 0; i < whole.size(); ++i) EXPECT_EQ(merged[i].id, whole[i].id);
}

TEST(ExpSum, IsTheReferenceAndAddsUpOverCuts) {
  for (const int64_t n : kSizes)
    for (const float inv_temperature : {1.0f, 0.5f, 7.0f}) {
      const std::vector<float> logits = logits_with_ties(n, 2);
      const float max = largest(logits);
      const int64_t expected = reference::exp_sum(logits.data(), n, max, inv_temperature);
      for (const KernelTable* table : every_table()) {
        EXPECT_EQ(table->exp_sum(logits.data(), n, max, inv_temperature), expected) << table->name;
        int64_t sum = 0;
        for (int64_t part = 0; part < 3; ++part) {
          const Range ids = equal_part({0, n}, part, 3);
          sum += table->exp_sum(logits.data() + ids.begin, ids.size(), max, inv_temperature);
        }
        EXPECT_EQ(sum, expected) << table->name;
      }
    }
}

TEST(ExpSum, OfKnownNumbers) {
  const float logits[] = {2.0f, 2.0f, -kInfinity, kNaN, 1.0f, 3.0f, -500.0f};
  const auto one = int64_t{1} << 40;
  for (const KernelTable* table : every_table()) {
    EXPECT_EQ(table->exp_sum(logits, 2, 2.0f, 1.0f), 2 * one);
    EXPECT_EQ(table->exp_sum(logits + 2, 2, 2.0f, 1.0f), 0);
    EXPECT_EQ(table->exp_sum(logits + 6, 1, 2.0f, 1.0f), 0);
    EXPECT_EQ(table->exp_sum(logits + 5, 1, 2.0f, 1.0f), one);  // above the maximum: as if at it
    EXPECT_NEAR(static_cast<double>(table->exp_sum(logits + 4, 1, 2.0f, 1.0f)),
                std::exp(-1.0) * 0x1p40, 0x1p40 * 6e-8);
    EXPECT_EQ(table->exp_sum(logits, 0, 2.0f, 1.0f), 0);
  }
}

TEST(ExpSum, IsCloseToTheSoftmaxSum) {
  const std::vector<float> logits = Random(4).numbers(49152, 3.0f);
  const float max = largest(logits);
  double expected = 0;
  for (const float x : logits) expected += std::exp((static_cast<double>(x) - max) * 0.7);
  for (const KernelTable* table : every_table())
    EXPECT_NEAR(static_cast<double>(table->exp_sum(logits.data(), 49152, max, 0.7f)) * 0x1p-40,
                expected, 1e-6 * expected);
}

TEST(Locate, IsTheReference) {
  for (const int64_t n : kSizes) {
    const std::vector<float> logits = logits_with_ties(n, 3);
    const float max = largest(logits);
    const int64_t sum = reference::exp_sum(logits.data(), n, max, 1.0f);
    Random random(5);
    for (int i = 0; i < 20; ++i) {
      const int64_t target = i == 0 ? 0 : i == 1 ? sum - 1 : i == 2 ? sum : random.below(sum + 1);
      const int64_t expected = reference::locate(logits.data(), n, max, 1.0f, target);
      for (const KernelTable* table : every_table())
        EXPECT_EQ(table->locate(logits.data(), n, max, 1.0f, target), expected) << table->name;
      EXPECT_EQ(expected == n, target >= sum);
    }
  }
}

TEST(HashLogits, IsTheReferenceAndAddsUpOverCuts) {
  const std::vector<float> logits = logits_with_ties(5003, 6);
  const uint64_t expected = reference::hash_logits(logits.data(), 5003, 17, 64);
  for (const KernelTable* table : every_table()) {
    EXPECT_EQ(table->hash_logits(logits.data(), 5003, 17, 64), expected);
    uint64_t sum = 0;
    for (int64_t part = 0; part < 5; ++part) {
      const Range ids = equal_part({0, 5003}, part, 5);
      sum += table->hash_logits(logits.data() + ids.begin, ids.size(), 17,
                                static_cast<int32_t>(64 + ids.begin));
    }
    EXPECT_EQ(sum, expected) << table->name;
  }
}

TEST(HashLogits, SeesEveryBitPlaceAndPosition) {
  std::vector<float> logits = Random(7).numbers(100);
  const KernelTable& table = *every_table().back();
  const uint64_t hash = table.hash_logits(logits.data(), 100, 3, 0);
  EXPECT_NE(table.hash_logits(logits.data(), 100, 4, 0), hash);
  EXPECT_NE(table.hash_logits(logits.data(), 100, 3, 1), hash);
  std::swap(logits[10], logits[11]);
  EXPECT_NE(table.hash_logits(logits.data(), 100, 3, 0), hash);
  std::swap(logits[10], logits[11]);
  logits[99] = std::bit_cast<float>(std::bit_cast<uint32_t>(logits[99]) ^ 1u);
  EXPECT_NE(table.hash_logits(logits.data(), 100, 3, 0), hash);
}

}  // namespace
}  // namespace weft::kernels
