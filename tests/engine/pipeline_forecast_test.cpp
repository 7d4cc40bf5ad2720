#include "engine/pipeline_forecast.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

namespace weft::engine {
namespace {

PipelineCosts costs_of(const std::vector<double>& stage_s, double hop_s = 0,
                       double planning_s = 0) {
  PipelineCosts costs;
  for (const double seconds : stage_s) costs.stages.push_back(StepTimes::constant(seconds));
  costs.hop = StepTimes::constant(hop_s);
  costs.planning_s = planning_s;
  return costs;
}

// Steps of one sequence each, at most `in_flight` at a time: step k waits for the answer of step
// k - in_flight.
std::vector<StepRecord> steps_of(uint64_t count, uint64_t in_flight, uint64_t first = 0) {
  std::vector<StepRecord> steps(count);
  for (uint64_t k = 0; k < count; ++k) {
    steps[k].id = first + k;
    steps[k].num_needed = first + (k < in_flight ? 0 : k - in_flight + 1);
    steps[k].load.num_tokens = steps[k].num_sequences = 1;
  }
  return steps;
}

double sum(const std::vector<double>& v) { return std::accumulate(v.begin(), v.end(), 0.0); }
double most(const std::vector<double>& v) { return *std::max_element(v.begin(), v.end()); }

TEST(PipelineForecast, OneShotRunsHaveTheBubbleOfTheirFillAndDrain) {
  for (const size_t stages : {1, 2, 4, 8}) {
    for (const uint64_t count : {1, 6, 8, 32}) {
      const Forecast f =
          forecast(costs_of(std::vector<double>(stages, 0.02)), steps_of(count, count));
      const double p = static_cast<double>(stages), m = static_cast<double>(count);
      EXPECT_NEAR(f.window_s, (m + p - 1) * 0.02, 1e-12);
      for (size_t s = 0; s < stages; ++s) EXPECT_NEAR(f.bubble(s), (p - 1) / (m + p - 1), 1e-12);
    }
  }
}

TEST(PipelineForecast, UnevenOneShotRunsGoAtThePaceOfTheSlowest) {
  const std::vector<double> stage_s = {0.01, 0.03, 0.005, 0.02};
  for (const uint64_t count : {1, 5, 20}) {
    const Forecast f = forecast(costs_of(stage_s), steps_of(count, count));
    const double m = static_cast<double>(count);
    EXPECT_NEAR(f.window_s, sum(stage_s) + (m - 1) * 0.03, 1e-12);
    for (size_t s = 0; s < stage_s.size(); ++s)
      EXPECT_NEAR(f.bubble(s), 1 - m * stage_s[s] / f.window_s, 1e-12);
  }
}

// What the time grows by a turn of the ring, once it is full.
TEST(PipelineForecast, SteadyDecodingHasTheCycleOfItsRing) {
  const double hop = 0.001;
  for (const std::vector<double>& stage_s :
       {std::vector<double>(8, 0.02), std::vector<double>{0.01, 0.03, 0.005, 0.02}}) {
    for (uint64_t m = 1; m <= stage_s.size() + 1; ++m) {
      const auto window = [&](uint64_t turns) {
        return forecast(costs_of(stage_s, hop), steps_of(m * turns, m));
      };
      const Forecast a = window(50), b = window(150);
      const double cycle = (b.window_s - a.window_s) / 100;
      const double hops = hop * static_cast<double>(stage_s.size());  // with the way back
      EXPECT_NEAR(cycle, std::max(static_cast<double>(m) * most(stage_s), sum(stage_s) + hops),
                  1e-9);
      for (size_t s = 0; s < stage_s.size(); ++s) {
        const double bubble = 1 - (b.work_s[s] - a.work_s[s]) / (b.window_s - a.window_s);
        EXPECT_NEAR(bubble, std::max(0.0, 1 - static_cast<double>(m) * stage_s[s] / cycle), 1e-9);
      }
    }
  }
}

TEST(PipelineForecast, PlanningIsOnTheFirstStagesWay) {
  const Forecast f = forecast(costs_of({0.02, 0.02}, 0, 0.005), steps_of(10, 10));
  EXPECT_NEAR(f.window_s, 10 * 0.025 + 0.02, 1e-12);
}

TEST(PipelineForecast, AWindowMayBeginAnywhereInARun) {
  const PipelineCosts costs = costs_of({0.02, 0.01}, 0.001);
  EXPECT_DOUBLE_EQ(forecast(costs, steps_of(40, 2, 1000)).window_s,
                   forecast(costs, steps_of(40, 2)).window_s);
  EXPECT_EQ(forecast(costs, {}).window_s, 0);
}

TEST(StepLog, KeepsTheLastSteps) {
  StepPlan plan;
  const int32_t ids[] = {1, 2, 3}, blocks[] = {0};
  plan.add(ids, 10, blocks);
  plan.add(std::span(ids).first(1), 4, blocks);
  StepRecord record = record_of(plan);
  EXPECT_EQ(record.load.num_tokens, 4);
  EXPECT_EQ(record.load.attention_pairs, 11 + 12 + 13 + 5);
  EXPECT_EQ(record.num_sequences, 2);
  EXPECT_EQ(record.positions.begin, 4);
  EXPECT_EQ(record.positions.end, 13);
  EXPECT_TRUE(record.load.has_prompt);
  StepLog log;
  log.keep(4);
  for (uint64_t k = 0; k < 10; ++k) {
    record.id = k;
    record.submitted_ns = static_cast<int64_t>(k);
    log.add(record);
  }
  const std::vector<StepRecord> last = log.since(3);
  ASSERT_EQ(last.size(), 4u);
  EXPECT_EQ(last.front().id, 6u);
  EXPECT_EQ(last.front().work_ns, 0);
  log.worked(8, 55);
  log.worked(3, 66);  // is not kept any more
  EXPECT_EQ(log.since(7)[1].work_ns, 55);
  for (const StepRecord& step : log.since(0)) EXPECT_NE(step.work_ns, 66);
  EXPECT_EQ(log.since(8).size(), 2u);
  EXPECT_TRUE(log.since(10).empty());
}

}  // namespace
}  // namespace weft::engine
