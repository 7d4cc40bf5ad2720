// Stages of real models are timed for every size of step, in contexts of any length, and what was
// timed leaves nothing behind.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "engine/tiny_engine.h"

namespace weft::engine {
namespace {

constexpr int64_t kModelLen = 200;  // of tiny_options

// Of a step of `count` sequences that decode, or of one sequence's prompt.
StepLoad decodes(int64_t count) {
  StepLoad load;
  for (int64_t i = 0; i < count; ++i) load.add(8, 1, 1);
  return load;
}
StepLoad prompt(int64_t num_tokens) {
  StepLoad load;
  load.add(0, num_tokens);
  return load;
}

class StageCalibration : public testing::Test {
 protected:
  // Blocks of the cache, and of each window of it; 0: by memory.
  void load(const std::string& model, int64_t num_blocks, int64_t num_window_blocks = 0) {
    EngineOptions options = tiny_options(tiny_path(model));
    options.topology.pipeline_parallel = "2";
    options.max_num_seqs = 16;
    options.num_blocks = num_blocks;
    options.num_window_blocks = num_window_blocks;
    options.num_kept_steps = 10'000;
    engine_ = Engine::load(options);
  }

  // Times all sizes of `range`, between two answers that need the whole context.
  PipelineCosts calibrate(const CalibrationRange& range) {
    const Request request = greedy(some_ids(kModelLen - 20), 20);
    const uint64_t before = engine_->generate(request).logits_hash;
    engine_->begin_window();
    PipelineCosts costs = engine_->calibrate(range);
    steps_ = engine_->trace().steps;
    EXPECT_EQ(engine_->generate(request).logits_hash, before);
    return costs;
  }

  // Of the last calibration, those of so many prompt tokens beside so many decodes.
  int64_t num_steps(int64_t prompt_tokens, int64_t num_decodes) const {
    return std::count_if(steps_.begin(), steps_.end(), [&](const StepRecord& step) {
      return step.load.num_tokens == prompt_tokens + num_decodes &&
             step.load.num_rows == num_decodes;
    });
  }

  std::unique_ptr<Engine> engine_;
  std::vector<StepRecord> steps_;
};

class StagesOf : public StageCalibration, public testing::WithParamInterface<const char*> {};

// Long steps use up a context at once: they were timed by one cold step each.
TEST_P(StagesOf, EverySizeHasManySteps) {
  SKIP_WITHOUT_TINY_MODELS();
  load(GetParam(), 0);
  calibrate({16, 128, kModelLen});
  for (const int64_t count : {1, 2, 4, 8, 16}) EXPECT_GE(num_steps(0, count), 12) << count;
  for (const int64_t tokens : {16, 64}) EXPECT_GE(num_steps(tokens, 0), 12) << tokens;
  for (const int64_t count : {0, 4, 16}) EXPECT_GE(num_steps(128 - count, count), 9) << count;
}

TEST_P(StagesOf, LargerStepsTakeLonger) {
  SKIP_WITHOUT_TINY_MODELS();
  load(GetParam(), 0);
  for (const int64_t context : {int64_t{40}, kModelLen}) {
    const PipelineCosts costs = calibrate({16, 128, context});
    ASSERT_EQ(costs.stages.size(), 2u);
    const int64_t chunk = std::min<int64_t>(128, context - 1);
    for (const StepTimes& stage : costs.stages) {
      const double one = stage.predict(decodes(1)).value();
      EXPECT_GT(one, 0) << context;
      EXPECT_GT(stage.predict(decodes(16)).value(), 1.2 * one) << context;
      EXPECT_GT(stage.predict(prompt(chunk)).value(), 1.5 * one) << context;
      EXPECT_LT(stage.predict(prompt(chunk)).value(), 1) << context;
    }
  }
}

TEST_P(StagesOf, ShortContextsAndSmallCachesAreEnough) {
  SKIP_WITHOUT_TINY_MODELS();
  load(GetParam(), (kModelLen + 15) / 16);
  for (const int64_t context : {2, 9, 33, 200}) {
    const PipelineCosts costs = calibrate({16, 128, context});
    for (const StepTimes& stage : costs.stages) EXPECT_GT(stage.predict(decodes(1)).value_or(0), 0);
  }
}

TEST_F(StageCalibration, SmallWindowsLeaveSizesOut) {
  SKIP_WITHOUT_TINY_MODELS();
  for (const int64_t num_window_blocks : {4, 6, 12, 20, 40}) {
    load("gemma3.BF16", 64, num_window_blocks);
    for (const int64_t context : {40, 200}) {
      const PipelineCosts costs = calibrate({16, 128, context});
      for (const StepTimes& stage : costs.stages)
        EXPECT_GT(stage.predict(decodes(1)).value_or(0), 0) << num_window_blocks;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(StageCalibration, StagesOf,
                         testing::Values("layers29.Q4_1", "gemma3.BF16", "heads15kv5.Q4_0"),
                         [](const auto& tested) {
                           std::string name = tested.param;
                           std::replace(name.begin(), name.end(), '.', '_');
                           return name;
                         });

}  // namespace
}  // namespace weft::engine
