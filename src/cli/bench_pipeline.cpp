#include "cli/bench_pipeline.h"

#include <fmt/format.h>

#include <charconv>
#include <ostream>

#include "base/error.h"
#include "base/progress.h"
#include "cli/pipeline_table.h"
#include "cli/step_predictions.h"

namespace weft::cli {
namespace {

// Of the run, for its forecast: 6 MB.
constexpr int64_t kKeptSteps = int64_t{1} << 16;
constexpr double kMostStageMs = 60'000;

std::vector<double> parse_stage_seconds(const std::string& text) {
  std::vector<double> seconds;
  const char *at = text.data(), *const end = text.data() + text.size();
  while (true) {
    double ms = 0;
    const auto [stop, error] = std::from_chars(at, end, ms);
    const bool is_whole = error == std::errc() && (stop == end || *stop == ',');
    if (!is_whole || !(ms >= 0 && ms <= kMostStageMs))
      throw Error(ErrorKind::kUsage,
                  fmt::format("--simulate-stage-ms {} is no list of times", text),
                  fmt::format("each is a number of milliseconds from 0 to {:.0f}", kMostStageMs),
                  "give one for each stage: 20,20,15");
    seconds.push_back(ms * 1e-3);
    if (stop == end) return seconds;
    at = stop + 1;
  }
}

}  // namespace

void BenchPipeline::declare(OptionSet* options) {
  options->group("Pipeline");
  options->add("--calibrate", &when_,
               {"WHEN",
                "measure the time of steps before the run, and predict its bubbles from it; auto: "
                "where there are several stages",
                "",
                {"auto", "always", "never"}});
  options->add("--simulate-stage-ms", &stage_ms_,
               {.unit = "LIST",
                .help = "let each stage sleep until a step has taken it so many milliseconds, to "
                        "see a pipeline where cores are too few: 20,20,15",
                .may_be_empty = false});
}

void BenchPipeline::prepare(engine::EngineOptions* options) const {
  options->num_kept_steps = kKeptSteps;
  if (stage_ms_) options->stage_seconds = parse_stage_seconds(*stage_ms_);
}

void BenchPipeline::calibrate(engine::Engine& engine, const engine::CalibrationRange& range,
                              Console& console) {
  const engine::PipelineReport warm = engine.report_window();
  if (when_ == "never" || (when_ == "auto" && warm.stages.size() < 2)) return;
  Progress progress(console.err, {.label = "calibrating",
                                  .unit = Progress::Unit::kItems,
                                  .is_terminal = console.err_is_terminal});
  int64_t seen = 0;
  costs_ = engine.calibrate(range, [&](int64_t done, int64_t) {
    progress.add(done - seen);
    seen = done;
  });
  progress.finish();
  if (warm.num_steps > 0)
    costs_->planning_s = warm.stages[0].scheduler_s / static_cast<double>(warm.num_steps);
}

void BenchPipeline::report(const engine::Engine& engine, nlohmann::ordered_json* object,
                           std::vector<std::string>* lines) const {
  const engine::PipelineReport report = engine.report_window();
  const std::vector<engine::StepRecord> steps = engine.trace().steps;
  std::optional<engine::Forecast> forecast;
  if (costs_) {
    // Of a run that is longer than the log nothing is predicted.
    if (static_cast<int64_t>(steps.size()) == report.num_steps)
      forecast = engine::forecast(*costs_, steps);
  }
  const std::vector<PredictionGroup> predictions = group_predictions(steps);
  (*object)["step_predictions"] = predictions_json(predictions);
  for (std::string& line : prediction_lines(predictions)) lines->push_back(std::move(line));
  (*object)["pipeline"] = pipeline_json(report, forecast);
  if (report.stages.empty()) return;
  for (std::string& line : pipeline_lines(report, forecast)) lines->push_back(std::move(line));
}

}  // namespace weft::cli
