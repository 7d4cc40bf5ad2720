// What workers of other processes tell: events of all ranks on one clock, whatever clocks hosts
// have, and times while steps run.
#include "engine/worker_reports.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "engine/spanning_engine.h"
#include "engine/tiny_engine.h"

namespace weft::engine {
namespace {

using Bytes = std::vector<std::byte>;

TEST(WorkerReports, EventsComeAsTheyWent) {
  ActivityClock clock;
  clock.keep_events(100);
  for (uint64_t step = 0; step < 30; ++step) {
    clock.enter(Activity::kCompute, step);
    clock.enter(Activity::kWaitPeers, step);
  }
  const ActivityClock::Events here = clock.events();
  constexpr int64_t kAhead = 1'000'000'000'000;
  Bytes bytes;
  write_events(clock, {0, 10, 0}, kAhead, bytes);
  EventsTold told;
  ASSERT_TRUE(read_events(bytes, told));
  EXPECT_EQ(told.num_events, 60);
  EXPECT_EQ(told.events.num_dropped, 10);
  ASSERT_EQ(told.events.events.size(), 50u);
  for (size_t i = 0; i < 50; ++i) {
    EXPECT_EQ(told.events.events[i].begin_ns, here.events[i + 10].begin_ns + kAhead);
    EXPECT_EQ(told.events.events[i].activity, here.events[i + 10].activity);
    EXPECT_EQ(told.events.events[i].step, here.events[i + 10].step);
  }
  EXPECT_GE(told.events.end_ns, told.events.events.back().begin_ns);

  // From the one that was under way at a moment.
  bytes.clear();
  write_events(clock, {0, -1, here.events[20].begin_ns + kAhead}, kAhead, bytes);
  ASSERT_TRUE(read_events(bytes, told));
  const int64_t first = told.events.num_dropped;
  EXPECT_LE(here.events[static_cast<size_t>(first)].begin_ns, here.events[20].begin_ns);
  EXPECT_TRUE(first >= 20 ||
              here.events[static_cast<size_t>(first) + 1].begin_ns > here.events[20].begin_ns);
  // Past the last.
  bytes.clear();
  write_events(clock, {0, 1000, 0}, 0, bytes);
  ASSERT_TRUE(read_events(bytes, told));
  EXPECT_TRUE(told.events.events.empty());
}

TEST(WorkerReports, WhatNoWorkerTellsIsRefused) {
  ActivityClock clock;
  clock.keep_events(100);
  for (uint64_t step = 0; step < 10; ++step) {
    clock.enter(Activity::kCompute, step);
    clock.enter(Activity::kNothing);
  }
  Bytes bytes;
  write_events(clock, {0, 0, 0}, 0, bytes);
  EventsTold told;
  ASSERT_TRUE(read_events(bytes, told));
  for (size_t size = 0; size < bytes.size(); ++size) {
    const Bytes shorter(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_EQ(read_events(shorter, told), size >= 24 && (size - 24) % 16 == 0) << size;
  }
  const auto refuses = [&](size_t offset, int64_t value) {
    Bytes damaged = bytes;
    std::memcpy(damaged.data() + offset, &value, sizeof(value));
    return !read_events(damaged, told);
  };
  EXPECT_TRUE(refuses(0, -1)) << "the number of the first";
  EXPECT_TRUE(refuses(0, 1)) << "more than there were";
  EXPECT_TRUE(refuses(0, INT64_MAX));
  EXPECT_TRUE(refuses(8, 19)) << "fewer than were told";
  EXPECT_TRUE(refuses(8, INT64_MIN));
  EXPECT_TRUE(refuses(16, 0)) << "the end, before the last";
  EXPECT_TRUE(refuses(24 + 5 * 16, 0)) << "an event before the one before it";
  EXPECT_TRUE(refuses(24 + 8, 0x7f)) << "an activity";
}

TEST(WorkerReports, TimesThatMakeNoSenseAreRefused) {
  ActivityClock clock;
  clock.enter(Activity::kCompute, 1);
  std::vector<WorkerTimes> times(3, {clock.totals(), 77}), read(3);
  Bytes bytes;
  write_times(times, 0, bytes);
  ASSERT_TRUE(read_times(bytes, read));
  EXPECT_EQ(read[2].reduce_bytes, 77);
  EXPECT_EQ(read[1].totals.at_ns, times[1].totals.at_ns);
  std::vector<WorkerTimes> fewer(2);
  EXPECT_FALSE(read_times(bytes, fewer));
  times[1].totals.ns[2] = -1;
  bytes.clear();
  write_times(times, 0, bytes);
  read[1].reduce_bytes = 5;
  EXPECT_FALSE(read_times(bytes, read));
  EXPECT_EQ(read[1].reduce_bytes, 5) << "nothing is taken of what is refused";
}

EngineOptions traced_options(int64_t num_kept) {
  EngineOptions options = tiny_options(tiny_path("llama.F32"));
  options.max_model_len = 400;
  options.num_kept_events = num_kept;
  options.num_kept_steps = 10'000;
  return options;
}

// One answer at a time: every worker begins its part of a step when that was submitted and before
// the next one is, on whatever clock its own process has.
void expect_on_one_clock(const PipelineTrace& trace, size_t num_workers) {
  ASSERT_EQ(trace.workers.size(), num_workers);
  ASSERT_GT(trace.steps.size(), 10u);
  EXPECT_GT(trace.clock_error_ns, 0);
  EXPECT_LT(trace.clock_error_ns, 500'000'000);
  const uint64_t first = trace.steps.front().id;
  for (const WorkerTrace& worker : trace.workers) {
    const std::vector<ActivityEvent>& events = worker.activity.events;
    std::vector<bool> has_worked(trace.steps.size());
    for (size_t i = 0; i < events.size(); ++i) {
      if (!is_work(events[i].activity) || events[i].step < first) continue;
      const size_t step = events[i].step - first;
      ASSERT_LT(step, trace.steps.size());
      EXPECT_GE(events[i].begin_ns, trace.steps[step].submitted_ns - trace.clock_error_ns);
      const bool is_first = !has_worked[step];
      has_worked[step] = true;
      if (!is_first || step + 1 == trace.steps.size()) continue;
      EXPECT_LE(events[i].begin_ns, trace.steps[step + 1].submitted_ns + trace.clock_error_ns);
    }
    EXPECT_EQ(std::ranges::count(has_worked, false), 0) << "rank " << worker.ranks.begin;
  }
}

TEST(WorkerReports, EventsOfHostsWithOtherClocksLineUp) {
  SKIP_WITHOUT_TINY_MODELS();
  for (const bool by_stages : {false, true}) {
    EngineOptions options = traced_options(10'000);
    if (by_stages)
      options.topology.pipeline_parallel = "3";
    else
      options.topology.tensor_parallel_size = 4;
    SpanningEngine engine(options, 3, {.clock_ahead = std::chrono::hours(1)});
    engine->begin_window();
    engine->generate(greedy(some_ids(20), 40), {});
    expect_on_one_clock(engine->trace(), by_stages ? 3 : 4);
  }
}

// They come in pieces of 2,045.
TEST(WorkerReports, ManyEventsComeWhole) {
  SKIP_WITHOUT_TINY_MODELS();
  EngineOptions options = traced_options(100'000);
  options.topology.tensor_parallel_size = 2;
  SpanningEngine engine(options, 2, {.clock_ahead = std::chrono::hours(-1)});
  engine->begin_window();
  engine->generate(greedy(some_ids(20), 350), {});
  const PipelineTrace trace = engine->trace();
  ASSERT_EQ(trace.workers.size(), 2u);
  EXPECT_GT(trace.workers[1].activity.events.size(), 2045u * 2);
  expect_on_one_clock(trace, 2);
}

TEST(WorkerReports, OfEventsThatWereOverwrittenTheNumberIsTold) {
  SKIP_WITHOUT_TINY_MODELS();
  EngineOptions options = traced_options(300);
  options.topology.tensor_parallel_size = 2;
  SpanningEngine engine(options, 2);
  engine->generate(greedy(some_ids(20), 100), {});
  const PipelineTrace trace = engine->trace();
  for (const WorkerTrace& worker : trace.workers) {
    EXPECT_LE(worker.activity.events.size(), 300u);
    EXPECT_GT(worker.activity.events.size(), 200u);
    EXPECT_GT(worker.activity.num_dropped, 300);
  }
}

// Traces are read while steps run, by a thread of their own, and disturb nothing.
TEST(WorkerReports, TracesAreReadWhileStepsRun) {
  SKIP_WITHOUT_TINY_MODELS();
  EngineOptions options = traced_options(2'000);
  options.topology.tensor_parallel_size = 2;
  options.topology.pipeline_parallel = "2";
  SpanningEngine engine(options, 2, {.clock_ahead = std::chrono::minutes(3)});
  const GenerationResult expected = engine->generate(greedy(some_ids(20), 60), {});
  std::atomic<bool> stops{false};
  int64_t num_read = 0;
  std::thread reader([&] {
    while (!stops.load()) {
      const PipelineTrace trace = engine->trace_since(now_ns() - 1'000'000'000);
      for (const WorkerTrace& worker : trace.workers)
        num_read += worker.activity.events.empty() ? 0 : 1;
    }
  });
  for (int round = 0; round < 3; ++round)
    EXPECT_EQ(engine->generate(greedy(some_ids(20), 60), {}).logits_hash, expected.logits_hash);
  stops = true;
  reader.join();
  EXPECT_GT(num_read, 0);
}

TEST(WorkerReports, TimesOfOtherProcessesAreKnownWhileStepsRun) {
  SKIP_WITHOUT_TINY_MODELS();
  EngineOptions options = traced_options(1'000);
  options.topology.pipeline_parallel = "2";
  options.max_num_seqs = 8;
  SpanningEngine engine(options, 2, {.clock_ahead = std::chrono::minutes(3)});
  engine->begin_window();
  double told_s = 0;
  const int64_t begin = now_ns();
  while (told_s == 0 && seconds_between(begin, now_ns()) < 60) {
    for (int i = 0; i < 8; ++i) engine->submit(greedy(some_ids(20 + i), 300));
    // Steps are in flight from the first one to the last.
    while (engine->step({})) {
      if (engine->stats().num_running < 8) continue;
      const PipelineReport report = engine->report_window();
      ASSERT_EQ(report.stages.size(), 2u);
      told_s = std::max(told_s, report.stages[1].work_s());
      EXPECT_NEAR(report.stages[1].sum_s(), report.stages[1].window_s, 1e-6);
      EXPECT_LE(report.stages[1].window_s, report.window_s + 1.0);
    }
  }
  EXPECT_GT(told_s, 0.0);
}

TEST(WorkerReports, BytesReadAreThoseOfAllRanks) {
  SKIP_WITHOUT_TINY_MODELS();
  EngineOptions options = traced_options(0);
  options.topology.tensor_parallel_size = 2;
  const auto alone = Engine::load(options)->generate(greedy(some_ids(20), 8), {});
  SpanningEngine engine(options, 2);
  EXPECT_EQ(engine->generate(greedy(some_ids(20), 8), {}).weight_bytes_read,
            alone.weight_bytes_read);
}

}  // namespace
}  // namespace weft::engine
