// What a run of a load generator comes to, under the names of `vllm bench serve`.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "cli/load_run.h"

namespace weft::cli {

struct LoadFigureOptions {
  std::vector<std::string> metrics = {"ttft", "tpot", "itl", "e2el"};
  std::vector<double> percentiles = {99};
  std::map<std::string, double> goodput_ms;  // ttft, tpot, e2el: the most that is good
  bool detailed = false;                     // every answer's figures too
};

// "ttft,tpot", "50,99", {"ttft:200", "tpot:50"}. Error(kUsage).
std::vector<std::string> parse_metrics(const std::string& list);
std::vector<double> parse_percentiles(const std::string& list);
std::map<std::string, double> parse_goodput(const std::vector<std::string>& targets);

// duration, completed, failed, total_input_tokens, total_output_tokens, request_throughput,
// request_goodput (null without targets), output_throughput, total_token_throughput,
// max_output_tokens_per_s, max_concurrent_requests, {mean,median,std,pN}_{ttft,tpot,itl,e2el}_ms;
// and Weft's own: errors_by_reason, client_cpu_share (of one core).
// A request's time per output token is (end - first piece) / (output tokens - 1), and its gaps
// between pieces are those of the stream, which may carry several tokens a piece.
nlohmann::ordered_json load_json(const LoadRun& run, const LoadFigureOptions& options);

// For people.
std::vector<std::string> load_lines(const nlohmann::ordered_json& figures,
                                    const LoadFigureOptions& options);

}  // namespace weft::cli
