// What an operator does to a running server, on a listener of its own that is off by default:
//
//   POST /pause /resume         steps stop and go on; nothing is lost
//   POST /drain                 as SIGTERM
//   POST /reset_prefix_cache    cached prefixes that nobody uses are forgotten
//   GET  /trace?seconds=10      what every rank did (serve/chrome_trace.h)
//   GET  /status                paused, draining, what runs and waits
//
// What does something answers as /status does, once it is done.
#pragma once

#include <functional>
#include <memory>

#include "fleet/engine_client.h"
#include "serve/router.h"
#include "serve/task_pool.h"

namespace weft::serve {

struct AdminSources {
  std::shared_ptr<fleet::EngineClient> engine;
  std::function<bool()> is_draining;
  std::function<void()> drain;  // must not block
  TaskPool* traces = nullptr;   // whose threads read and write them; outlives the routes
};
void add_admin_routes(Router* router, const AdminSources& sources);

}  // namespace weft::serve
