// The options of `weft serve` that are the server's own, by the names of vLLM where it has them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/options.h"
#include "cli/answer_options.h"
#include "serve/gateway.h"

namespace weft::cli {

struct ServeOptions {
  std::string host = "127.0.0.1";
  int port = 8000;
  int64_t drain_timeout_s = 30;
  bool show_limits = false, log_json = false, no_access_log = false, quiet = false;
  std::string log_level = "info";

  // Adds the groups "Server", "Answers", "Access", "Load" and "Operation".
  void declare(OptionSet* options);
  // Reads what is named: keys, template. Error(kUsage) for what cannot be used.
  serve::GatewayOptions resolve() const;
  // Where people reach it: "http://127.0.0.1:8000".
  std::string address(int bound_port) const;
  bool has_keys() const { return !api_keys.empty() || !api_key_file.empty(); }

  std::vector<std::string> served_model_names, api_keys, allowed_hosts;
  std::string unix_path, tls_certificate_file, tls_key_file, api_key_file;
  std::string admin_unix_path;
  AnswerOptions answers;
  int admin_port = 0;
  int http_threads = 1;
  int64_t max_connections = 10'000, max_body_bytes = 16 << 20, step_limit_s = 30,
          ping_interval_s = 15;
  serve::QueueLimits queue;

 private:
  void declare_answers(OptionSet* options);
  void declare_access(OptionSet* options);
  void declare_load(OptionSet* options);
  void declare_operation(OptionSet* options);
  serve::ListenAt listen_at() const;
};

}  // namespace weft::cli
