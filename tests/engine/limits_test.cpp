// What the free memory is planned for.
#include "engine/limits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace weft::engine {
namespace {

constexpr int64_t kContext = 4096;
constexpr int64_t kMoreThanAnyMachineHas = int64_t{1} << 60;

SplitReport one_rank() {
  SplitReport split;
  split.ranks.resize(1);
  split.kv_groups = {{.num_layers = 1, .bytes_per_token = 64}};
  return split;
}

std::string refusal(const SplitReport& split, const EngineOptions& options) {
  try {
    choose_model_len(split, kContext, options);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kMemory);
    return error.what();
  }
  return "none";
}

// The cache is given memory that weights, logits and steps do not take.
TEST(Limits, TheCacheIsGivenWhatTheRestLeaves) {
  EngineOptions options;
  EXPECT_EQ(choose_model_len(one_rank(), kContext, options), kContext);
  for (int64_t RankShare::*part :
       {&RankShare::weight_bytes, &RankShare::logits_bytes, &RankShare::step_bytes}) {
    SplitReport split = one_rank();
    split.ranks[0].*part = kMoreThanAnyMachineHas;
    EXPECT_THAT(refusal(split, options),
                testing::HasSubstr("weights, logits and steps leave of the free memory"));
    EngineOptions by_hand = options;
    by_hand.kv_cache_bytes = 1 << 20;
    EXPECT_EQ(choose_model_len(split, kContext, by_hand), kContext);
  }
}

// A cache that was asked for by its bytes, beyond what there is: the flag that asked is named.
TEST(Limits, ACacheBeyondTheMemoryNamesItsFlag) {
  EngineOptions options;
  options.kv_cache_bytes = kMoreThanAnyMachineHas;
  const std::string text = refusal(one_rank(), options);
  EXPECT_THAT(text, testing::HasSubstr("--kv-cache-memory-bytes asks for 1152921504606.8 MB"));
  EXPECT_THAT(text, testing::HasSubstr("lower --kv-cache-memory-bytes"));
}

}  // namespace
}  // namespace weft::engine
