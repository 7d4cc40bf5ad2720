#include "serve/gateway.h"

#include <atomic>
#include <utility>

#include "base/error.h"
#include "serve/access_log.h"
#include "serve/admin_routes.h"
#include "serve/aside.h"
#include "serve/cache_data.h"
#include "serve/health_routes.h"
#include "serve/metered_client.h"
#include "serve/metrics.h"
#include "serve/openai_routes.h"
#include "serve/page_data.h"
#include "serve/page_files.h"
#include "serve/timeline_data.h"

namespace weft::serve {
namespace {

// To tell clients that their answers end here.
constexpr double kSecondsForErrors = 1;
// Once answers were cut, their routes cancel, and that takes a step or two.
constexpr double kSecondsAfterACut = 2;
// Each page asks for one every second or so, and waits for it.
constexpr size_t kMostTracesWaiting = 64;

HttpServerOptions one_thread(HttpServerOptions options) {
  options.num_threads = 1;
  return options;
}

}  // namespace

struct Gateway::Inside {
  explicit Inside(GatewayOptions wanted)
      : options(std::move(wanted)),
        access(options.keys),
        http(options.http, [this](const AnsweredRequest& answered) { note(answered); }),
        admin_http(one_thread(options.http)) {}

  void note(const AnsweredRequest& answered) {
    if (answered.cut && http.is_draining() && !cuts) ++(answered.slow ? num_slow : num_left);
    if (options.logs_requests) log_answered(answered);
    if (metrics) metrics->count_answered(answered);
  }

  // What is asked of the engine from here on is measured.
  void measure(std::shared_ptr<fleet::EngineClient> whole) {
    const std::string& name = options.served_model_names.empty()
                                  ? whole->card().name
                                  : options.served_model_names.front();
    metrics = std::make_shared<Metrics>(name);
    engine = std::make_shared<MeteredClient>(std::move(whole), metrics);
  }

  AdmissionLimits admission_limits() const {
    const fleet::ModelCard& card = engine->card();
    AdmissionLimits limits;
    limits.max_answers = card.max_num_seqs + options.queue.num_requests;
    limits.max_tokens = options.queue.num_tokens > 0
                            ? card.num_blocks * card.block_size + options.queue.num_tokens
                            : limits.max_answers * card.limits.max_model_len;
    return limits;
  }

  void add_routes() {
    add_health_routes(&router, {[engine = engine] { return engine->status(); },
                                [this] { return http.is_draining(); }, admission.get(),
                                options.version, options.step_limit_ns});
    add_openai_routes(&router, engine, admission.get(),
                      {.model_names = options.served_model_names,
                       .chat_template = options.chat_template,
                       .parsers = options.parsers,
                       .ping_ns = options.ping_ns});
    router.add("GET", "/metrics",
               [engine = engine, metrics = metrics](const std::shared_ptr<Exchange>& exchange) {
                 exchange->respond(200, Metrics::kContentType,
                                   metrics->text(engine->card(), engine->status()));
               });
    add_page_routes();
    add_admin_routes(&admin_router,
                     {engine, [this] { return asked_to_drain || http.is_draining(); },
                      [this] { asked_to_drain = true; }, traces.get()});
  }

  void add_page_routes() {
    for (const PageFile& file : page_files())
      router.add("GET", std::string(file.path), respond_page_file);
    const EngineOf engine_of = [engine = engine] { return engine; };
    router.add("GET", "/weft/state", state_route(engine_of));
    router.add("GET", "/weft/timeline", aside(traces.get(), timeline_route(engine_of)));
    router.add("GET", "/weft/cache", cache_route(engine_of, traces));
  }

  const GatewayOptions options;
  Access access;
  std::shared_ptr<fleet::EngineClient> engine;
  std::shared_ptr<Metrics> metrics;  // before the servers start
  std::unique_ptr<Admission> admission;
  Router router, admin_router;  // its routes use all three
  std::atomic<bool> asked_to_drain{false};
  std::atomic<int64_t> num_left{0}, num_slow{0};  // while it drains
  std::atomic<bool> cuts{false};
  int port = 0, admin_port = 0;
  // A trace may be megabytes, and in part on other hosts. One thread, so that however many look on
  // take one core at most.
  const std::shared_ptr<TaskPool> traces = std::make_shared<TaskPool>(1, kMostTracesWaiting);
  // They stop before what their routes use is gone.
  HttpServer http, admin_http;
};

Gateway::Gateway(GatewayOptions options) : inside_(std::make_unique<Inside>(std::move(options))) {
  Inside& inside = *inside_;
  inside.port = inside.http.listen(inside.options.at,
                                   {&inside.router, &inside.access, inside.options.allowed_hosts});
  if (!inside.options.admin) return;
  inside.admin_port = inside.admin_http.listen(
      *inside.options.admin, {&inside.admin_router, &inside.access, {}, /*for_admins=*/true});
  WEFT_CHECK(inside.admin_http.is_local(), "the admin listener is open to a network");
}

Gateway::~Gateway() { stop(); }

int Gateway::port() const { return inside_->port; }
int Gateway::admin_port() const { return inside_->admin_port; }
bool Gateway::is_local() const { return inside_->http.is_local(); }

void Gateway::start(std::shared_ptr<fleet::EngineClient> engine) {
  inside_->measure(std::move(engine));
  inside_->admission = std::make_unique<Admission>(inside_->admission_limits());
  inside_->add_routes();
  inside_->http.start();
  if (inside_->options.admin) inside_->admin_http.start();
}

bool Gateway::is_asked_to_drain() const { return inside_->asked_to_drain; }

Drained Gateway::drain(double seconds) {
  Inside& inside = *inside_;
  inside.admission->close();
  inside.engine->resume();  // what was let in is to end, and paused it never would
  inside.http.drain();
  Drained drained;
  if (!inside.http.wait_until_idle(seconds)) {
    inside.cuts = true;
    drained.num_cut = inside.http.shut_down();
    if (!inside.http.wait_until_idle(kSecondsForErrors)) {
      inside.http.cut();
      inside.http.wait_until_idle(kSecondsAfterACut);
    }
  }
  drained.num_left = inside.num_left;
  drained.num_slow = inside.num_slow;
  return drained;
}

void Gateway::stop() {
  inside_->http.stop();
  inside_->admin_http.stop();
}

const Router& Gateway::router() const { return inside_->router; }
const Router& Gateway::admin_router() const { return inside_->admin_router; }
const Admission& Gateway::admission() const { return *inside_->admission; }
int64_t Gateway::num_working() const { return inside_->http.num_working(); }

}  // namespace weft::serve
