#include "engine/step_times.h"

#include <gtest/gtest.h>

namespace weft::engine {
namespace {

// A machine: 4 ms to read the weights, 50 us a token beyond 32, 1 ns a pair.
double machine(const StepLoad& load) {
  return 0.004 + 50e-6 * static_cast<double>(std::max<int64_t>(0, load.num_tokens - 32)) +
         1e-9 * static_cast<double>(load.attention_pairs);
}

StepLoad load_of(int64_t first, int64_t count) {
  StepLoad load;
  load.add(first, count);
  return load;
}

TEST(StepLoad, CountsThePositionsThatTokensAttendTo) {
  StepLoad load = load_of(0, 1);  // one token sees itself
  EXPECT_EQ(load.attention_pairs, 1);
  load.add(10, 3);  // 11 + 12 + 13
  EXPECT_EQ(load.num_tokens, 4);
  EXPECT_EQ(load.attention_pairs, 1 + 36);
}

TEST(StepTimes, KnowNothingAtFirst) { EXPECT_FALSE(StepTimes().predict(load_of(0, 5))); }

TEST(StepTimes, LearnAMachine) {
  StepTimes times;
  for (int round = 0; round < 40; ++round) {
    for (const int64_t count : {1, 2, 4, 8, 16, 32, 64, 128, 256, 512}) {
      const StepLoad load = load_of(100 * (round % 20), count);
      times.learn(load, machine(load));
    }
  }
  EXPECT_NEAR(times.pair_price(load_of(700, 64)), 1e-9, 0.2e-9);
  for (const int64_t count : {1, 3, 20, 48, 100, 400, 512}) {
    const StepLoad load = load_of(700, count);
    EXPECT_NEAR(*times.predict(load), machine(load), 0.1 * machine(load)) << count;
  }
  // Depth is told from length.
  EXPECT_GT(*times.predict(load_of(20000, 256)), *times.predict(load_of(0, 256)) + 0.003);
}

TEST(StepTimes, FewTokensAreNotThoughtFreeBeforeAnyWereSeen) {
  StepTimes times;
  times.learn(load_of(0, 512), 0.128);
  EXPECT_DOUBLE_EQ(*times.predict(load_of(0, 1)), *times.predict(load_of(0, 32)) - 527 * 0.0);
  EXPECT_NEAR(*times.predict(load_of(0, 8)), 0.008, 1e-4);
  EXPECT_NEAR(*times.predict(load_of(0, 1024)), 0.256, 1e-3);
}

// Pairs cost few tokens ten times what they cost many.
TEST(StepTimes, PairsHaveAPriceForStepsOfEachSize) {
  StepTimes times;
  for (int round = 0; round < 40; ++round) {
    for (const int64_t count : {16, 512}) {
      const StepLoad load = load_of(100 * (round % 20), count);
      times.learn(load,
                  0.01 + (count == 16 ? 1e-8 : 1e-9) * static_cast<double>(load.attention_pairs));
    }
  }
  EXPECT_NEAR(times.pair_price(load_of(0, 16)), 1e-8, 2e-9);
  EXPECT_NEAR(times.pair_price(load_of(0, 512)), 1e-9, 1e-10);
}

// What answers take alone stays known while every step holds a part of a prompt too.
TEST(StepTimes, PromptsBesideThemDoNotBlurWhatDecodesTake) {
  StepTimes times;
  for (int i = 0; i < 20; ++i) times.learn(load_of(100, 16), 0.010);
  StepLoad mixed = load_of(4000, 24);
  mixed.has_prompt = true;
  EXPECT_GT(*times.predict(mixed), 0.0);  // the other kind answers for it
  for (int i = 0; i < 200; ++i) times.learn(mixed, 0.040);
  EXPECT_NEAR(*times.predict(mixed), 0.040, 1e-4);
  EXPECT_NEAR(*times.predict(load_of(100, 16)), 0.010, 1e-4);
}

// A queue that is let in has decoded with few, and computed chunks of many.
TEST(StepTimes, LargeDecodesAreJudgedByChunksBeforeAnyWereSeen) {
  StepTimes times;
  for (int i = 0; i < 20; ++i) times.learn(load_of(0, 4), 0.004);
  StepLoad chunk = load_of(0, 128);
  chunk.has_prompt = true;
  for (int i = 0; i < 20; ++i) times.learn(chunk, 0.080);
  EXPECT_NEAR(*times.predict(load_of(0, 4)), 0.004, 1e-4);
  EXPECT_NEAR(*times.predict(load_of(0, 64)), 0.040, 1e-3);
  for (int i = 0; i < 20; ++i) times.learn(load_of(0, 64), 0.030);
  EXPECT_NEAR(*times.predict(load_of(0, 64)), 0.030, 1e-4);
}

TEST(StepTimes, FollowAMachineThatBecomesSlower) {
  StepTimes times;
  for (int i = 0; i < 50; ++i) times.learn(load_of(0, 16), 0.004);
  for (int i = 0; i < 50; ++i) times.learn(load_of(0, 16), 0.012);
  EXPECT_NEAR(*times.predict(load_of(0, 16)), 0.012, 0.0005);
}

TEST(StepTimes, TheSlowestStageIsTheStep) {
  StepTimes times;
  EXPECT_FALSE(times.depth());
  const int64_t stages_ns[] = {2'000'000, 4'000'000, 1'000'000};
  for (int i = 0; i < 5; ++i) times.learn(load_of(0, 8), stages_ns);
  EXPECT_NEAR(*times.predict(load_of(0, 8)), 0.004, 1e-6);
  EXPECT_NEAR(*times.depth(), 7.0 / 4.0, 1e-9);
}

}  // namespace
}  // namespace weft::engine
