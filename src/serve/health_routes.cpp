#include "serve/health_routes.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/clock.h"

namespace weft::serve {
namespace {

using Json = nlohmann::ordered_json;

void respond_json(Exchange& exchange, int status, const Json& json, HttpHeaders headers = {}) {
  headers.emplace_back("Cache-Control", "no-store");
  exchange.respond(status, "application/json", json.dump(), std::move(headers));
}

Route ready_route(const HealthSources& sources) {
  return [sources](const std::shared_ptr<Exchange>& exchange) {
    const Health health =
        judge_health(sources.status(), sources.is_draining(), now_ns(), sources.step_limit_ns);
    if (health.ready) return respond_json(*exchange, 200, {{"status", health.reason}});
    respond_json(*exchange, 503, {{"status", health.reason}}, retry_headers(5));
  };
}

Route load_route(const HealthSources& sources) {
  return [sources](const std::shared_ptr<Exchange>& exchange) {
    const fleet::Status status = sources.status();
    respond_json(*exchange, 200,
                 {{"server_load", sources.admission->num_answers()},  // vLLM's name
                  {"running", status.stats.num_running},
                  {"waiting", status.stats.num_waiting},
                  {"held_answers", sources.admission->num_answers()},
                  {"held_tokens", sources.admission->num_tokens()},
                  {"refused", sources.admission->num_refused()}});
  };
}

}  // namespace

Health judge_health(const fleet::Status& status, bool is_draining, int64_t now,
                    int64_t step_limit_ns) {
  if (!status.alive) return {false, "the engine is lost"};
  if (is_draining) return {false, "draining"};
  if (status.paused) return {false, "paused"};
  if (status.in_step_since_ns > 0 && now - status.in_step_since_ns > step_limit_ns)
    return {false, "a step does not end"};
  const bool has_work = status.stats.num_running + status.stats.num_waiting > 0;
  const int64_t last = std::max(status.last_step_ns, status.started_ns);
  // What waits may have come this moment, after hours without a step: its age says more.
  int64_t since = last;
  if (!status.requests.empty()) since = std::max(since, status.requests.front().arrived_ns);
  const bool owes_a_step = has_work || status.probe_ns > 0;
  if (owes_a_step && status.in_step_since_ns == 0 && since > 0 && now - since > step_limit_ns)
    return {false, "no step is taken"};
  return {};
}

void add_health_routes(Router* router, const HealthSources& sources) {
  router->add("GET", "/live", [](const std::shared_ptr<Exchange>& exchange) {
    respond_json(*exchange, 200, {{"status", "ok"}});
  });
  for (const char* path : {"/ready", "/health", "/ping"})
    router->add("GET", path, ready_route(sources));
  router->add("GET", "/version", [sources](const std::shared_ptr<Exchange>& exchange) {
    respond_json(*exchange, 200, {{"version", sources.version}});
  });
  router->add("GET", "/load", load_route(sources));
}

}  // namespace weft::serve
