#include "cli/step_predictions.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>

#include "cli/serving_figures.h"

namespace weft::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kKinds[] = {"decode", "prompt", "mixed"};

size_t kind_of(const engine::StepLoad& load) {
  if (!load.has_prompt) return 0;
  return load.attention_pairs > load.chunk_pairs ? 2 : 1;
}

std::vector<double> sizes(std::vector<double> errors) {
  for (double& error : errors) error = std::abs(error);
  return errors;
}

std::vector<double> all_errors(std::span<const PredictionGroup> groups, const char* kind) {
  std::vector<double> all;
  for (const PredictionGroup& group : groups) {
    if (kind != nullptr && group.kind != kind) continue;
    const std::vector<double> errors = group.errors();
    all.insert(all.end(), errors.begin(), errors.end());
  }
  return all;
}

}  // namespace

std::vector<double> PredictionGroup::errors() const {
  std::vector<double> errors;
  for (size_t i = 0; i < measured_ms.size(); ++i)
    errors.push_back(predicted_ms[i] / measured_ms[i] - 1);
  return errors;
}

std::vector<PredictionGroup> group_predictions(std::span<const engine::StepRecord> steps) {
  std::map<std::pair<size_t, int64_t>, PredictionGroup> groups;
  for (const engine::StepRecord& step : steps) {
    if (step.work_ns <= 0 || step.context.predicted_s <= 0 || step.load.num_tokens <= 0) continue;
    const size_t kind = kind_of(step.load);
    const auto tokens =
        static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(step.load.num_tokens)));
    PredictionGroup& group = groups[{kind, tokens}];
    group.kind = kKinds[kind];
    group.tokens_from = tokens;
    group.measured_ms.push_back(static_cast<double>(step.work_ns) * 1e-6);
    group.predicted_ms.push_back(step.context.predicted_s * 1e3);
  }
  std::vector<PredictionGroup> list;
  for (auto& [key, group] : groups) list.push_back(std::move(group));
  return list;
}

Json predictions_json(std::span<const PredictionGroup> groups) {
  const std::vector<double> all = all_errors(groups, nullptr);
  Json rows = Json::array();
  for (const PredictionGroup& group : groups) {
    const std::vector<double> errors = group.errors();
    rows.push_back({{"kind", group.kind},
                    {"tokens_from", group.tokens_from},
                    {"num_steps", errors.size()},
                    {"median_measured_ms", percentile(group.measured_ms, 50)},
                    {"median_predicted_ms", percentile(group.predicted_ms, 50)},
                    {"median_error", percentile(errors, 50)},
                    {"p90_error_size", percentile(sizes(errors), 90)}});
  }
  return {{"num_steps", all.size()},
          {"median_error", percentile(all, 50)},
          {"p90_error_size", percentile(sizes(all), 90)},
          {"groups", std::move(rows)}};
}

std::vector<std::string> prediction_lines(std::span<const PredictionGroup> groups) {
  if (groups.empty()) return {};
  std::string line = "step times as predicted by the scheduler, median error (p90 of its size):";
  const char* separator = " ";
  for (const char* kind : kKinds) {
    const std::vector<double> errors = all_errors(groups, kind);
    if (errors.empty()) continue;
    line += fmt::format("{}{} {:+.1f} % ({:.1f} %)", separator, kind, 100 * percentile(errors, 50),
                        100 * percentile(sizes(errors), 90));
    separator = ", ";
  }
  return {line};
}

}  // namespace weft::cli
