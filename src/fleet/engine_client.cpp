#include "fleet/engine_client.h"

#include <algorithm>

#include "engine/served_limits.h"

namespace weft::fleet {

void check_generate(const Generate& request, const engine::RequestLimits& limits) {
  const auto num_prompt_tokens = static_cast<int64_t>(request.prompt_ids.size());
  const int64_t room = std::max<int64_t>(0, limits.max_model_len - num_prompt_tokens);
  engine::check_served(request.sampling, num_prompt_tokens,
                       std::min(request.sampling.max_tokens, room));
  engine::Request asked;
  asked.prompt_ids = request.prompt_ids;
  asked.sampling = request.sampling;
  asked.priority = request.priority;
  asked.cache_salt = request.cache_salt;
  engine::check_request(asked, limits);
}

}  // namespace weft::fleet
