// A pipeline of simulated stages (EngineOptions::stage_seconds) over a real model: schedule,
// hand-over and accounting are the real ones, and the time of a stage is known.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <numeric>

#include "engine/tiny_engine.h"

namespace weft::engine {
namespace {

constexpr double kPoint = 0.01;
constexpr int64_t kPromptTokens = 16;
// What a busy machine adds to a hop weighs the less the longer a stage is, and the formulas hold
// for stages of any length: each figure has a try with these multiples of the times asked for.
constexpr double kScales[] = {1, 1, 2, 4, 8};

class SimulatedStages : public testing::Test {
 protected:
  using Measure = std::function<PipelineReport()>;
  using Expected = std::function<double(size_t stage)>;

  void load(double scale) {
    EngineOptions options = tiny_options(tiny_path("layers29.Q4_1"));
    options.topology.pipeline_parallel = std::to_string(stage_s_.size());
    for (const double seconds : stage_s_) options.stage_seconds.push_back(scale * seconds);
    options.max_num_batched_tokens = kPromptTokens;  // a step is a prompt,
    options.micro_batch_size = 1;                    // or one answer's next token
    options.max_num_seqs = 32;
    options.prefix_caching = false;
    options.num_kept_steps = 10'000;
    engine_ = Engine::load(options);
    ASSERT_FALSE(engine_->pooled());
    costs_ = engine_->calibrate({1, kPromptTokens, 64});
    scaled_ = options.stage_seconds;
  }

  void submit(int64_t count, int64_t max_tokens) {
    for (int i = 0; i < count; ++i) {
      Request request;
      request.prompt_ids = some_ids(kPromptTokens, 3 * i);
      request.sampling.max_tokens = max_tokens;
      request.sampling.ignore_eos = true;
      engine_->submit(std::move(request));
    }
  }

  void finish() {
    while (engine_->step({})) {
    }
  }

  // `count` micro-batches that all wait at the beginning.
  PipelineReport one_shot(int64_t count) {
    engine_->begin_window();
    submit(count, 1);
    finish();
    const PipelineReport report = engine_->report_window();
    EXPECT_EQ(report.num_steps, count);
    return report;
  }

  // `turns` whole turns of a ring of `count` answers, each a micro-batch.
  PipelineReport steady(int64_t count, int64_t turns) {
    submit(count, turns + 6);
    for (int64_t i = 0; i < 4 * count; ++i) engine_->step({});  // prompts, and the ring fills
    engine_->begin_window();
    for (int64_t i = 0; i < turns * count; ++i) engine_->step({});
    const PipelineReport report = engine_->report_window();
    finish();
    return report;
  }

  // Every stage within a point of what is expected of it, in some try.
  void expect_bubbles(const std::string& what, const Measure& measure, const Expected& expected) {
    double off = 1;
    for (const double scale : kScales) {
      load(scale);
      const PipelineReport report = measure();
      off = 0;
      for (size_t s = 0; s < report.stages.size(); ++s)
        off = std::max(off, std::abs(report.stages[s].bubble() - expected(s)));
      std::printf("%s, stages times %.0f: within %.2f points\n", what.c_str(), scale, 100 * off);
      if (off <= kPoint) return;
    }
    EXPECT_LE(off, kPoint) << what;
  }

  void expect_one_shot(int64_t count) {
    const double m = static_cast<double>(count), p = static_cast<double>(stage_s_.size());
    expect_bubbles(
        fmt::format("{} micro-batches at once", count), [&] { return one_shot(count); },
        [&](size_t) { return (p - 1) / (m + p - 1); });
  }

  // cycle = max(M t_max, sum t + hops, with the answer's way back).
  void expect_steady(int64_t count, int64_t turns) {
    const double m = static_cast<double>(count);
    expect_bubbles(
        fmt::format("{} micro-batches in a ring", count), [&] { return steady(count, turns); },
        [&](size_t s) {
          const double all = std::accumulate(scaled_.begin(), scaled_.end(), 0.0) +
                             *costs_.hop.predict({1, 0}) * static_cast<double>(scaled_.size());
          const double cycle = std::max(m * *std::max_element(scaled_.begin(), scaled_.end()), all);
          return std::max(0.0, 1 - m * scaled_[s] / cycle);
        });
  }

