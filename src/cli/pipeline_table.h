// Where the time of stages and ranks went, as tables for people and as JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/pipeline_forecast.h"

namespace weft::cli {

// A row a rank, or one where one pool ran them all.
std::vector<std::string> rank_lines(std::span<const engine::RankTimes> ranks, bool pooled);

// A row a stage, in percent of the window; the bubble beside the forecast's, where there is one.
std::vector<std::string> pipeline_lines(const engine::PipelineReport& report,
                                        const std::optional<engine::Forecast>& forecast);
// {pooled, window_s, num_steps, predicted_window_s, stages: [{ranks, busy_s, …, bubble,
// inner_bubble, predicted_bubble, fill_s, drain_s}]}; null what was not predicted.
nlohmann::ordered_json pipeline_json(const engine::PipelineReport& report,
                                     const std::optional<engine::Forecast>& forecast);

}  // namespace weft::cli
