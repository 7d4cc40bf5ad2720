#include "fleet/engine_client.h"

#include "engine/served_limits.h"

namespace weft::fleet {

void check_generate(const Generate& request, const engine::RequestLimits& limits) {
  engine::check_served(request.sampling);
  engine::Request asked;
  asked.prompt_ids = request.prompt_ids;
  asked.sampling = request.sampling;
  asked.priority = request.priority;
  asked.cache_salt = request.cache_salt;
  engine::check_request(asked, limits);
}

}  // namespace weft::fleet
