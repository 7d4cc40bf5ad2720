#include "parallel/topology.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>
#include <span>
#include <utility>

#include "base/counted.h"
#include "base/error.h"
#include "parallel/partition.h"
#include "parallel/rank_count.h"

namespace weft::parallel {
namespace {

constexpr int64_t kMaxListedNumber = 1'000'000;  // sums of layers stay far from overflow

[[noreturn]] void usage_error(std::string_view what, std::string_view why, std::string_view mend) {
  throw Error(ErrorKind::kUsage, what, why, mend);
}

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

std::vector<std::string_view> split_at_commas(std::string_view text) {
  std::vector<std::string_view> parts;
  for (;;) {
    const size_t comma = text.find(',');
    parts.push_back(trimmed(text.substr(0, comma)));
    if (comma == std::string_view::npos) return parts;
    text.remove_prefix(comma + 1);
  }
}

int64_t parse_count(std::string_view text, std::string_view option, std::string_view whole) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool complete = error == std::errc() && end == text.data() + text.size();
  if (!complete || value < 0 || value > kMaxListedNumber)
    usage_error(fmt::format("{} {}: \"{}\" is not a whole number of 0 to {}", option, whole, text,
                            kMaxListedNumber),
                "", fmt::format("see the forms of {} in `weft run --help`", option));
  return value;
}

double parse_weight(std::string_view text, std::string_view whole) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool complete = error == std::errc() && end == text.data() + text.size();
  // The bounds keep (units + 1) / weight finite and apart from zero.
  if (!complete || !(value >= 1e-6) || !(value <= 1e12))
    usage_error(fmt::format("--tp-weights {}: \"{}\" is not a number of 1e-6 to 1e12", whole, text),
                "", "one positive number a rank, as in --tp-weights 2,1,1");
  return value;
}

void check_degree(int64_t degree, std::string_view option) {
  if (degree < 1 || degree > kMaxRanksPerStage)
    usage_error(
        fmt::format("{}: {} ranks in a stage, {} at most", option, degree, kMaxRanksPerStage),
        degree < 1 ? "a stage needs at least one rank" : "",
        fmt::format("choose 1 to {} ranks a stage", kMaxRanksPerStage));
}

// The weights of every stage, from --tp and --tp-weights.
std::vector<double> parse_weights(const TopologyRequest& request) {
  if (request.tp_weights.empty()) {
    const int degree = request.tensor_parallel_size == 0 ? 1 : request.tensor_parallel_size;
    check_degree(degree, "--tp");
    return std::vector<double>(static_cast<size_t>(degree), 1.0);
  }
  std::vector<double> weights;
  for (const std::string_view part : split_at_commas(request.tp_weights))
    weights.push_back(parse_weight(part, request.tp_weights));
  const auto num_weights = static_cast<int64_t>(weights.size());
  check_degree(num_weights, "--tp-weights");
  if (request.tensor_parallel_size != 0 && request.tensor_parallel_size != num_weights)
    usage_error(fmt::format("--tp-weights {} names {}, --tp {}", request.tp_weights,
                            counted(num_weights, "rank"), request.tensor_parallel_size),
                "", "give one weight a rank, or leave --tp out");
  return weights;
}

// Layers by hand must cover the model; only the last stage may hold none (the head alone).
void check_layers(std::span<const int64_t> layers, int64_t num_layers, std::string_view option,
                  std::string_view mend) {
  for (size_t s = 0; s + 1 < layers.size(); ++s)
    if (layers[s] == 0)
      usage_error(fmt::format("{}: stage {} of {} has no layer", option, s, layers.size()),
                  "only the last stage may hold none: the head alone", mend);
  const int64_t sum = std::accumulate(layers.begin(), layers.end(), int64_t{0});
  if (sum != num_layers)
    usage_error(
        fmt::format("{} covers {}, the model has {}", option, counted(sum, "layer"), num_layers),
        "", mend);
}

std::vector<int64_t> parse_layers(std::string_view text, int64_t num_layers) {
  std::vector<int64_t> layers;
  for (const std::string_view part : split_at_commas(text))
    layers.push_back(parse_count(part, "--pp", text));
  check_layers(layers, num_layers, fmt::format("--pp {}", text),
               fmt::format("give numbers that add up to {}, or --pp {} to have them balanced",
                           num_layers, std::min(num_layers, static_cast<int64_t>(layers.size()))));
  return layers;
}

std::vector<Stage> make_stages(std::span<const int64_t> layers,
                               const std::vector<std::vector<double>>& weights) {
  std::vector<Stage> stages;
  Stage stage;
  for (size_t s = 0; s < layers.size(); ++s) {
    stage.layers = {stage.layers.end, stage.layers.end + layers[s]};
    stage.weights = weights[s];
    stages.push_back(stage);
    stage.first_rank += stage.num_ranks();
  }
  return stages;
}

// Layers and ranks of "12@3".
std::pair<int64_t, int64_t> parse_stage(std::string_view part, std::string_view whole) {
  const size_t at = part.find('@');
  if (at == std::string_view::npos)
    usage_error(fmt::format("--stages {}: \"{}\" is not layers@ranks", whole, part), "",
                "write a stage as in --stages 12@1,14@3,4@2");
  const int64_t layers = parse_count(trimmed(part.substr(0, at)), "--stages", whole);
  const int64_t width = parse_count(trimmed(part.substr(at + 1)), "--stages", whole);
  check_degree(width, "--stages");
  return {layers, width};
}

