// What came of tokens guessed ahead, for --stats and the benches.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "engine/request.h"

namespace weft::cli {

// seconds: of all the work in which they were guessed.
nlohmann::ordered_json speculation_json(const engine::SpeculationStats& stats, double seconds);
// One line; empty where nothing was guessed and no draft model ran.
std::string speculation_line(const engine::SpeculationStats& stats, double seconds);

}  // namespace weft::cli
