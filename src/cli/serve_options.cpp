#include "cli/serve_options.h"

#include <fmt/format.h>

#include "base/error.h"
#include "cli/version.h"

namespace weft::cli {
void ServeOptions::declare(OptionSet* options) {
  options->group("Server");
  options->add("--host", &host,
               {.unit = "ADDRESS",
                .help = "address or name to listen at; 0.0.0.0 and :: are open to the network",
                .may_be_empty = false});
  options->add("--port", &port, {"PORT", "0: any free one"}, 0, 65'535);
  options->add("--uds", &unix_path,
               {.unit = "PATH",
                .help = "listen at a Unix socket, in place of host and port",
                .may_be_empty = false});
  options->exclude("--uds", "--host", [this] { return !unix_path.empty(); });
  options->add("--ssl-certfile", &tls_certificate_file,
               {.unit = "FILE",
                .help = "speak TLS: the certificate and its chain, as PEM",
                .may_be_empty = false});
  options->add("--ssl-keyfile", &tls_key_file,
               {.unit = "FILE",
                .help = "its key, as PEM",
                .unset = "in --ssl-certfile",
                .may_be_empty = false});
  options->add("--served-model-name", &served_model_names,
               {.unit = "NAME",
                .help = "name of the model in requests and answers; several may be given",
                .unset = "MODEL",
                .may_be_empty = false});
  declare_answers(options);
  declare_access(options);
  declare_load(options);
  declare_operation(options);
}

void ServeOptions::declare_answers(OptionSet* options) {
  options->group("Answers");
  answers.declare(options);
  options->add("--sse-ping-interval", &ping_interval_s,
               {"S",
                "a stream that has waited so long says so in a comment, so that nothing between it "
                "and its client takes it for dead; 0: never"},
               0, 3600);
}

void ServeOptions::declare_access(OptionSet* options) {
  options->group("Access");
  options->add("--api-key", &api_keys,
               {.unit = "KEY",
                .help = "every request but health probes and the page's files needs one of these; "
                        "better in WEFT_API_KEY or a file, where no other user sees it",
                .unset = "none",
                .may_be_empty = false});
  options->add("--api-key-file", &api_key_file,
               {.unit = "FILE",
                .help = "keys of named users, a line each: NAME KEY [REQUESTS-PER-MINUTE "
                        "[PRIORITY]] [admin]; KEY may be its sum, sha256:HEX; admin: it opens "
                        "--admin-port, which any key does where none is one",
                .unset = "none",
                .may_be_empty = false});
  options->add("--allowed-hosts", &allowed_hosts,
               {.unit = "NAME",
                .help = "further names that a request may call this server by, on loopback (behind "
                        "a proxy, say); several may be given, * takes all",
                .unset = "this machine's",
                .may_be_empty = false});
}

void ServeOptions::declare_load(OptionSet* options) {
  options->group("Load");
  options->add("--max-num-queued-reqs", &queue.num_requests,
               {"N", "answers that may wait beside those that run; beyond it 429"}, 0, 1 << 20);
  options->add("--max-num-queued-tokens", &queue.num_tokens,
               {"TOKENS", "tokens of prompts and answers that may wait; beyond it 429",
                "a whole context of each"},
               1, int64_t{1} << 40);
  options->add("--max-connections", &max_connections, {"N", "open at a time"}, 1, 1'000'000);
  options->add("--max-request-bytes", &max_body_bytes, {"BYTES", "of one request's body"}, 1024,
               int64_t{1} << 30);
  options->add("--http-threads", &http_threads, {"N", "threads for all connections"}, 1, 64);
  options->add("--limits", &show_limits, {"", "print every limit of requests, and end"});
  options->stands_alone("--limits");
}

void ServeOptions::declare_operation(OptionSet* options) {
  options->group("Operation");
  options->add("--drain-timeout", &drain_timeout_s,
               {"S", "after SIGTERM or Ctrl-C: how long answers may run on"}, 0, 86'400);
  options->add("--health-step-timeout", &step_limit_s,
               {"S", "a step that takes longer makes /ready 503"}, 1, 86'400);
  options->add("--admin-port", &admin_port,
               {"PORT", "on 127.0.0.1: pause, resume, drain, reset_prefix_cache, trace", "off"}, 1,
               65'535);
  options->add(
      "--admin-uds", &admin_unix_path,
      {.unit = "PATH", .help = "the same at a Unix socket", .unset = "off", .may_be_empty = false});
  options->exclude("--admin-uds", "--admin-port");
  options->add(
      "--log-level", &log_level,
      {"LEVEL", "the least that the log tells", "", {"debug", "info", "warn", "error", "off"}});
  options->add("--log-json", &log_json, {"", "write the log as JSON, an object a line"});
  options->add("--no-access-log,--disable-uvicorn-access-log", &no_access_log,
               {"", "no line for each request"});
  options->add("--quiet,-q", &quiet, {"", "no banner and no progress"});
}

serve::ListenAt ServeOptions::listen_at() const {
  serve::ListenAt at;
  at.host = host;
  at.port = port;
  at.unix_path = unix_path;
  at.option = unix_path.empty() ? "--port" : "--uds";
  at.tls_certificate_file = tls_certificate_file;
  at.tls_key_file = tls_key_file;
  if (tls_certificate_file.empty() && !tls_key_file.empty())
    throw Error(ErrorKind::kUsage, "--ssl-keyfile needs --ssl-certfile",
                "a key alone shows nobody who this is", "name the certificate's file");
  return at;
}

serve::GatewayOptions ServeOptions::resolve() const {
  serve::GatewayOptions gateway;
  gateway.at = listen_at();
  if (admin_port > 0 && !admin_unix_path.empty())
    throw Error(ErrorKind::kUsage, "--admin-port and --admin-uds are both given",
                "operators have one way in", "leave one of them out");
  if (admin_port > 0) gateway.admin = serve::ListenAt{.port = admin_port, .option = "--admin-port"};
  if (!admin_unix_path.empty())
    gateway.admin = serve::ListenAt{.unix_path = admin_unix_path, .option = "--admin-uds"};
  gateway.http.num_threads = http_threads;
  gateway.http.max_connections = max_connections;
  gateway.http.request.body_bytes = static_cast<size_t>(max_body_bytes);
  gateway.keys = serve::rules_of_keys(api_keys);
  if (!api_key_file.empty()) {
    const std::vector<serve::KeyRule> more = serve::read_key_file(api_key_file);
    gateway.keys.insert(gateway.keys.end(), more.begin(), more.end());
  }
  gateway.allowed_hosts = allowed_hosts;
  gateway.served_model_names = served_model_names;
  gateway.chat_template = answers.chat_template();
  gateway.parsers = answers.parsers();
  gateway.ping_ns = ping_interval_s * 1'000'000'000;
  gateway.queue = queue;
  gateway.step_limit_ns = step_limit_s * 1'000'000'000;
  gateway.logs_requests = !no_access_log;
  gateway.version = std::string(version());
  return gateway;
}

std::string ServeOptions::address(int bound_port) const {
  if (!unix_path.empty()) return "unix:" + unix_path;
  const bool is_any = host == "0.0.0.0" || host == "::" || host.empty();
  const std::string name = is_any                                ? "127.0.0.1"
                           : host.find(':') != std::string::npos ? "[" + host + "]"
                                                                 : host;
  return fmt::format("{}://{}:{}", tls_certificate_file.empty() ? "http" : "https", name,
                     bound_port);
}

}  // namespace weft::cli
