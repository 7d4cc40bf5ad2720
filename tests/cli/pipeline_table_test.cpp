#include "cli/pipeline_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace weft::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

engine::PipelineReport report_of_two() {
  engine::PipelineReport report;
  report.window_s = 2.0;
  report.num_steps = 12;
  engine::StageTime time;
  time.window_s = 2.0;
  time.ranks = {0, 1};
  time.busy_s = 1.0;
  time.nothing_s = 0.8;
  time.scheduler_s = 0.2;
  time.drain_s = 0.5;
  report.stages.push_back(time);
  time.ranks = {1, 3};
  time.busy_s = 1.2;
  time.collectives_s = 0.3;
  time.nothing_s = 0.0;
  time.scheduler_s = 0.0;
  time.input_s = 0.5;
  time.fill_s = 0.1;
  report.stages.push_back(time);
  return report;
}

TEST(PipelineTable, ShowsPercentsOfTheWindowBesideTheForecast) {
  engine::Forecast forecast;
  forecast.window_s = 1.9;
  forecast.work_s = {0.95, 1.425};
  EXPECT_THAT(
      pipeline_lines(report_of_two(), forecast),
      ElementsAre(
          "12 steps in 2.000 s, predicted 1.900 s",
          HasSubstr("bubble %  predicted %  within %  fill ms  drain ms"),
          testing::ContainsRegex(
              "0 +50.0 +0.0 +0.0 +40.0 +0.0 +10.0 +50.0 +50.0 +33.3 +0.0 +500.0"),
          testing::ContainsRegex(
              "1 .2 ranks. +60.0 +15.0 +25.0 +0.0 +0.0 +0.0 +25.0 +25.0 +-7.1 +100.0 +500.0")));
  EXPECT_THAT(pipeline_lines(report_of_two(), {})[1], testing::Not(HasSubstr("predicted")));
}

TEST(PipelineTable, JsonHasNullWhereNothingWasPredicted) {
  const auto object = pipeline_json(report_of_two(), {});
  EXPECT_TRUE(object["stages"][0]["predicted_bubble"].is_null());
  EXPECT_DOUBLE_EQ(object["stages"][1]["bubble"], 0.25);
  EXPECT_EQ(object["num_steps"], 12);
}

TEST(PipelineTable, APoolIsOneRow) {
  engine::PipelineReport report = report_of_two();
  report.pooled = true;
  report.stages.resize(1);
  EXPECT_THAT(pipeline_lines(report, {})[0], HasSubstr("one pool of threads"));
  EXPECT_THAT(pipeline_lines(report, {})[2], HasSubstr("pool"));
  const engine::RankTimes ranks[] = {{1.0, 0.5, 0.25, 1000}, {1.0, 0.5, 0.25, 500}};
  EXPECT_EQ(rank_lines(ranks, true).size(), 2u);
  EXPECT_EQ(rank_lines(ranks, false).size(), 3u);
}

}  // namespace
}  // namespace weft::cli