  // Against the steps that it really made.
  void expect_forecast(int64_t count) {
    Forecast predicted;
    expect_bubbles(
        fmt::format("{} micro-batches at once, beside their forecast", count),
        [&] {
          const PipelineReport report = one_shot(count);
          predicted = forecast(costs_, engine_->trace().steps);
          return report;
        },
        [&](size_t s) { return predicted.bubble(s); });
  }

  std::vector<double> stage_s_, scaled_;
  std::unique_ptr<Engine> engine_;
  PipelineCosts costs_;
};

bool is_full() { return std::getenv("WEFT_FULL_TESTS") != nullptr; }

TEST_F(SimulatedStages, EightEqualOnesHaveTheBubblesOfTheory) {
  SKIP_WITHOUT_TINY_MODELS();
  stage_s_.assign(8, 0.02);
  expect_one_shot(6);
  expect_steady(4, 2);
}

TEST_F(SimulatedStages, UnevenOnesHaveTheBubblesOfTheirForecast) {
  SKIP_WITHOUT_TINY_MODELS();
  stage_s_ = {0.01, 0.03, 0.02};
  expect_forecast(6);
}

TEST_F(SimulatedStages, FullEightEqualOnes) {
  SKIP_WITHOUT_TINY_MODELS();
  if (!is_full()) GTEST_SKIP() << "WEFT_FULL_TESTS is not set";
  stage_s_.assign(8, 0.02);
  for (const int64_t count : {6, 8, 32}) expect_one_shot(count);
  for (const int64_t count : {1, 4, 8, 9}) expect_steady(count, 6);
}

TEST_F(SimulatedStages, FullUnevenOnes) {
  SKIP_WITHOUT_TINY_MODELS();
  if (!is_full()) GTEST_SKIP() << "WEFT_FULL_TESTS is not set";
  stage_s_ = {0.01, 0.03, 0.02, 0.005, 0.03, 0.015, 0.02, 0.01};
  for (const int64_t count : {6, 8, 32}) expect_forecast(count);
  for (const int64_t count : {4, 9}) expect_steady(count, 6);
}

TEST_F(SimulatedStages, EachHasATimeAndThreadsOfItsOwn) {
  SKIP_WITHOUT_TINY_MODELS();
  EngineOptions options = tiny_options(tiny_path("llama.Q4_1"));
  options.topology.pipeline_parallel = std::string("2");
  options.stage_seconds = {0.01};
  EXPECT_THROW(Engine::load(options), Error);
  options.stage_seconds = {0.01, 0.01};
  options.placement = Placement::kPooled;
  EXPECT_THROW(Engine::load(options), Error);
}

// Neither what is kept of a run nor how long a stage sleeps is a matter of bits.
TEST_F(SimulatedStages, LeaveTheBitsAlone) {
  SKIP_WITHOUT_TINY_MODELS();
  EngineOptions options = tiny_options(tiny_path("llama.Q4_1"));
  const Request request = greedy(some_ids(30), 12);
  const GenerationResult plain = Engine::load(options)->generate(request);
  options.topology.pipeline_parallel = std::string("2");
  options.stage_seconds = {0.001, 0.003};
  options.num_kept_events = 4000;
  options.num_kept_steps = 100;
  const auto engine = Engine::load(options);
  engine->begin_window();
  const GenerationResult simulated = engine->generate(request);
  EXPECT_EQ(simulated.token_ids, plain.token_ids);
  EXPECT_EQ(simulated.logits_hash, plain.logits_hash);
  const PipelineTrace trace = engine->trace();
  ASSERT_EQ(trace.workers.size(), 2u);
  EXPECT_EQ(trace.steps.size(), static_cast<size_t>(engine->report_window().num_steps));
  EXPECT_EQ(trace.steps.front().load.num_tokens, 30);
  EXPECT_GT(trace.steps.front().context.num_used_blocks, 0);
  // Every step's work on the second stage takes the time that it was given.
  const std::vector<ActivityEvent>& events = trace.workers[1].activity.events;
  int64_t longest = 0;
  for (size_t i = 1; i < events.size(); ++i) {
    if (events[i - 1].activity == Activity::kCompute)
      longest = std::max(longest, events[i].begin_ns - events[i - 1].begin_ns);
  }
  EXPECT_GE(longest, 2'900'000);
}

}  // namespace
}  // namespace weft::engine
