// What a run of requests comes to, under the names that `vllm bench` gives it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/serving.h"

namespace weft::cli {

using OrderedJson = nlohmann::ordered_json;

// The value below which `percent` of the values lie, between neighbours in proportion (numpy's
// rule); 0 of none.
double percentile(std::vector<double> values, double percent);
double mean(const std::vector<double>& values);

// Milliseconds of one kind, one entry a measurement.
struct Delays {
  std::vector<double> ttft_ms;  // a request: from its arrival to its first token
  std::vector<double> tpot_ms;  // a request of two tokens and more: a token after the first
  std::vector<double> itl_ms;   // a token after the first: since the one before
  std::vector<double> e2el_ms;  // a request: from its arrival to its end

  void add(const std::vector<Served>& requests);
};

// mean_ttft_ms, median_ttft_ms, std_ttft_ms, p90_ttft_ms, p99_ttft_ms, the same of tpot, itl, e2el.
void add_delays(const Delays& delays, OrderedJson* object);
// A row a kind.
std::vector<std::string> delay_lines(const Delays& delays);

struct TokenCounts {
  int64_t input = 0, output = 0, cached = 0;
};
TokenCounts count_tokens(const std::vector<Served>& requests);

// elapsed_time, num_requests, total_num_tokens, requests_per_second, tokens_per_second,
// output_tokens_per_second, and the counts.
OrderedJson throughput_json(const ServingRun& run);

}  // namespace weft::cli
