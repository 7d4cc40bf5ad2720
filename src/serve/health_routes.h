// What probes and load balancers ask: GET /live, /ready, /health, /ping, /version, /load.
//
// /live is 200 while the process answers at all. /ready, /health and /ping are 200 only while
// requests are answered: the engine is alive and was not paused, the server does not drain, and
// a step was completed lately, for a request or, where there is none, as a probe. A process that
// answers is no proof of that.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "fleet/engine_client.h"
#include "serve/admission.h"
#include "serve/router.h"

namespace weft::serve {

struct Health {
  bool ready = true;
  const char* reason = "ok";  // one word or a few; tells nothing of requests
};

// step_limit_ns: how long a step may take, and how long work may wait for one, or an idle engine
// that probes (fleet/local_engine.h) go without.
Health judge_health(const fleet::Status& status, bool is_draining, int64_t now_ns,
                    int64_t step_limit_ns);

struct HealthSources {
  std::function<fleet::Status()> status;
  std::function<bool()> is_draining;
  const Admission* admission = nullptr;  // outlives the routes
  std::string version;
  int64_t step_limit_ns = 30'000'000'000;
};
void add_health_routes(Router* router, const HealthSources& sources);

}  // namespace weft::serve
