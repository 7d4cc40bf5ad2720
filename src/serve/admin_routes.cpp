#include "serve/admin_routes.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "base/option_values.h"
#include "serve/aside.h"
#include "serve/chrome_trace.h"
#include "serve/error_object.h"

namespace weft::serve {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kMostTraceSeconds = 3600;

void respond_json(Exchange& exchange, const Json& json) {
  exchange.respond(200, "application/json", json.dump());
}

Json status_json(const fleet::Status& status, bool draining) {
  return {{"alive", status.alive},
          {"paused", status.paused},
          {"draining", draining},
          {"running", status.stats.num_running},
          {"waiting", status.stats.num_waiting},
          {"blocks", status.stats.num_blocks},
          {"free_blocks", status.stats.num_free_blocks},
          {"cached_blocks", status.stats.num_idle_blocks}};
}

// A route that does something and tells how things are once it is done: the engine sees to it
// between two steps.
Route act(const AdminSources& sources, std::function<void()> action) {
  return [sources, action = std::move(action)](const std::shared_ptr<Exchange>& exchange) {
    action();
    sources.engine->when_done(
        [exchange, draining = sources.is_draining()](const fleet::Status& status) {
          respond_json(*exchange, status_json(status, draining));
        });
  };
}

// Of "seconds=N" in a query; 10 where there is none. Nothing where it is no such number.
std::optional<double> seconds_of(std::string_view query) {
  constexpr std::string_view kName = "seconds=";
  if (query.empty()) return 10;
  if (!query.starts_with(kName)) return std::nullopt;
  const std::optional<double> seconds = parse_number(query.substr(kName.size()));
  if (!seconds || *seconds <= 0 || *seconds > kMostTraceSeconds) return std::nullopt;
  return seconds;
}

void respond_trace(const AdminSources& sources, Exchange& exchange) {
  const std::optional<double> seconds = seconds_of(exchange.request().query);
  if (!seconds)
    return respond_error(exchange, {400, "seconds is a number above 0, at most 3600", "", "seconds",
                                    "invalid_value"});
  engine::PipelineTrace trace = sources.engine->trace(static_cast<int64_t>(*seconds * 1e9));
  int64_t end_ns = trace.begin_ns;
  for (const engine::WorkerTrace& worker : trace.workers)
    end_ns = std::max(end_ns, worker.activity.end_ns);
  trace.begin_ns = std::max(trace.begin_ns, end_ns - static_cast<int64_t>(*seconds * 1e9));
  std::erase_if(trace.steps,
                [&](const engine::StepRecord& step) { return step.submitted_ns < trace.begin_ns; });
  std::ostringstream out;
  write_trace(trace, sources.engine->card().split, out);
  exchange.respond(200, "application/json", std::move(out).str(),
                   {{"Content-Disposition", "attachment; filename=\"weft-trace.json\""}});
}

}  // namespace

void add_admin_routes(Router* router, const AdminSources& sources) {
  const std::shared_ptr<fleet::EngineClient> engine = sources.engine;
  router->add("POST", "/pause", act(sources, [engine] { engine->pause(); }));
  router->add("POST", "/resume", act(sources, [engine] { engine->resume(); }));
  router->add("POST", "/drain", act(sources, sources.drain));
  router->add("POST", "/reset_prefix_cache",
              act(sources, [engine] { engine->reset_prefix_cache(); }));
  router->add("GET", "/trace",
              aside(sources.traces, [sources](const std::shared_ptr<Exchange>& exchange) {
                respond_trace(sources, *exchange);
              }));
  router->add("GET", "/status", [sources](const std::shared_ptr<Exchange>& exchange) {
    respond_json(*exchange, status_json(sources.engine->status(), sources.is_draining()));
  });
}

}  // namespace weft::serve
