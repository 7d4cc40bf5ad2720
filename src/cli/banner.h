// What is said on standard error when a model has been loaded: at most 25 lines.
#pragma once

#include <string>
#include <vector>

#include "cli/text_table.h"
#include "engine/engine.h"

namespace weft::cli {

inline constexpr size_t kMaxBannerLines = 25;

// One line that names the model: "SmolLM2 135M Instruct: llama, Q4_1, 134.5 M parameters, 98.4 MB".
std::string model_line(const engine::ModelReport& model);
// "30 layers, hidden 576, 9 heads and 3 KV heads of 64, FFN 1536, vocabulary 49152 (tied)".
std::string shape_line(const engine::ModelReport& model);

// A row a rank; neighbours with equal shares are one row ("2-5"). At most `max_rows` rows, the rest
// as one line that counts them. kv_per_token: that column in place of the cache's bytes.
std::vector<std::string> rank_lines(const std::vector<engine::RankShare>& ranks, size_t max_rows,
                                    bool kv_per_token);

// "SmolLM2 135M guesses tokens ahead, on 1 rank: weights 98.4 MB, ..."; of a split that has one.
std::string draft_line(const engine::SplitReport& split);

std::vector<std::string> banner_lines(const engine::Engine& engine,
                                      const engine::EngineOptions& options);

}  // namespace weft::cli
