#include "engine/split_report.h"

#include <algorithm>
#include <cmath>

#include "base/counted.h"
#include "base/cpu.h"
#include "base/error.h"
#include "cache/kv_storage.h"
#include "engine/draft_plan.h"
#include "engine/packing.h"
#include "model/head.h"

namespace weft::engine {
namespace {

// "5", or "4-5" where the layers differ.
class Spread {
 public:
  void add(int64_t value) {
    low_ = any_ ? std::min(low_, value) : value;
    high_ = any_ ? std::max(high_, value) : value;
    any_ = true;
  }
  int64_t high() const { return high_; }
  std::string text() const {
    return low_ == high_ ? std::to_string(low_) : fmt::format("{}-{}", low_, high_);
  }

 private:
  int64_t low_ = 0, high_ = 0;
  bool any_ = false;
};

int64_t vector_bytes(const model::ModelConfig& c, const model::StageSplit& split) {
  const int64_t norms = (c.post_norms ? 4 : 2) * c.hidden_size + (c.qk_norm ? 2 * c.head_dim : 0);
  return (split.layers.size() * norms + (split.last ? c.hidden_size : 0)) * 4;
}

RankShare share_of(const model::ModelConfig& config, const model::StageSplit& split,
                   const model::ShardSplit& shard, const model::ShardWeights& weights,
                   const kernels::KvLayout& layout, const cache::GroupLayout& groups) {
  RankShare share;
  Spread heads, kv_heads, ffn;
  for (const model::LayerShare& layer : shard.layers) {
    heads.add(layer.attention.heads.size());
    kv_heads.add(layer.attention.kv_heads.size());
    ffn.add(layer.ffn.size());
  }
  share.layers = split.layers;
  share.heads = heads.text();
  share.kv_heads = kv_heads.text();
  share.ffn = ffn.text();
  const int tables = split.first && split.last && !config.tied_embeddings ? 2 : 1;
  share.vocab_rows = shard.vocab.size() * tables;
  share.weight_bytes = weights.num_bytes() + vector_bytes(config, split);
  if (split.last) share.logits_bytes = model::Head::logits_bytes(weights);
  const std::vector<int64_t> kv_heads_of = kv_heads_per_layer(shard);
  share.kv_bytes_per_token = cache::kv_bytes_per_token(kv_heads_of, layout);
  share.kv_group_bytes_per_token.assign(groups.windows.size(), 0);
  for (size_t i = 0; i < kv_heads_of.size(); ++i) {
    const int group = groups.group_of(split.layers.begin + static_cast<int64_t>(i));
    share.kv_group_bytes_per_token[static_cast<size_t>(group)] +=
        cache::kv_bytes_per_token(std::span(kv_heads_of).subspan(i, 1), layout);
  }
  if (split.shards.size() > 1) {
    const kernels::PartialSums sums{nullptr, 1, config.hidden_size};
    share.reduce_bytes_per_token = 2 * split.layers.size() * sums.stride() * 8 +
                                   (split.first ? round_up(config.hidden_size, 16) * 4 : 0);
  }
  return share;
}

// Of a rank: all of its own worker's, or an equal part of the pool's.
int64_t step_bytes(const model::ModelConfig& config, const model::StageSplit& split,
                   const model::StageWeights& weights, const PlacementPlan& placement, int rank,
                   const kernels::KvLayout& layout, model::StepLimits limits) {
  const int64_t shard = rank - split.first_rank;
  const std::span<const model::ShardWeights> all = weights.shards();
  const auto of_worker = [&](std::span<const model::ShardWeights> shards, size_t worker,
                             int num_members) {
    return model::StepMemory(config, split, shards, layout, limits,
                             placement.workers[worker].num_threads, num_members)
        .total_bytes();
  };
  const auto width = static_cast<int64_t>(all.size());
  if (placement.pooled) return equal_part({0, of_worker(all, 0, 1)}, shard, width).size();
  return of_worker(all.subspan(static_cast<size_t>(shard), 1), static_cast<size_t>(rank),
                   static_cast<int>(width));
}

void add_groups(const model::ModelConfig& config, const cache::GroupLayout& groups,
                SplitReport& report) {
  for (const int64_t window : groups.windows) report.kv_groups.push_back({.window = window});
  for (int64_t layer = 0; layer < config.num_layers; ++layer)
    ++report.kv_groups[static_cast<size_t>(groups.group_of(layer))].num_layers;
  for (const RankShare& rank : report.ranks) {
    for (size_t g = 0; g < report.kv_groups.size(); ++g)
      report.kv_groups[g].bytes_per_token += rank.kv_group_bytes_per_token[g];
  }
}

void add_asked_and_got(const parallel::Topology& topology, SplitReport& report) {
  for (const parallel::Stage& stage : topology.stages()) {
    const std::vector<double>& w = stage.weights;
    if (std::all_of(w.begin(), w.end(), [&](double x) { return x == w.front(); })) continue;
    double asked = 0;
    int64_t got = 0;
    for (int i = 0; i < stage.num_ranks(); ++i) {
      asked += w[static_cast<size_t>(i)];
      got += report.ranks[static_cast<size_t>(stage.first_rank + i)].weight_bytes;
    }
    for (int i = 0; i < stage.num_ranks(); ++i) {
      const RankShare& rank = report.ranks[static_cast<size_t>(stage.first_rank + i)];
      report.asked_and_got.push_back(
          fmt::format("rank {}: asked for {:.1f} % of its stage, holds {:.1f} %", rank.rank,
                      100.0 * w[static_cast<size_t>(i)] / asked,
                      100.0 * static_cast<double>(rank.weight_bytes) / static_cast<double>(got)));
    }
  }
}

// Slowest rank's bytes per weight over the even share, per stage; the worst stage counts.
double worst_imbalance(const parallel::Topology& topology, const SplitReport& report) {
  double worst = 1.0;
  for (const parallel::Stage& stage : topology.stages()) {
    std::vector<double> shares;
    for (int i = 0; i < stage.num_ranks(); ++i)
      shares.push_back(static_cast<double>(
          report.ranks[static_cast<size_t>(stage.first_rank + i)].weight_bytes));
    worst = std::max(worst, parallel::imbalance(shares, stage.weights));
  }
  return worst;
}

}  // namespace

kernels::KvLayout kv_layout(const model::ModelConfig& config, const EngineOptions& options) {
  return {options.kv_type, config.head_dim, options.block_size};
}

cache::GroupLayout layer_groups(const model::ModelConfig& config, const EngineOptions& options) {
  if (!options.window_groups) return {};
  return cache::group_layers(config.layer_window, options.max_model_len > 0
                                                      ? options.max_model_len
                                                      : config.context_length);
}

std::vector<int64_t> kv_heads_per_layer(const model::ShardSplit& shard) {
  std::vector<int64_t> heads;
  for (const model::LayerShare& layer : shard.layers)
    heads.push_back(layer.attention.kv_heads.size());
  return heads;
}

parallel::Topology resolve_topology(const ModelSource& source, const EngineOptions& options) {
  if (source.checkpoint->packed() != nullptr) return packed_topology(source, options);
  return model::resolve_topology(source.config, options.topology);
}

model::StepLimits step_limits(const EngineOptions& options, int64_t max_model_len) {
  return {std::min(options.max_num_batched_tokens, options.max_num_seqs * max_model_len),
          max_model_len};
}

SplitReport report_split(const ModelSource& source, const parallel::Topology& topology,
                         const std::vector<model::StageSplit>& splits,
                         const PlacementPlan& placement, const EngineOptions& options) {
  const kernels::KvLayout layout = kv_layout(source.config, options);
  const model::StepLimits limits = step_limits(
      options, options.max_model_len > 0 ? options.max_model_len : source.config.context_length);
  const cache::GroupLayout groups = layer_groups(source.config, options);
  SplitReport report;
  report.topology = topology.description();
  for (size_t s = 0; s < splits.size(); ++s) {
    const model::StageSplit& split = splits[s];
    const model::StageWeights weights(*source.checkpoint, source.config, split,
                                      {0, static_cast<int64_t>(split.shards.size())});
    for (size_t i = 0; i < split.shards.size(); ++i) {
      RankShare share =
          share_of(source.config, split, split.shards[i], weights.shards()[i], layout, groups);
      share.rank = topology.stages()[s].first_rank + static_cast<int>(i);
      share.stage = static_cast<int>(s);
      share.shard = static_cast<int>(i);
      share.step_bytes =
          step_bytes(source.config, split, weights, placement, share.rank, layout, limits);
      report.ranks.push_back(std::move(share));
    }
  }
  for (const parallel::Stage& stage : topology.stages()) {
    if (stage.num_ranks() > source.config.num_heads && !stage.layers.empty())
      report.warnings.push_back(
          fmt::format("a stage has {} ranks for {}: some are idle in attention", stage.num_ranks(),
                      counted(source.config.num_heads, "query head")));
  }
  add_groups(source.config, groups, report);
  add_asked_and_got(topology, report);
  report.imbalance = worst_imbalance(topology, report);
  return report;
}

Inspection inspect(const EngineOptions& options) {
  const ModelSource source = open_model(options.model_path);
  const parallel::Topology topology = resolve_topology(source, options);
  const auto splits = model::split_model(source.config, topology);
  const PlacementPlan placement = place_ranks(topology.num_ranks(), options, usable_cpus(), {});
  Inspection inspection{report_model(source),
                        report_split(source, topology, splits, placement, options)};
  if (!options.speculative_model.empty()) {
    ReplicaShape shape;
    shape.topology = topology;
    shape.placement = placement;
    report_draft(plan_draft(options, source, shape), inspection.split);
  }
  return inspection;
}

}  // namespace weft::engine
