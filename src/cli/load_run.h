// Requests to an OpenAI-compatible server, sent when it is their time, their answers timed as they
// stream in. One thread; times are seconds from the run's start, taken when bytes arrive.
#pragma once

#include <atomic>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "cli/http_streams.h"
#include "cli/load_prompts.h"

namespace weft::cli {

struct LoadTarget {
  std::string url;       // whole: http://host:port/v1/completions
  bool is_chat = false;  // messages, and deltas back
  std::string model, api_key;
  std::string fields = "{}";         // more of each body, an object of JSON; these win
  std::vector<std::string> headers;  // more of each request, "name: value"
  std::string request_id_prefix;     // of X-Request-Id, before a request's number; or empty
};

struct LoadAnswer {
  double sent_s = 0, ended_s = 0;
  std::vector<double> pieces_s;  // when each chunk of the answer came, with text or without
  int64_t input_tokens = 0, output_tokens = 0;  // by the server's usage; otherwise as sent, chunks
  int status = 0;
  std::string error;            // why it failed; empty: it did not
  std::string error_code = {};  // the server's word for it; may be empty
  bool untrusted = false;       // as of HttpEnd
  std::string text;

  bool is_whole() const { return error.empty(); }
  double ttft_s() const { return pieces_s.front() - sent_s; }
  double latency_s() const { return pieces_s.back() - sent_s; }
};

struct LoadRun {
  std::vector<LoadAnswer> answers;  // in the order of the prompts; those that were sent
  double seconds = 0;
  double cpu_seconds = 0;  // that the client itself took
  bool was_stopped = false;
};

struct LoadPlan {
  std::vector<double> arrivals_s;  // one a prompt, ascending
  int max_concurrency = std::numeric_limits<int>::max();
  std::function<void(const LoadAnswer&)> on_answer = {};
};

// Until every answer has ended; once `stop` is set, nothing more is sent and what runs is
// closed.
LoadRun run_load(HttpStreams* streams, const LoadTarget& target,
                 const std::vector<LoadPrompt>& prompts, const LoadPlan& plan,
                 const std::atomic<bool>& stop);

// The body of one request.
std::string load_body(const LoadTarget& target, const LoadPrompt& prompt);

}  // namespace weft::cli
