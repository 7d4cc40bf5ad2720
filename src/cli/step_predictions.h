// How well the step times that the scheduler plans by (engine/step_times.h) foretold the steps of a
// run: each step's work against what was said of it when it was planned.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "engine/step_log.h"

namespace weft::cli {

// Of steps that are alike.
struct PredictionGroup {
  std::string kind;     // "decode", "prompt", or "mixed": parts of prompts beside answers
  int64_t tokens_from;  // tokens of a step: [tokens_from, 2 * tokens_from)
  std::vector<double> measured_ms, predicted_ms;  // [steps]

  // Predicted over measured, less 1: below 0 where steps took longer than was said.
  std::vector<double> errors() const;
};

// Steps that were not answered, or that nothing was said of, are left out.
std::vector<PredictionGroup> group_predictions(std::span<const engine::StepRecord> steps);

// median_error with its sign; the p90 of its size; the same of each group beside its median times.
nlohmann::ordered_json predictions_json(std::span<const PredictionGroup> groups);
// One line, none without steps.
std::vector<std::string> prediction_lines(std::span<const PredictionGroup> groups);

}  // namespace weft::cli