std::vector<Stage> parse_stages(const std::string& text, int64_t num_layers) {
  std::vector<int64_t> layers;
  std::vector<std::vector<double>> weights;
  for (const std::string_view part : split_at_commas(text)) {
    const auto [num, width] = parse_stage(part, text);
    layers.push_back(num);
    weights.emplace_back(static_cast<size_t>(width), 1.0);
  }
  check_layers(layers, num_layers, fmt::format("--stages {}", text),
               fmt::format("give layers that add up to {}", num_layers));
  return make_stages(layers, weights);
}

// Layers by hand leave nothing to balance.
void refuse_balance(const TopologyRequest& request, std::string_view by_hand) {
  if (!request.balance) return;
  usage_error(
      fmt::format("--pp-balance {} stands together with {}", name(*request.balance), by_hand),
      "the layers of every stage are given by hand already",
      "give --pp and the number of stages to have them balanced, or leave --pp-balance out");
}

bool all_equal(std::span<const double> weights) {
  return std::all_of(weights.begin(), weights.end(),
                     [&](double w) { return w == weights.front(); });
}

}  // namespace

const char* name(PipelineBalance balance) {
  switch (balance) {
    case PipelineBalance::kDecode:
      return "decode";
    case PipelineBalance::kPrefill:
      return "prefill";
    case PipelineBalance::kMixed:
      return "mixed";
  }
  return "";
}

int num_ranks(const TopologyRequest& request) {
  int64_t count = 0;
  if (!request.stages.empty()) {
    for (const std::string_view part : split_at_commas(request.stages))
      count += parse_stage(part, request.stages).second;
    return static_cast<int>(count);
  }
  const std::string& pp = request.pipeline_parallel;
  const auto width = static_cast<int64_t>(parse_weights(request).size());
  if (pp.find(',') != std::string::npos)
    count = static_cast<int64_t>(split_at_commas(pp).size());
  else
    count = pp.empty() ? 1 : parse_count(trimmed(pp), "--pp", pp);
  return static_cast<int>(count * width);
}

Topology Topology::resolve(const TopologyRequest& request, int64_t num_layers, StageCosts costs) {
  WEFT_CHECK_LT(0, num_layers);
  Topology topology;
  if (!request.stages.empty()) {
    if (request.tensor_parallel_size != 0 || !request.pipeline_parallel.empty() ||
        !request.tp_weights.empty())
      usage_error("--stages stands together with --tp, --pp or --tp-weights",
                  "--stages names the layers and ranks of every stage already",
                  "give --stages alone, or the others without it");
    refuse_balance(request, fmt::format("--stages {}", request.stages));
    topology.stages_ = parse_stages(request.stages, num_layers);
    return topology;
  }

  const std::vector<double> weights = parse_weights(request);
  const std::string& pp = request.pipeline_parallel;
  std::vector<int64_t> layers;
  if (pp.find(',') == std::string::npos) {
    topology.balance_ = request.balance_or_default();
    const int64_t num_stages = pp.empty() ? 1 : parse_count(trimmed(pp), "--pp", pp);
    if (num_stages < 1) usage_error("--pp 0: no stage", "", "--pp 1 or more");
    const std::vector<int64_t> widths(static_cast<size_t>(num_stages),
                                      static_cast<int64_t>(weights.size()));
    layers = balance_layers(num_layers, widths, costs.embedding, costs.head);
  } else {
    refuse_balance(request, fmt::format("--pp {}", pp));
    layers = parse_layers(pp, num_layers);
  }
  topology.stages_ = make_stages(layers, std::vector(layers.size(), weights));
  return topology;
}

int Topology::num_ranks() const {
  return stages_.empty() ? 0 : stages_.back().first_rank + stages_.back().num_ranks();
}

int Topology::stage_of(int rank) const {
  WEFT_CHECK(rank >= 0 && rank < num_ranks(), "rank {} of {}", rank, num_ranks());
  const auto after = std::upper_bound(stages_.begin(), stages_.end(), rank,
                                      [](int r, const Stage& s) { return r < s.first_rank; });
  return static_cast<int>(after - stages_.begin()) - 1;
}

int Topology::shard_of(int rank) const {
  return rank - stages_[static_cast<size_t>(stage_of(rank))].first_rank;
}

std::string Topology::description() const {
  WEFT_CHECK(!stages_.empty(), "an unresolved topology");
  const std::vector<double>& weights = stages_.front().weights;
  std::vector<int64_t> layers;
  bool same_width = true;
  for (const Stage& stage : stages_) {
    layers.push_back(stage.layers.size());
    same_width = same_width && stage.weights == weights;
  }
  if (!same_width) {
    std::vector<std::string> parts;
    for (const Stage& stage : stages_)
      parts.push_back(fmt::format("{}@{}", stage.layers.size(), stage.num_ranks()));
    return fmt::format("stages={}", fmt::join(parts, ","));
  }
  std::string pp;
  if (num_stages() > 1)
    pp = balance_ ? fmt::format("pp={}", num_stages())
                  : fmt::format("pp={}", fmt::join(layers, ","));
  if (num_stages() > 1 && balance_ && *balance_ != kDefaultBalance)
    pp += fmt::format(" pp-balance={}", name(*balance_));
  std::string tp = all_equal(weights) ? fmt::format("tp={}", weights.size())
                                      : fmt::format("tp-weights={}", fmt::join(weights, ","));
  if (pp.empty()) return tp;
  return weights.size() == 1 ? pp : tp + " " + pp;
}

}  // namespace weft::parallel
