// The server as one thing: an engine, its routes, who may use them and how it ends.
//
//   Gateway gateway(options);      // takes its ports, before a model is loaded for them
//   gateway.start(engine);
//   ...
//   gateway.drain(30);             // at SIGTERM
//   gateway.stop();
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fleet/engine_client.h"
#include "serve/admission.h"
#include "serve/http_server.h"
#include "serve/limits_table.h"
#include "serve/openai_routes.h"

namespace weft::serve {

struct GatewayOptions {
  ListenAt at;
  std::optional<ListenAt> admin;  // on loopback or a Unix socket
  HttpServerOptions http;
  std::vector<KeyRule> keys;  // none: everybody may ask
  std::vector<std::string> allowed_hosts;
  std::vector<std::string> served_model_names;  // the first is told; none: the model's own
  std::string chat_template;                    // source, in place of the model's; empty: its own
  ParserNames parsers;                          // of answers
  int64_t ping_ns = 15'000'000'000;             // of streams that wait (serve/openai_routes.h)
  QueueLimits queue;
  int64_t step_limit_ns = 30'000'000'000;  // of a healthy engine (serve/health_routes.h)
  bool logs_requests = true;
  std::string version;
};

// Answers that were not given whole since a drain began.
struct Drained {
  int64_t num_cut = 0;   // by its end
  int64_t num_left = 0;  // their clients left
  int64_t num_slow = 0;  // their clients were dropped, for they did not read
};

class Gateway {
 public:
  // Errors as of HttpServer::listen.
  explicit Gateway(GatewayOptions options);
  ~Gateway();  // stops

  int port() const;
  int admin_port() const;  // 0: none, or a Unix socket
  // Whether it is reached from this machine alone.
  bool is_local() const;
  // Begins to answer, all routes being there.
  void start(std::shared_ptr<fleet::EngineClient> engine);

  // Whether an operator asked for it (POST /drain).
  bool is_asked_to_drain() const;
  // New requests are refused and those that run end, for so many seconds; what runs on is then
  // ended with an error to its client, or cut. Probes are answered until stop().
  Drained drain(double seconds);
  void stop();

  const Router& router() const;
  const Router& admin_router() const;
  const Admission& admission() const;
  int64_t num_working() const;

 private:
  struct Inside;
  std::unique_ptr<Inside> inside_;
};

}  // namespace weft::serve
