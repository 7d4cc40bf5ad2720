// What a bench says of its pipeline: stage times calibrated before the run, the bubbles that they
// predict, and those that were measured; stages that are simulated where cores are too few.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/options.h"
#include "cli/commands.h"

namespace weft::cli {

class BenchPipeline {
 public:
  void declare(OptionSet* options);
  // Before the model loads. Error(kUsage) for times that are none.
  void prepare(engine::EngineOptions* options) const;
  // Where the engine has stages to calibrate; a few seconds, with a progress bar. The engine's
  // window holds a run that says what planning a step takes.
  void calibrate(engine::Engine& engine, const engine::CalibrationRange& range, Console& console);
  // Of the engine's window.
  void report(const engine::Engine& engine, nlohmann::ordered_json* object,
              std::vector<std::string>* lines) const;

 private:
  std::string when_ = "auto";
  std::optional<std::string> stage_ms_;
  std::optional<engine::PipelineCosts> costs_;
};

}  // namespace weft::cli
