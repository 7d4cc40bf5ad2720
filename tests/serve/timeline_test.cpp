#include "serve/timeline.h"

#include <gtest/gtest.h>

#include "serve/recorded_trace.h"

namespace weft::serve {
namespace {

using engine::PipelineTrace;

std::vector<std::vector<TimelineSegment>> segments_of_all(const PipelineTrace& trace) {
  std::vector<std::vector<TimelineSegment>> segments;
  for (const engine::WorkerTrace& worker : trace.workers) segments.push_back(segments_of(worker));
  return segments;
}

TimelineSummary summary_of(const PipelineTrace& trace, int64_t window_ns = int64_t{1} << 60) {
  return summarize(trace, segments_of_all(trace), window_ns);
}

TEST(Timeline, AStepAtAStretchIsOneSegmentWithItsCollectives) {
  engine::WorkerTrace worker;
  worker.activity.events = {
      {0, Activity::kSchedule, 7},   {10, Activity::kCompute, 7}, {20, Activity::kReduce, 7},
      {24, Activity::kWaitPeers, 7}, {30, Activity::kCompute, 7}, {45, Activity::kWaitSend, 7},
      {50, Activity::kCompute, 8},   {60, Activity::kNothing, 8}, {61, Activity::kNothing, 9}};
  worker.activity.end_ns = 70;
  const std::vector<TimelineSegment> segments = segments_of(worker);
  ASSERT_EQ(segments.size(), 5u);
  EXPECT_EQ(segments[0].kind, TimelineKind::kSchedule);
  EXPECT_EQ(segments[1].kind, TimelineKind::kWork);
  EXPECT_EQ(segments[1].begin_ns, 10);
  EXPECT_EQ(segments[1].end_ns, 45);
  EXPECT_EQ(segments[1].collective_ns, 10);
  EXPECT_EQ(segments[1].step, 7u);
  EXPECT_EQ(segments[2].kind, TimelineKind::kSend);
  EXPECT_EQ(segments[3].step, 8u);
  EXPECT_EQ(segments[4].kind, TimelineKind::kIdle);
  EXPECT_EQ(segments[4].step, ActivityEvent::kNoStep);
  EXPECT_EQ(segments[4].end_ns, 70);
  for (size_t i = 1; i < segments.size(); ++i)
    EXPECT_EQ(segments[i].begin_ns, segments[i - 1].end_ns);
}

// Two stages of 4 ms, one micro-batch at a time: each stage idles half of it, which is what the
// recurrence says too.
TEST(Timeline, OneMicroBatchLeavesHalfOfTwoStagesIdle) {
  const TimelineSummary summary = summary_of(one_at_a_time(50, 4'000'000));
  EXPECT_EQ(summary.num_steps, 50);
  EXPECT_NEAR(summary.mean_in_flight, 1.0, 0.01);
  ASSERT_EQ(summary.rows.size(), 2u);
  for (const TimelineSummary::Row& row : summary.rows) {
    EXPECT_NEAR(row.measured, 0.5, 0.005);
    ASSERT_TRUE(row.predicted.has_value());
    EXPECT_NEAR(*row.predicted, 0.5, 0.005);
  }
}

// The same with a micro-batch for each stage: only fill and drain are left.
TEST(Timeline, TwoMicroBatchesCloseTheBubble) {
  const TimelineSummary summary = summary_of(two_at_a_time(50, 4'000'000));
  EXPECT_NEAR(summary.mean_in_flight, 2.0, 0.1);
  for (const TimelineSummary::Row& row : summary.rows) {
    EXPECT_NEAR(row.measured, 1.0 / 51, 0.005);
    EXPECT_NEAR(row.predicted.value(), 1.0 / 51, 0.005);
  }
}

// A pause between requests is no bubble.
TEST(Timeline, WantOfRequestsDoesNotCount) {
  PipelineTrace trace = one_at_a_time(20, 4'000'000);
  shift_from_step(trace, 10, 3'000'000'000);
  const TimelineSummary summary = summary_of(trace);
  EXPECT_NEAR(summary.active_s, 0.160, 0.001);
  EXPECT_NEAR(summary.rows[0].measured, 0.5, 0.01);
  EXPECT_NEAR(summary.rows[0].predicted.value(), 0.5, 0.01);
}

TEST(Timeline, WantOfRequestsIsARestAndNoBubble) {
  PipelineTrace trace = one_at_a_time(20, 4'000'000);
  shift_from_step(trace, 10, 3'000'000'000);
  std::vector<std::vector<TimelineSegment>> segments = segments_of_all(trace);
  mark_rests(trace, segments);
  for (const std::vector<TimelineSegment>& worker : segments) {
    int64_t rest_ns = 0, bubble_ns = 0, at_ns = worker.front().begin_ns;
    for (const TimelineSegment& segment : worker) {
      EXPECT_EQ(segment.begin_ns, at_ns);
      at_ns = segment.end_ns;
      const int64_t ns = segment.end_ns - segment.begin_ns;
      if (segment.kind == TimelineKind::kRest) rest_ns += ns;
      if (segment.kind == TimelineKind::kIdle || segment.kind == TimelineKind::kInput)
        bubble_ns += ns;
    }
    EXPECT_NEAR(static_cast<double>(rest_ns), 3.004e9, 1e6);  // the pause, and after the end
    EXPECT_NEAR(static_cast<double>(bubble_ns), 80e6, 5e6);
  }
}

// A stage that was held up shows as a difference of the two.
TEST(Timeline, AHoldUpIsMeasuredAndNotPredicted) {
  PipelineTrace trace = two_at_a_time(50, 4'000'000);
  delay_last_stage(trace, 25, 100'000'000);
  const TimelineSummary summary = summary_of(trace);
  EXPECT_GT(summary.rows[1].measured, 0.3);
  EXPECT_LT(summary.rows[1].predicted.value(), 0.1);
}

TEST(Timeline, OnlyTheWindowCounts) {
  const TimelineSummary summary = summary_of(one_at_a_time(50, 4'000'000), 80'000'000);
  EXPECT_NEAR(static_cast<double>(summary.num_steps), 10, 1);
}

TEST(Timeline, NothingIsSaidOfNothing) {
  EXPECT_EQ(summary_of(PipelineTrace{}).active_s, 0);
  PipelineTrace trace = one_at_a_time(3, 1000);
  trace.steps.clear();
  const TimelineSummary summary = summary_of(trace);
  EXPECT_EQ(summary.num_steps, 0);
  EXPECT_FALSE(summary.rows[0].predicted.has_value());
}

}  // namespace
}  // namespace weft::serve
