#include "engine/step_times.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/random.h"
#include "engine/scheduler.h"

namespace weft::engine {
namespace {

// A machine: 4 ms to read the weights, which hide what 8 tokens cost, 0.4 ms a token beyond; 0.5 ms
// and 0.1 ms a row for the head; a pair costs single tokens three times what it costs a chunk.
double machine(const StepLoad& load) {
  const double tokens = static_cast<double>(std::max<int64_t>(0, load.num_tokens - 8));
  const double head =
      load.num_rows > 0 ? 0.0005 + 0.0001 * static_cast<double>(load.num_rows) : 0.0;
  return 0.004 + 0.0004 * tokens + head +
         0.7e-6 * static_cast<double>(load.attention_pairs - load.chunk_pairs) +
         0.23e-6 * static_cast<double>(load.chunk_pairs);
}

StepLoad decodes(int64_t count, int64_t context) {
  StepLoad load;
  for (int64_t i = 0; i < count; ++i) load.add(context, 1, 1);
  return load;
}

StepLoad with_chunk(StepLoad load, int64_t first, int64_t count, int64_t rows = 0) {
  load.add(first, count, rows);
  load.has_prompt = true;
  return load;
}

// Uniform in [-1, 1], the same each time.
double wobble(uint64_t index) {
  return static_cast<double>(uniform_bits(7, 0, index) >> 11) * 0x1p-52 - 1.0;
}

TEST(StepLoad, CountsThePositionsThatTokensAttendTo) {
  StepLoad load;
  load.add(0, 1, 1);  // one token sees itself
  EXPECT_EQ(load.attention_pairs, 1);
  load.add(10, 3);  // 11 + 12 + 13
  EXPECT_EQ(load.num_tokens, 4);
  EXPECT_EQ(load.attention_pairs, 1 + 36);
  EXPECT_EQ(load.chunk_pairs, 36);
  EXPECT_EQ(load.num_rows, 1);
  const StepLoad guessed = load.with_guesses(2, 30);
  EXPECT_EQ(guessed.num_tokens, 6);
  EXPECT_EQ(guessed.attention_pairs, 67);
  EXPECT_EQ(guessed.chunk_pairs, 66);
  EXPECT_EQ(guessed.num_rows, 3);
}

TEST(StepTimes, KnowNothingAtFirst) { EXPECT_FALSE(StepTimes().predict(decodes(5, 1))); }

TEST(StepTimes, MayBeConstant) {
  const StepTimes times = StepTimes::constant(0.02);
  EXPECT_EQ(*times.predict(decodes(1, 1)), 0.02);
  EXPECT_EQ(*times.predict(with_chunk(decodes(64, 500), 4000, 512)), 0.02);
}

TEST(StepTimes, LearnAMachine) {
  StepTimes times;
  for (int round = 0; round < 40; ++round) {
    for (const int64_t count : {1, 2, 4, 8, 16, 32, 64}) {
      const StepLoad load = decodes(count, 50 * (round % 20));
      times.learn(load, machine(load));
      const StepLoad prompt = with_chunk({}, 100 * (round % 20), 8 * count);
      times.learn(prompt, machine(prompt));
    }
  }
  for (const int64_t count : {1, 3, 20, 48, 64}) {
    for (const StepLoad& load :
         {decodes(count, 700), with_chunk({}, 900, 7 * count),
          with_chunk(decodes(count, 300), 1500, 200), with_chunk(decodes(count, 20), 0, 30, 1)})
      EXPECT_NEAR(*times.predict(load), machine(load), 0.05 * machine(load)) << count;
  }
}

// What the scheduler lives by: answers run, the long prompt was computed alone and now comes among
// them, in chunks that it chooses by these times. Every step varies by a few percent.
TEST(StepTimes, ForetellADeepChunkAmongAnswers) {
  StepTimes times;
  uint64_t step = 0;
  const auto run = [&](const StepLoad& load) {
    const double seconds = machine(load) * (1 + 0.04 * wobble(step++));
    times.learn(load, seconds);
    return seconds;
  };
  for (int64_t depth = 0; depth < 4096; depth += 512) run(with_chunk({}, depth, 512));
  for (int64_t i = 0; i < 64; ++i) run(decodes(16, 128 + i));
  std::vector<double> errors;
  int64_t context = 192;
  for (int64_t depth = 0; depth < 4096; ++context) {
    const double limit = SchedulerOptions{}.max_slowdown * *times.predict(decodes(17, context));
    int64_t count = 8;
    while (depth + count < 4096 &&
           *times.predict(with_chunk(decodes(16, context), depth, count + 1)) <= limit)
      ++count;
    const StepLoad load = with_chunk(decodes(16, context), depth, count);
    const double predicted = *times.predict(load);
    errors.push_back(predicted / run(load) - 1);
    depth += count;
  }
  ASSERT_GT(errors.size(), 30u);
  for (double& error : errors) error = std::abs(error);
  std::sort(errors.begin(), errors.end());
  EXPECT_LT(errors[errors.size() / 2], 0.03);
  EXPECT_LT(errors[errors.size() * 95 / 100], 0.08);
  EXPECT_LT(errors.back(), 0.15);  // the first ones: such steps were never seen
  const StepLoad alone = decodes(16, context);
  EXPECT_NEAR(*times.predict(alone), machine(alone), 0.06 * machine(alone));
}

TEST(StepTimes, FewTokensAreNotThoughtFreeBeforeAnyWereSeen) {
  StepTimes times;
  times.learn(with_chunk({}, 0, 512), 0.128);
  EXPECT_DOUBLE_EQ(*times.predict(with_chunk({}, 0, 512)), 0.128);
  EXPECT_DOUBLE_EQ(*times.predict(decodes(1, 0)), *times.predict(decodes(16, 0)));
  EXPECT_NEAR(*times.predict(decodes(8, 0)), 0.004, 1e-4);
  EXPECT_NEAR(*times.predict(with_chunk({}, 0, 1024)), 0.256, 1e-3);
}

// A queue that is let in has decoded with few, and computed chunks of many.
TEST(StepTimes, LargeDecodesAreJudgedByChunksBeforeAnyWereSeen) {
  StepTimes times;
  for (int i = 0; i < 20; ++i) times.learn(decodes(4, 0), 0.004);
  for (int i = 0; i < 20; ++i) times.learn(with_chunk({}, 0, 128), 0.080);
  EXPECT_NEAR(*times.predict(decodes(4, 0)), 0.004, 0.0004);
  EXPECT_NEAR(*times.predict(decodes(64, 0)), 0.040, 0.008);
  for (int i = 0; i < 20; ++i) times.learn(decodes(64, 0), 0.030);
  EXPECT_NEAR(*times.predict(decodes(64, 0)), 0.030, 0.002);
}

// What answers take alone stays known while every step holds a part of a prompt too.
TEST(StepTimes, PromptsBesideThemDoNotBlurWhatDecodesTake) {
  StepTimes times;
  for (int i = 0; i < 20; ++i) times.learn(decodes(16, 100), 0.010);
  const StepLoad mixed = with_chunk(decodes(16, 100), 4000, 8);
  for (int i = 0; i < 200; ++i) times.learn(mixed, 0.040 * (1 + 0.05 * wobble(i)));
  EXPECT_NEAR(*times.predict(mixed), 0.040, 0.002);
  EXPECT_NEAR(*times.predict(decodes(16, 100)), 0.010, 0.001);
}

TEST(StepTimes, NeverFallAsAStepGrows) {
  StepTimes times;
  for (uint64_t i = 0; i < 300; ++i) {
    const auto count = static_cast<int64_t>(1 + uniform_bits(1, 0, i) % 300);
    // A machine that makes no sense.
    times.learn(with_chunk(decodes(count % 7, count), 3 * count, 1 + 300 - count),
                0.01 * (1.2 + wobble(i)));
  }
  double before = 0;
  for (int64_t count = 2; count < 4096; count += 1 + count / 8) {
    const double seconds = *times.predict(with_chunk(decodes(4, 100), 50, count));
    EXPECT_GE(seconds, before) << count;
    before = seconds;
  }
}

TEST(StepTimes, AStepThatTheMachineHeldUpTeachesNothing) {
  StepTimes times;
  for (int i = 0; i < 50; ++i) times.learn(decodes(16, 10), 0.004);
  const double before = *times.predict(decodes(16, 10));
  times.learn(decodes(16, 10), 0.2);
  EXPECT_EQ(*times.predict(decodes(16, 10)), before);
}

TEST(StepTimes, FollowAMachineThatBecomesSlower) {
  StepTimes times;
  for (int i = 0; i < 50; ++i) times.learn(decodes(16, 10), 0.004);
  for (int i = 0; i < 50; ++i) times.learn(decodes(16, 10), 0.012);
  EXPECT_NEAR(*times.predict(decodes(16, 10)), 0.012, 0.0005);
}

TEST(StepTimes, TheSlowestStageIsTheStep) {
  StepTimes times;
  EXPECT_FALSE(times.depth());
  const int64_t stages_ns[] = {2'000'000, 4'000'000, 1'000'000};
  for (int i = 0; i < 5; ++i) times.learn(decodes(8, 0), stages_ns);
  EXPECT_NEAR(*times.predict(decodes(8, 0)), 0.004, 1e-6);
  EXPECT_NEAR(*times.depth(), 7.0 / 4.0, 1e-9);
}

}  // namespace
}  // namespace weft::engine
