#include "serve/stop_reason.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace weft::serve {

nlohmann::ordered_json stop_reason_json(const std::string& reason,
                                        std::span<const int32_t> token_ids,
                                        const std::vector<std::string>& stop) {
  if (reason.empty()) return nullptr;
  const bool is_id = !token_ids.empty() && reason == std::to_string(token_ids.back()) &&
                     std::count(stop.begin(), stop.end(), reason) == 0;
  if (is_id) return token_ids.back();
  return reason;
}

}  // namespace weft::serve
