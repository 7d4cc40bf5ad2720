// What ended an answer, as vLLM's answers say it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

namespace weft::serve {

// A number where a stop token ended it, the stop text where one did, otherwise null. `reason`: the
// engine's (engine/request.h), of an answer of these tokens that these texts would stop.
nlohmann::ordered_json stop_reason_json(const std::string& reason,
                                        std::span<const int32_t> token_ids,
                                        const std::vector<std::string>& stop);

}  // namespace weft::serve
