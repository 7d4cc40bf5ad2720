#include "cli/step_predictions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/fake_engine.h"

namespace weft::cli {
namespace {

engine::StepRecord step(int64_t decodes, int64_t chunk, double predicted_ms, double measured_ms) {
  engine::StepRecord record;
  for (int64_t i = 0; i < decodes; ++i) record.load.add(100, 1, 1);
  if (chunk > 0) record.load.add(50, chunk);
  record.load.has_prompt = chunk > 0;
  record.context.predicted_s = predicted_ms * 1e-3;
  record.work_ns = static_cast<int64_t>(measured_ms * 1e6);
  return record;
}

TEST(StepPredictions, StandBesideWhatWasMeasured) {
  const std::vector<engine::StepRecord> steps = {
      step(16, 0, 10, 10), step(17, 0, 11, 10),    step(16, 0, 9, 10),  // 16 to 31 tokens
      step(1, 0, 4, 2),    step(0, 512, 300, 300), step(16, 20, 24, 30),
      step(16, 0, 0, 10),  // nothing was said of it
      step(16, 0, 10, 0),  // not answered yet
  };
  const std::vector<PredictionGroup> groups = group_predictions(steps);
  ASSERT_EQ(groups.size(), 4u);
  EXPECT_EQ(groups[0].kind, "decode");
  EXPECT_EQ(groups[0].tokens_from, 1);
  EXPECT_NEAR(groups[0].errors().at(0), 1.0, 1e-9);
  EXPECT_EQ(groups[1].tokens_from, 16);
  EXPECT_EQ(groups[1].measured_ms.size(), 3u);
  EXPECT_EQ(groups[2].kind, "prompt");
  EXPECT_EQ(groups[3].kind, "mixed");
  EXPECT_EQ(groups[3].tokens_from, 32);
  const nlohmann::ordered_json found = predictions_json(groups);
  EXPECT_EQ(found["num_steps"], 6);
  EXPECT_NEAR(found["groups"][1]["p90_error_size"].get<double>(), 0.1, 1e-9);
  EXPECT_NEAR(found["groups"][3]["median_error"].get<double>(), -0.2, 1e-9);
  EXPECT_NEAR(found["groups"][3]["median_measured_ms"].get<double>(), 30, 1e-9);
  ASSERT_EQ(prediction_lines(groups).size(), 1u);
  EXPECT_THAT(prediction_lines(groups)[0], testing::HasSubstr("mixed -20.0 % (20.0 %)"));
  EXPECT_TRUE(prediction_lines({}).empty());
}

TEST(StepPredictions, AreAPartOfTheBench) {
  Program program;
  program.state.trace.steps = {step(16, 20, 24, 30)};
  ASSERT_EQ(program.run({"bench", "throughput", ".", "--num-prompts", "2", "--input-len", "4",
                         "--output-len", "2", "--no-bounds"}),
            0)
      << program.err;
  EXPECT_THAT(program.out, testing::HasSubstr("mixed -20.0 %"));
}

}  // namespace
}  // namespace weft::cli
