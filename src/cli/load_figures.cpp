#include "cli/load_figures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/did_you_mean.h"
#include "base/error.h"
#include "cli/quantity.h"
#include "cli/serving_figures.h"
#include "cli/text_table.h"

namespace weft::cli {
namespace {

constexpr std::pair<const char*, const char*> kMetrics[] = {{"ttft", "time to first token"},
                                                            {"tpot", "time per output token"},
                                                            {"itl", "between tokens"},
                                                            {"e2el", "to the end"}};

std::vector<std::string> split(const std::string& list, char separator) {
  std::vector<std::string> words;
  for (size_t begin = 0; begin <= list.size();) {
    const size_t end = std::min(list.find(separator, begin), list.size());
    words.push_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return words;
}

std::optional<double> parse_positive(const std::string& text) {
  size_t used = 0;
  double value = -1;
  try {
    value = std::stod(text, &used);
  } catch (const std::exception&) {
    return std::nullopt;
  }
  return used == text.size() && value >= 0 && std::isfinite(value) ? std::optional(value)
                                                                   : std::nullopt;
}

void require_metric(const std::string& name, const char* option) {
  std::vector<std::string> known;
  for (const auto& [metric, words] : kMetrics) known.emplace_back(metric);
  if (std::ranges::find(known, name) != known.end()) return;
  throw Error(ErrorKind::kUsage,
              fmt::format("{}: '{}' is no figure{}", option, name, did_you_mean(name, known)), "",
              fmt::format("give one of {}", fmt::join(known, ", ")));
}

double deviation(const std::vector<double>& values) {
  const double middle = mean(values);
  double sum = 0;
  for (const double value : values) sum += (value - middle) * (value - middle);
  return values.empty() ? 0.0 : std::sqrt(sum / static_cast<double>(values.size()));
}

// Milliseconds, by metric: an entry a request that was answered (itl: a gap).
std::map<std::string, std::vector<double>> delays_of(const std::vector<LoadAnswer>& answers) {
  std::map<std::string, std::vector<double>> delays;
  for (const LoadAnswer& answer : answers) {
    if (!answer.is_whole()) continue;
    delays["ttft"].push_back(1e3 * answer.ttft_s());
    delays["e2el"].push_back(1e3 * answer.latency_s());
    if (answer.output_tokens > 1) {
      delays["tpot"].push_back(1e3 * (answer.latency_s() - answer.ttft_s()) /
                               static_cast<double>(answer.output_tokens - 1));
    }
    for (size_t i = 1; i < answer.pieces_s.size(); ++i)
      delays["itl"].push_back(1e3 * (answer.pieces_s[i] - answer.pieces_s[i - 1]));
  }
  return delays;
}

bool is_good(const LoadAnswer& answer, const std::map<std::string, double>& most_ms) {
  const double tpot_s = answer.output_tokens > 1 ? (answer.latency_s() - answer.ttft_s()) /
                                                       static_cast<double>(answer.output_tokens - 1)
                                                 : 0.0;
  return std::ranges::all_of(most_ms, [&](const auto& target) {
    const double seconds = target.first == "ttft"   ? answer.ttft_s()
                           : target.first == "tpot" ? tpot_s
                                                    : answer.latency_s();
    return 1e3 * seconds <= target.second;
  });
}

// The busiest second: pieces that came in it, requests that were under way in it.
struct Peaks {
  double tokens_per_s = 0;
  int64_t concurrent = 0;
};

Peaks peaks_of(const LoadRun& run) {
  std::vector<double> tokens(static_cast<size_t>(std::max(0.0, run.seconds)) + 2, 0.0);
  std::vector<int64_t> requests(tokens.size(), 0);
  for (const LoadAnswer& answer : run.answers) {
    if (!answer.is_whole()) continue;
    // Pieces stand for tokens; where one carries several, they count in its second.
    const double tokens_a_piece =
        static_cast<double>(answer.output_tokens) / static_cast<double>(answer.pieces_s.size());
    for (const double at : answer.pieces_s)
      tokens[std::min(static_cast<size_t>(at), tokens.size() - 1)] += tokens_a_piece;
    const auto last = std::min(static_cast<size_t>(answer.pieces_s.back()), tokens.size() - 1);
    for (auto second = static_cast<size_t>(answer.sent_s); second <= last; ++second)
      ++requests[second];
  }
  return {*std::ranges::max_element(tokens), *std::ranges::max_element(requests)};
}

void add_details(const LoadRun& run, OrderedJson* object) {
  OrderedJson inputs = OrderedJson::array(), outputs = inputs, ttfts = inputs, itls = inputs,
              texts = inputs, errors = inputs;
  for (const LoadAnswer& answer : run.answers) {
    const bool whole = answer.is_whole();
    inputs.push_back(answer.input_tokens);
    outputs.push_back(whole ? answer.output_tokens : 0);
    ttfts.push_back(whole ? answer.ttft_s() : 0.0);
    OrderedJson gaps = OrderedJson::array();
    for (size_t i = 1; i < answer.pieces_s.size(); ++i)
      gaps.push_back(answer.pieces_s[i] - answer.pieces_s[i - 1]);
    itls.push_back(std::move(gaps));
    texts.push_back(answer.text);
    errors.push_back(answer.error);
  }
  object->update({{"input_lens", inputs},
                  {"output_lens", outputs},
                  {"ttfts", ttfts},
                  {"itls", itls},
                  {"generated_texts", texts},
                  {"errors", errors}});
}

std::string percentile_key(double percent) { return fmt::format("p{}", percent); }

}  // namespace

std::vector<std::string> parse_metrics(const std::string& list) {
  const std::vector<std::string> names = split(list, ',');
  for (const std::string& name : names) require_metric(name, "--percentile-metrics");
  return names;
}

std::vector<double> parse_percentiles(const std::string& list) {
  std::vector<double> percentiles;
  for (const std::string& word : split(list, ',')) {
    const auto value = parse_positive(word);
    if (!value || *value > 100) {
      throw Error(ErrorKind::kUsage,
                  fmt::format("--metric-percentiles: '{}' is no number from 0 to 100", word), "",
                  "give some, separated by commas: 50,90,99");
    }
    percentiles.push_back(*value);
  }
  return percentiles;
}

std::map<std::string, double> parse_goodput(const std::vector<std::string>& targets) {
  std::map<std::string, double> most_ms;
  for (const std::string& word : targets) {
    for (const std::string& target : split(word, ' ')) {
      const size_t colon = target.find(':');
      const auto value =
          colon == std::string::npos ? std::nullopt : parse_positive(target.substr(colon + 1));
      if (!value || target.substr(0, colon) == "itl") {
        throw Error(
            ErrorKind::kUsage, fmt::format("--goodput: '{}' is no target", target), "",
            "give milliseconds of ttft, tpot or e2el: --goodput ttft:200 --goodput tpot:50");
      }
      require_metric(target.substr(0, colon), "--goodput");
      most_ms[target.substr(0, colon)] = *value;
    }
  }
  return most_ms;
}

OrderedJson load_json(const LoadRun& run, const LoadFigureOptions& options) {
  int64_t completed = 0, good = 0, input = 0, output = 0;
  std::map<std::string, int64_t> reasons;
  for (const LoadAnswer& answer : run.answers) {
    if (!answer.is_whole()) {
      ++reasons[answer.error];
      continue;
    }
    ++completed;
    input += answer.input_tokens;
    output += answer.output_tokens;
    good += is_good(answer, options.goodput_ms) ? 1 : 0;
  }
  const auto rate = [&](int64_t amount) {
    return per_second(static_cast<double>(amount), run.seconds);
  };
  const Peaks peaks = peaks_of(run);
  OrderedJson object = {{"duration", run.seconds},
                        {"completed", completed},
                        {"failed", static_cast<int64_t>(run.answers.size()) - completed},
                        {"total_input_tokens", input},
                        {"total_output_tokens", output},
                        {"request_throughput", rate(completed)},
                        {"request_goodput", options.goodput_ms.empty() ? OrderedJson(nullptr)
                                                                       : OrderedJson(rate(good))},
                        {"output_throughput", rate(output)},
                        {"total_token_throughput", rate(input + output)},
                        {"max_output_tokens_per_s", peaks.tokens_per_s},
                        {"max_concurrent_requests", peaks.concurrent},
                        {"client_cpu_share", per_second(run.cpu_seconds, run.seconds)},
                        {"errors_by_reason", reasons}};
  auto delays = delays_of(run.answers);
  for (const std::string& metric : options.metrics) {
    const std::vector<double>& values = delays[metric];
    object[fmt::format("mean_{}_ms", metric)] = mean(values);
    object[fmt::format("median_{}_ms", metric)] = percentile(values, 50);
    object[fmt::format("std_{}_ms", metric)] = deviation(values);
    for (const double percent : options.percentiles)
      object[fmt::format("{}_{}_ms", percentile_key(percent), metric)] =
          percentile(values, percent);
  }
  if (options.detailed) add_details(run, &object);
  return object;
}

std::vector<std::string> load_lines(const OrderedJson& figures, const LoadFigureOptions& options) {
  const auto number = [&](const std::string& key) { return figures.at(key).get<double>(); };
  std::vector<std::string> lines;
  lines.push_back(
      fmt::format("{} of {} requests answered in {:.2f} s: {:.2f} requests/s",
                  figures.at("completed").get<int64_t>(),
                  figures.at("completed").get<int64_t>() + figures.at("failed").get<int64_t>(),
                  number("duration"), number("request_throughput")));
  if (!figures.at("request_goodput").is_null())
    lines.push_back(fmt::format("goodput {:.2f} requests/s", number("request_goodput")));
  lines.push_back(
      fmt::format("{} prompt and {} answer tokens: {:.1f} answer tokens/s ({:.0f} in the busiest "
                  "second), {:.1f} with prompts",
                  figures.at("total_input_tokens").get<int64_t>(),
                  figures.at("total_output_tokens").get<int64_t>(), number("output_throughput"),
                  number("max_output_tokens_per_s"), number("total_token_throughput")));
  lines.push_back(fmt::format(
      "{} requests ran in the busiest second; this client took {:.0f} % of a core",
      figures.at("max_concurrent_requests").get<int64_t>(), 100 * number("client_cpu_share")));
  std::vector<std::string> headings = {"<ms", "mean", "median"};
  for (const double percent : options.percentiles) headings.push_back(percentile_key(percent));
  TextTable table(headings);
  for (const auto& [metric, words] : kMetrics) {
    if (std::ranges::find(options.metrics, metric) == options.metrics.end()) continue;
    std::vector<std::string> cells = {
        words, fmt::format("{:.1f}", number(fmt::format("mean_{}_ms", metric))),
        fmt::format("{:.1f}", number(fmt::format("median_{}_ms", metric)))};
    for (const double percent : options.percentiles)
      cells.push_back(
          fmt::format("{:.1f}", number(fmt::format("{}_{}_ms", percentile_key(percent), metric))));
    table.add_row(std::move(cells));
  }
  for (std::string& line : table.lines()) lines.push_back(std::move(line));
  for (const auto& [reason, count] : figures.at("errors_by_reason").items())
    lines.push_back(fmt::format("failed {}: {}", count.get<int64_t>(), reason));
  return lines;
}

}  // namespace weft::cli
