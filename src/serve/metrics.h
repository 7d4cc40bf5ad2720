// What Prometheus reads at GET /metrics, in its text format: figures of the engine (from its
// Status), of requests (observed as their events pass, serve/metered_client.h) and of HTTP. Each
// has Weft's name, and where vLLM has one, vLLM's too, with its labels and buckets, so that
// dashboards made for vLLM and the Kubernetes inference extension read this server unchanged.
//
// Thread-safe. Observing takes no lock but for a request's end on HTTP.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <tuple>

#include "fleet/engine_client.h"
#include "serve/histogram.h"
#include "serve/http_server.h"

namespace weft::serve {

class Metrics {
 public:
  // model_name: the label.
  explicit Metrics(std::string model_name);

  // ---- of requests
  struct Asked {
    int64_t num_prompt_tokens = 0, num_choices = 1, max_tokens = 0;
  };
  void count_asked(const Asked& asked);
  void count_first_token(double seconds) { time_to_first_token_.observe(seconds); }
  void count_token_gap(double seconds) { inter_token_latency_.observe(seconds); }
  void count_choice(engine::FinishReason reason, int64_t num_tokens);
  // Seconds; a part that it never came to is negative, and does not count.
  struct Times {
    double whole = 0, queue = -1, prefill = -1, decode = -1, inference = -1;
  };
  void count_ended(const Times& times, int64_t most_tokens);
  void count_embedding() { num_embeddings_.fetch_add(1, std::memory_order_relaxed); }

  // ---- of HTTP
  void count_answered(const AnsweredRequest& answered);

  // The whole exposition, text/plain; version=0.0.4.
  static constexpr const char* kContentType = "text/plain; version=0.0.4; charset=utf-8";
  std::string text(const fleet::ModelCard& card, const fleet::Status& status) const;

 private:
  std::string model_name_;
  Histogram time_to_first_token_, inter_token_latency_, e2e_, queue_, prefill_, decode_, inference_;
  Histogram prompt_tokens_, generation_tokens_, most_generation_tokens_, num_choices_, max_tokens_;
  std::array<std::atomic<int64_t>, 4> num_finished_{};  // by engine::FinishReason
  std::atomic<int64_t> num_embeddings_{0};

  mutable std::mutex http_mutex_;
  std::map<std::tuple<std::string, std::string, int>, int64_t> num_answered_;  // handler, method
};

}  // namespace weft::serve
