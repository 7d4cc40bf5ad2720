#include "cli/serving_figures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "cli/quantity.h"
#include "cli/text_table.h"

namespace weft::cli {
namespace {

double deviation(const std::vector<double>& values) {
  const double middle = mean(values);
  double sum = 0;
  for (const double value : values) sum += (value - middle) * (value - middle);
  return values.empty() ? 0.0 : std::sqrt(sum / static_cast<double>(values.size()));
}

struct Kind {
  const char* name;
  const char* words;
  const std::vector<double>& values;
};

std::vector<Kind> kinds_of(const Delays& d) {
  return {{"ttft", "time to first token", d.ttft_ms},
          {"tpot", "time per output token", d.tpot_ms},
          {"itl", "between tokens", d.itl_ms},
          {"e2el", "to the end", d.e2el_ms}};
}

}  // namespace

double percentile(std::vector<double> values, double percent) {
  if (values.empty()) return 0.0;
  std::sort(values.begin(), values.end());
  const double place = percent / 100.0 * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (place - static_cast<double>(below)) * (values[above] - values[below]);
}

double mean(const std::vector<double>& values) {
  if (values.empty()) return 0.0;
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

void Delays::add(const std::vector<Served>& requests) {
  for (const Served& served : requests) {
    const std::vector<double>& times = served.tokens_s;
    e2el_ms.push_back(1e3 * (served.ended_s - served.arrived_s));
    if (times.empty()) continue;
    ttft_ms.push_back(1e3 * (times.front() - served.arrived_s));
    for (size_t i = 1; i < times.size(); ++i) itl_ms.push_back(1e3 * (times[i] - times[i - 1]));
    if (times.size() > 1)
      tpot_ms.push_back(1e3 * (times.back() - times.front()) /
                        static_cast<double>(times.size() - 1));
  }
}

void add_delays(const Delays& delays, OrderedJson* object) {
  for (const Kind& kind : kinds_of(delays)) {
    const auto add = [&](const std::string& what, double value) {
      (*object)[fmt::format("{}_{}_ms", what, kind.name)] =
          kind.values.empty() ? OrderedJson(nullptr) : OrderedJson(value);
    };
    add("mean", mean(kind.values));
    add("median", percentile(kind.values, 50));
    add("std", deviation(kind.values));
    add("p90", percentile(kind.values, 90));
    add("p99", percentile(kind.values, 99));
  }
}

std::vector<std::string> delay_lines(const Delays& delays) {
  TextTable table({"<ms", "mean", "median", "p90", "p99"});
  for (const Kind& kind : kinds_of(delays)) {
    if (kind.values.empty()) continue;
    table.add_row({kind.words, fmt::format("{:.1f}", mean(kind.values)),
                   fmt::format("{:.1f}", percentile(kind.values, 50)),
                   fmt::format("{:.1f}", percentile(kind.values, 90)),
                   fmt::format("{:.1f}", percentile(kind.values, 99))});
  }
  return table.lines();
}

TokenCounts count_tokens(const std::vector<Served>& requests) {
  TokenCounts counts;
  for (const Served& served : requests) {
    counts.input += served.prompt_tokens;
    counts.cached += served.cached_tokens;
    counts.output += static_cast<int64_t>(served.tokens_s.size());
  }
  return counts;
}

OrderedJson throughput_json(const ServingRun& run) {
  const TokenCounts counts = count_tokens(run.requests);
  const auto rate = [&](auto amount) {
    return per_second(static_cast<double>(amount), run.seconds);
  };
  return {{"elapsed_time", run.seconds},
          {"num_requests", run.requests.size()},
          {"total_num_tokens", counts.input + counts.output},
          {"requests_per_second", rate(run.requests.size())},
          {"tokens_per_second", rate(counts.input + counts.output)},
          {"output_tokens_per_second", rate(counts.output)},
          {"total_input_tokens", counts.input},
          {"total_output_tokens", counts.output},
          {"cached_input_tokens", counts.cached}};
}

}  // namespace weft::cli
