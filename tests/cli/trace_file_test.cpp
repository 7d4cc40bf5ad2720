#include "cli/trace_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/fake_engine.h"
#include "serve/chrome_trace.h"

namespace weft::cli {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

// Two stages of one rank: a step is computed by the first and waited for by the second.
engine::PipelineTrace small_trace() {
  engine::PipelineTrace trace;
  trace.begin_ns = 1'000'000;
  engine::WorkerTrace first{0, {0, 1}, {}}, second{1, {1, 2}, {}};
  first.activity.events = {{500'000, Activity::kNothing, ActivityEvent::kNoStep},
                           {1'500'000, Activity::kCompute, 7},
                           {4'500'000, Activity::kWaitSend, 7}};
  first.activity.end_ns = 5'000'000;
  second.activity.events = {{900'000, Activity::kCompute, 6},
                            {950'000, Activity::kWaitInput, 7},
                            {4'600'000, Activity::kCompute, 7}};
  second.activity.end_ns = 6'000'000;
  second.activity.num_dropped = 3;
  trace.workers = {first, second};
  engine::StepRecord step;
  step.id = 7;
  step.load = {32, 640};
  step.num_sequences = 4;
  step.positions = {10, 42};
  step.submitted_ns = 1'400'000;
  step.context = {4, 2, 17};
  trace.steps = {step};
  return trace;
}

json parsed(const engine::PipelineTrace& trace) {
  FakeState state;
  state.split.ranks[1].stage = 1;
  std::ostringstream out;
  serve::write_trace(trace, state.split, out);
  return json::parse(out.str());
}

TEST(TraceFile, HoldsARowARankAndAnEventAnActivity) {
  const json trace = parsed(small_trace());
  std::vector<json> complete, counters, names;
  for (const json& event : trace["traceEvents"]) {
    auto& list = event["ph"] == "X" ? complete : event["ph"] == "C" ? counters : names;
    list.push_back(event);
  }
  ASSERT_EQ(complete.size(), 5u);  // one ended before the window
  EXPECT_EQ(complete[0]["name"], "bubble: nothing to do");
  EXPECT_EQ(complete[0]["ts"], 0.0);  // cut at the window
  EXPECT_EQ(complete[0]["dur"], 500.0);
  EXPECT_FALSE(complete[0]["args"].contains("step"));
  EXPECT_EQ(complete[1]["name"], "compute");
  EXPECT_EQ(complete[1]["ts"], 500.0);
  EXPECT_EQ(complete[1]["dur"], 3000.0);
  EXPECT_EQ(complete[1]["args"]["step"], 7);
  EXPECT_EQ(complete[1]["args"]["tokens"], 32);
  EXPECT_EQ(complete[1]["args"]["sequences"], 4);
  EXPECT_EQ(complete[1]["args"]["positions"], "10-41");
  EXPECT_EQ(complete[3]["name"], "bubble: waiting for input");
  EXPECT_EQ(complete[4]["dur"], 1400.0);
  EXPECT_NE(complete[1]["pid"], complete[3]["pid"]);
  ASSERT_EQ(counters.size(), 2u);
  EXPECT_EQ(counters[0]["args"]["waiting"], 2);
  EXPECT_EQ(counters[1]["args"]["blocks"], 17);
  EXPECT_THAT(json(names).dump(), HasSubstr("stage 1: layers 0-29"));
  EXPECT_THAT(json(names).dump(), HasSubstr("rank 1"));
}

TEST(TraceFile, OfNothingIsValid) {
  EXPECT_EQ(parsed({})["traceEvents"].size(), 1u);  // the row of the counters
}

class TraceOfACommand : public testing::Test {
 protected:
  std::string file_ = (std::filesystem::temp_directory_path() /
                       ("weft_trace_" + std::to_string(::getpid()) + ".json"))
                          .string();
  void TearDown() override { std::filesystem::remove(file_); }
  json written() const {
    std::ifstream in(file_);
    return json::parse(in);
  }
  Program program_;
};

TEST_F(TraceOfACommand, IsWrittenAtTheEnd) {
  program_.state.trace = small_trace();
  ASSERT_EQ(program_.run({"run", ".", "-p", "hello", "--trace", file_}), 0) << program_.err;
  EXPECT_GT(written()["traceEvents"].size(), 5u);
  EXPECT_THAT(program_.err, HasSubstr("writing the trace to " + file_));
  EXPECT_THAT(program_.err, testing::Not(HasSubstr("came before it")));
  EXPECT_EQ(program_.state.loaded_with.num_kept_events, 200'000);
  EXPECT_EQ(program_.state.num_windows, 1);
}

TEST_F(TraceOfACommand, SaysWhatWasDropped) {
  program_.state.trace = small_trace();
  program_.state.trace.begin_ns = 0;
  ASSERT_EQ(program_.run({"bench", "latency", ".", "--no-bounds", "--num-iters", "2", "--trace",
                          file_, "--trace-events", "5000"}),
            0)
      << program_.err;
  EXPECT_EQ(program_.state.loaded_with.num_kept_events, 5000);
  EXPECT_THAT(program_.err, HasSubstr("3 events came before it (--trace-events)"));
}

TEST_F(TraceOfACommand, AFileThatCannotBeWrittenIsRefusedBeforeTheLoad) {
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"run", ".", "-p", "hello"},
        {"bench", "throughput", "."},
        {"bench", "latency", "."}}) {
    std::vector<std::string> arguments = command;
    arguments.insert(arguments.end(), {"--trace", "/nowhere/trace.json"});
    EXPECT_EQ(program_.run(arguments), 2);
    EXPECT_THAT(program_.err, HasSubstr("/nowhere/trace.json cannot be written"));
    EXPECT_EQ(program_.state.num_loads, 0);
  }
}

TEST(BenchPipeline, CalibratesWhereThereAreStages) {
  Program program;
  program.state.report.stages.resize(2);
  program.state.report.stages[0].window_s = program.state.report.stages[1].window_s = 1.0;
  program.state.costs.stages.resize(2);
  ASSERT_EQ(
      program.run({"bench", "throughput", ".", "--num-prompts", "4", "--input-len", "20",
                   "--output-len", "5", "--no-bounds", "--simulate-stage-ms", "20,12.5", "--json"}),
      0)
      << program.err;
  ASSERT_EQ(program.state.calibrations.size(), 1u);
  EXPECT_EQ(program.state.calibrations[0].num_decodes, 4);
  EXPECT_EQ(program.state.calibrations[0].chunk_tokens, 25);
  EXPECT_EQ(program.state.calibrations[0].context, 25);
  EXPECT_EQ(program.state.loaded_with.stage_seconds, (std::vector<double>{0.02, 0.0125}));
  EXPECT_EQ(json::parse(program.out)["pipeline"]["stages"].size(), 2u);
  EXPECT_THAT(program.err, HasSubstr("calibrating: 1 in "));
  ASSERT_EQ(program.run({"bench", "throughput", ".", "--num-prompts", "4", "--no-bounds",
                         "--calibrate", "never"}),
            0);
  EXPECT_EQ(program.state.calibrations.size(), 1u);
  for (const char* times : {"", "20,", "x", "-1", "nan", "20;20", "1e9"})
    EXPECT_EQ(program.run({"bench", "throughput", ".", "--simulate-stage-ms", times}), 2) << times;
}

}  // namespace
}  // namespace weft::cli
