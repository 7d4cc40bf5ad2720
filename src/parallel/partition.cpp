#include "parallel/partition.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <utility>

#include "base/error.h"

namespace weft::parallel {
namespace {

// Times that differ by less are equal: weights such as 0.1 and 0.3 are not exact in binary.
constexpr double kTie = 1e-9;
constexpr double kForbidden = std::numeric_limits<double>::infinity();

void check_weights(std::span<const double> weights, size_t num_loads) {
  WEFT_CHECK(!weights.empty(), "a cut needs at least one rank");
  for (const double w : weights) WEFT_CHECK(std::isfinite(w) && w > 0, "weight {}", w);
  WEFT_CHECK(num_loads == 0 || num_loads == weights.size(), "{} loads for {} ranks", num_loads,
             weights.size());
}

// Load of a rank in proportion to its weight: what the balance over layers compares.
double relative_load(std::span<const double> load, std::span<const double> weights, size_t rank) {
  return load.empty() ? 0.0 : load[rank] / weights[rank];
}

std::vector<Range> ranges_of(std::span<const int64_t> counts) {
  std::vector<Range> ranges;
  ranges.reserve(counts.size());
  int64_t begin = 0;
  for (const int64_t count : counts) {
    ranges.push_back({begin, begin + count});
    begin += count;
  }
  return ranges;
}

struct ContiguousCut {
  std::vector<Range> parts;
  double slowest = 0;  // the largest time of a part
  double spread = 0;
};

// Cuts a row of num_items into num_parts contiguous parts. `time(part, items)` is the part's time,
// kForbidden where it may not hold these items, and never falls as items are added at the end.
// Minimises the slowest part first, then the sum of `spread(part, items)`; what is still equal
// goes to the earlier part. Two passes, because the least sum under the best maximum is not made
// of prefixes that are themselves best in both.
template <typename Time, typename Spread>
ContiguousCut best_contiguous_cut(int64_t num_items, int64_t num_parts, const Time& time,
                                  const Spread& spread) {
  const auto width = static_cast<size_t>(num_items) + 1;
  const auto at = [width](int64_t part, int64_t begin) {
    return static_cast<size_t>(part) * width + static_cast<size_t>(begin);
  };
  // [num_parts + 1, num_items + 1]: of parts `part`.. holding items `begin`.. to the end.
  std::vector<double> slowest(static_cast<size_t>(num_parts + 1) * width, kForbidden);
  std::vector<double> sum(slowest.size(), kForbidden);
  slowest[at(num_parts, num_items)] = 0.0;
  sum[at(num_parts, num_items)] = 0.0;

  for (int64_t part = num_parts - 1; part >= 0; --part)
    for (int64_t begin = 0; begin <= num_items; ++begin)
      for (int64_t end = begin; end <= num_items; ++end) {
        double& best = slowest[at(part, begin)];
        const double own = time(part, Range{begin, end});
        if (own >= best && own != kForbidden) break;
        best = std::min(best, std::max(own, slowest[at(part + 1, end)]));
      }
  const double limit = slowest[at(0, 0)] * (1 + kTie);
  WEFT_CHECK(limit < kForbidden, "{} items do not fit {} parts", num_items, num_parts);

  std::vector<int64_t> end_of(slowest.size(), -1);
  for (int64_t part = num_parts - 1; part >= 0; --part)
    for (int64_t begin = 0; begin <= num_items; ++begin)
      for (int64_t end = begin; end <= num_items; ++end) {
        const double own = time(part, Range{begin, end});
        if (own == kForbidden) continue;
        if (own > limit) break;
        if (sum[at(part + 1, end)] == kForbidden) continue;
        const double total = spread(part, Range{begin, end}) + sum[at(part + 1, end)];
        double& best = sum[at(part, begin)];
        // `end` grows, so an equal total moves items to this part.
        if (best != kForbidden && total > best + kTie * (1 + std::abs(best))) continue;
        best = std::min(best, total);
        end_of[at(part, begin)] = end;
      }

  ContiguousCut cut{{}, slowest[at(0, 0)], sum[at(0, 0)]};
  int64_t begin = 0;
  for (int64_t part = 0; part < num_parts; ++part) {
    const int64_t end = end_of[at(part, begin)];
    WEFT_CHECK(end >= begin, "part {} has no end", part);
    cut.parts.push_back({begin, end});
    begin = end;
  }
  WEFT_CHECK_EQ(begin, num_items);
  return cut;
}

bool better_cut(const ContiguousCut& a, const ContiguousCut& b) {
  if (a.slowest < b.slowest * (1 - kTie)) return true;
  if (a.slowest > b.slowest * (1 + kTie)) return false;
  return a.spread < b.spread - kTie * (1 + std::abs(b.spread));
}

}  // namespace

double attention_memory(const AttentionShare& share) {
  constexpr double kKvHead = 4.0;
  return static_cast<double>(share.heads.size()) +
         kKvHead * static_cast<double>(share.kv_heads.size());
}

std::vector<Range> partition_units(int64_t num_units, std::span<const double> weights,
                                   std::span<const double> load, std::span<const int64_t> caps) {
  check_weights(weights, load.size());
  WEFT_CHECK_LE(0, num_units);
  WEFT_CHECK(caps.empty() || caps.size() == weights.size(), "{} caps for {} ranks", caps.size(),
             weights.size());
  std::vector<int64_t> counts(weights.size(), 0);
  const auto time_with_one_more = [&](size_t r) {
    const bool full = !caps.empty() && caps[r] >= 0 && counts[r] >= caps[r];
    return full ? kForbidden : static_cast<double>(counts[r] + 1) / weights[r];
  };
  for (int64_t unit = 0; unit < num_units; ++unit) {
    double least = kForbidden;
    for (size_t r = 0; r < weights.size(); ++r) least = std::min(least, time_with_one_more(r));
    if (least == kForbidden)
      throw Error(ErrorKind::kMemory,
                  fmt::format("{} of {} units find no rank", num_units - unit, num_units),
                  fmt::format("the ranks' memory holds at most [{}] units", fmt::join(caps, ", ")),
                  "use more ranks, a smaller cache or a smaller model");
    size_t chosen = weights.size();
    for (size_t r = 0; r < weights.size(); ++r) {
      if (time_with_one_more(r) > least * (1 + kTie)) continue;
      if (chosen == weights.size() ||
          relative_load(load, weights, r) < relative_load(load, weights, chosen) * (1 - kTie))
        chosen = r;
    }
    ++counts[chosen];
  }
  return ranges_of(counts);
}

std::vector<AttentionShare> cut_attention(int64_t num_heads, int64_t num_kv_heads,
                                          std::span<const double> weights, double kappa,
                                          std::span<const double> load) {
  check_weights(weights, load.size());
  WEFT_CHECK(num_kv_heads > 0 && num_heads > 0 && num_heads % num_kv_heads == 0,
             "{} heads over {} KV heads", num_heads, num_kv_heads);
  const int64_t group = num_heads / num_kv_heads;
  const auto share_of = [group](Range heads) {
    if (heads.empty()) return AttentionShare{};
    return AttentionShare{heads, {heads.begin / group, (heads.end - 1) / group + 1}};
  };
  const size_t num_ranks = weights.size();
  ContiguousCut best;
  size_t best_first = num_ranks;
  for (size_t first = 0; first < num_ranks; ++first) {
    const auto rank_of = [&](int64_t part) {
      return (first + static_cast<size_t>(part)) % num_ranks;
    };
    const auto time = [&](int64_t part, Range heads) {
      const AttentionShare share = share_of(heads);
      return (static_cast<double>(share.heads.size()) +
              kappa * static_cast<double>(share.kv_heads.size())) /
             weights[rank_of(part)];
    };
    // (load + memory)^2 / weight without the term that no cut changes.
    const auto spread = [&](int64_t part, Range heads) {
      const double memory = attention_memory(share_of(heads));
      const size_t r = rank_of(part);
      return memory * (memory / weights[r] + 2 * relative_load(load, weights, r));
    };
    ContiguousCut cut =
        best_contiguous_cut(num_heads, static_cast<int64_t>(num_ranks), time, spread);
    if (best_first == num_ranks || better_cut(cut, best)) {
      best = std::move(cut);
      best_first = first;
    }
  }
  std::vector<AttentionShare> shares(num_ranks);
  for (size_t part = 0; part < num_ranks; ++part)
    shares[(best_first + part) % num_ranks] = share_of(best.parts[part]);
  return shares;
}

int64_t ffn_unit_size(int64_t ffn_size) {
  WEFT_CHECK_LT(0, ffn_size);
  constexpr int64_t kEnoughUnits = 32;
  if (ffn_size < 2048) return 128;
  for (const int64_t unit : {256, 128})
    if (ceil_div(ffn_size, unit) >= kEnoughUnits) return unit;
  return 64;
}

std::vector<Range> ffn_units(int64_t ffn_size) {
  const int64_t unit = ffn_unit_size(ffn_size);
  std::vector<Range> units;
  for (int64_t begin = 0; begin < ffn_size; begin += unit)
    units.push_back({begin, std::min(begin + unit, ffn_size)});
  return units;
}

std::vector<Range> cut_vocabulary(int64_t vocab_size, std::span<const double> weights) {
  std::vector<Range> rows = partition_units(ceil_div(vocab_size, kVocabUnit), weights);
  for (Range& range : rows)
    range = {std::min(range.begin * kVocabUnit, vocab_size),
             std::min(range.end * kVocabUnit, vocab_size)};
  return rows;
}

std::vector<int64_t> balance_layers(int64_t num_layers, std::span<const int64_t> widths,
                                    double embedding_cost, double head_cost) {
  const auto num_stages = static_cast<int64_t>(widths.size());
  WEFT_CHECK(num_layers > 0 && num_stages > 0, "{} layers over {} stages", num_layers, num_stages);
  WEFT_CHECK(embedding_cost >= 0 && head_cost >= 0, "costs {} and {}", embedding_cost, head_cost);
  if (num_stages > num_layers + 1)
    throw Error(ErrorKind::kUsage,
                fmt::format("{} stages for a model of {} layers", num_stages, num_layers),
                "every stage holds a layer, but for one more that holds the head alone",
                fmt::format("--pp {} or less", num_layers + 1));
  for (const int64_t width : widths) WEFT_CHECK_LT(0, width);
  const bool head_alone = num_stages > num_layers;
  const auto time = [&](int64_t stage, Range layers) {
    const bool last = stage == num_stages - 1;
    if (layers.empty() && !(last && head_alone)) return kForbidden;
    const double work = static_cast<double>(layers.size()) + (stage == 0 ? embedding_cost : 0.0) +
                        (last ? head_cost : 0.0);
    return work / static_cast<double>(widths[static_cast<size_t>(stage)]);
  };
  const auto spread = [&](int64_t stage, Range layers) {
    return time(stage, layers) * time(stage, layers);
  };
  std::vector<int64_t> counts;
  for (const Range layers : best_contiguous_cut(num_layers, num_stages, time, spread).parts)
    counts.push_back(layers.size());
  return counts;
}

double imbalance(std::span<const double> shares, std::span<const double> weights) {
  WEFT_CHECK_EQ(shares.size(), weights.size());
  check_weights(weights, 0);
  const double total = std::accumulate(shares.begin(), shares.end(), 0.0);
  if (total <= 0) return 1.0;
  double slowest = 0;
  for (size_t r = 0; r < shares.size(); ++r) slowest = std::max(slowest, shares[r] / weights[r]);
  return slowest * std::accumulate(weights.begin(), weights.end(), 0.0) / total;
}

}  // namespace weft::parallel
