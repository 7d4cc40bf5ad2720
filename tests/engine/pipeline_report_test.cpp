#include "engine/pipeline_report.h"

#include <gtest/gtest.h>

#include "engine/tiny_engine.h"

namespace weft::engine {
namespace {

constexpr int64_t kMs = 1'000'000;

ActivityTotals totals_of(int64_t at_ms, int64_t compute, int64_t reduce, int64_t peers,
                         int64_t input, int64_t nothing, int64_t send, int64_t schedule) {
  ActivityTotals t;
  t.ns = {nothing * kMs, schedule * kMs, compute * kMs, reduce * kMs,
          peers * kMs,   input * kMs,    send * kMs};
  t.at_ns = at_ms * kMs;
  return t;
}

TEST(PipelineReport, ARowIsTheMeanOfItsRanks) {
  ClockMarks begin, end;
  begin.at_ns = 1000 * kMs;
  end.at_ns = 1100 * kMs;
  begin.workers = {totals_of(1000, 5, 0, 0, 0, 995, 0, 0), totals_of(1000, 5, 0, 0, 0, 995, 0, 0),
                   totals_of(1000, 0, 0, 0, 0, 1000, 0, 0)};
  end.workers = {totals_of(1100, 45, 10, 20, 0, 1005, 10, 10),
                 totals_of(1100, 65, 10, 0, 0, 1005, 10, 10),
                 totals_of(1100, 50, 0, 0, 30, 1020, 0, 0)};
  for (int w = 0; w < 3; ++w) {
    end.workers[static_cast<size_t>(w)].first_work_ns = (1005 + 15 * w) * kMs;
    end.workers[static_cast<size_t>(w)].last_work_ns = (1080 + 5 * w) * kMs;
  }
  begin.reduce_bytes = {100, 100, 0};
  end.reduce_bytes = {1100, 1100, 0};
  end.num_steps = 7;
  const std::vector<TimeRow> rows = {{{0, 2}, {0, 2}}, {{2, 3}, {2, 3}}};
  const PipelineReport report = report_between(begin, end, rows);
  EXPECT_FALSE(report.pooled);
  EXPECT_EQ(report.num_steps, 7);
  ASSERT_EQ(report.stages.size(), 2u);
  const StageTime& first = report.stages[0];
  EXPECT_NEAR(first.busy_s, 0.050, 1e-9);
  EXPECT_NEAR(first.collectives_s, 0.020, 1e-9);
  EXPECT_NEAR(first.sending_s, 0.010, 1e-9);
  EXPECT_NEAR(first.scheduler_s, 0.010, 1e-9);
  EXPECT_NEAR(first.nothing_s, 0.010, 1e-9);
  EXPECT_NEAR(first.sum_s(), first.window_s, 1e-9);
  EXPECT_NEAR(first.bubble(), 0.30, 1e-9);
  EXPECT_NEAR(first.fill_s, 0.005, 1e-9);
  EXPECT_NEAR(first.drain_s, 0.015, 1e-9);
  EXPECT_NEAR(first.inner_bubble(), 1 - 70.0 / 80.0, 1e-9);
  EXPECT_NEAR(report.stages[1].input_s, 0.030, 1e-9);
  EXPECT_NEAR(report.stages[1].bubble(), 0.5, 1e-9);
  ASSERT_EQ(report.ranks.size(), 3u);
  EXPECT_NEAR(report.ranks[1].compute_s, 0.060, 1e-9);
  EXPECT_NEAR(report.ranks[1].all_reduce_s, 0.010, 1e-9);
  EXPECT_NEAR(report.ranks[1].wait_s, 0.030, 1e-9);
  EXPECT_EQ(report.ranks[1].reduce_bytes, 1000);
}

TEST(PipelineReport, ARowWithoutWorkIsAllFill) {
  ClockMarks begin, end;
  begin.workers = {totals_of(0, 0, 0, 0, 0, 0, 0, 0)};
  end.workers = {totals_of(50, 0, 0, 0, 0, 50, 0, 0)};
  begin.reduce_bytes = end.reduce_bytes = {0};
  end.at_ns = 50 * kMs;
  const PipelineReport report = report_between(begin, end, std::vector<TimeRow>{{{0, 1}, {0, 1}}});
  EXPECT_DOUBLE_EQ(report.stages[0].bubble(), 1.0);
  EXPECT_DOUBLE_EQ(report.stages[0].fill_s, 0.05);
  EXPECT_DOUBLE_EQ(report.stages[0].inner_bubble(), 0.0);
}

struct Split {
  const char* stages;
  Placement placement;
};

// A real pipeline: whatever it does, the six times are the window.
TEST(PipelineReport, TimesOfARealPipelineAddUp) {
  SKIP_WITHOUT_TINY_MODELS();
  for (const Split& split :
       {Split{"", Placement::kDedicated}, Split{"2@1,2@1", Placement::kDedicated},
        Split{"2@2,2@1", Placement::kDedicated}, Split{"2@2,2@1", Placement::kPooled}}) {
    EngineOptions options = tiny_options(tiny_path("llama.Q4_1"));
    options.topology.stages = split.stages;
    options.placement = split.placement;
    const auto engine = Engine::load(options);
    engine->begin_window();
    for (int i = 0; i < 6; ++i) {
      Request request;
      request.prompt_ids = some_ids(20 + i);
      request.sampling.max_tokens = 20;
      request.sampling.ignore_eos = true;
      engine->submit(request);
    }
    for (int i = 0; engine->step({}); ++i) {
      if (i != 10) continue;
      const PipelineReport half = engine->report_window();  // while workers run
      for (const StageTime& s : half.stages) EXPECT_NEAR(s.sum_s() / s.window_s, 1.0, 1e-6);
    }
    const PipelineReport report = engine->report_window();
    EXPECT_EQ(report.pooled, engine->pooled());
    EXPECT_EQ(report.num_steps, engine->stats().num_steps);
    ASSERT_EQ(report.stages.size(), report.pooled || *split.stages == 0 ? 1u : 2u);
    for (size_t s = 0; s < report.stages.size(); ++s) {
      const StageTime& time = report.stages[s];
      EXPECT_NEAR(time.sum_s() / report.window_s, 1.0, 0.01) << split.stages << " row " << s;
      EXPECT_GT(time.busy_s, 0);
      EXPECT_EQ(time.collectives_s > 0, time.ranks.size() > 1);
      EXPECT_EQ(time.sending_s > 0, s + 1 < report.stages.size());
      EXPECT_EQ(time.input_s > 0, s > 0);
      EXPECT_GT(time.bubble(), 0);
      EXPECT_LE(time.inner_bubble(), time.bubble());
      EXPECT_GE(time.drain_s, 0);
    }
    EXPECT_LT(report.stages.front().fill_s, report.stages.front().window_s);
    if (report.stages.size() == 1) continue;
    // However late a thread is: the second stage works on nothing before it has taken over what the
    // first has worked on, and its last work is on the first one's last. (Of two ranks of the first
    // stage only one is waited for at the end.)
    EXPECT_LT(report.stages[0].fill_s, report.stages[1].fill_s) << split.stages;
    if (report.stages[0].ranks.size() == 1) {
      EXPECT_GT(report.stages[0].drain_s, report.stages[1].drain_s) << split.stages;
    }
  }
}

}  // namespace
}  // namespace weft::engine
