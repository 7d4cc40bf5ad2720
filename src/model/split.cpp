#include "model/split.h"

namespace weft::model {
namespace {

// Adds one layer's shares to a stage, remembering what each rank already holds so that the
// remainder rotates over the layers.
class LayerCutter {
 public:
  LayerCutter(const ModelConfig& config, const std::vector<double>& weights)
      : config_(config),
        weights_(weights),
        units_(parallel::ffn_units(config.ffn_size)),
        attention_load_(weights.size(), 0.0),
        ffn_load_(weights.size(), 0.0) {}

  void cut(std::vector<ShardSplit>& shards) {
    const auto attention = parallel::cut_attention(config_.num_heads, config_.num_kv_heads,
                                                   weights_, 1.0, attention_load_);
    const auto ffn =
        parallel::partition_units(static_cast<int64_t>(units_.size()), weights_, ffn_load_);
    for (size_t r = 0; r < weights_.size(); ++r) {
      LayerShare share;
      share.attention = attention[r];
      for (int64_t u = ffn[r].begin; u < ffn[r].end; ++u)
        share.ffn_units.push_back(units_[static_cast<size_t>(u)]);
      if (!share.ffn_units.empty())
        share.ffn = {share.ffn_units.front().begin, share.ffn_units.back().end};
      attention_load_[r] += parallel::attention_memory(attention[r]);
      ffn_load_[r] += static_cast<double>(ffn[r].size());
      shards[r].layers.push_back(std::move(share));
    }
  }

 private:
  const ModelConfig& config_;
  const std::vector<double>& weights_;
  std::vector<Range> units_;
  std::vector<double> attention_load_, ffn_load_;
};

// Of the tokens that a layer computes.
double share_of_tokens_with_logits(parallel::PipelineBalance balance) {
  constexpr double kPromptTokens = 220, kAnswerTokens = 180;
  switch (balance) {
    case parallel::PipelineBalance::kDecode:
      return 1.0;
    case parallel::PipelineBalance::kPrefill:
      return 1.0 / kPromptTokens;
    case parallel::PipelineBalance::kMixed:
      return kAnswerTokens / (kPromptTokens + kAnswerTokens);
  }
  return 1.0;
}

}  // namespace

std::vector<StageSplit> split_model(const ModelConfig& config, const parallel::Topology& topology) {
  std::vector<StageSplit> stages;
  for (const parallel::Stage& stage : topology.stages()) {
    StageSplit split;
    split.layers = stage.layers;
    split.first_rank = stage.first_rank;
    split.first = stages.empty();
    split.last = static_cast<int>(stages.size()) + 1 == topology.num_stages();
    split.shards.resize(stage.weights.size());
    LayerCutter cutter(config, stage.weights);
    for (int64_t layer = stage.layers.begin; layer < stage.layers.end; ++layer)
      cutter.cut(split.shards);
    if (split.first || split.last) {
      const auto vocab = parallel::cut_vocabulary(config.vocab_size, stage.weights);
      for (size_t r = 0; r < vocab.size(); ++r) split.shards[r].vocab = vocab[r];
    }
    stages.push_back(std::move(split));
  }
  return stages;
}

parallel::StageCosts stage_costs(const ModelConfig& c, parallel::PipelineBalance balance) {
  const double attention =
      static_cast<double>(c.hidden_size * c.head_dim * (2 * c.num_heads + 2 * c.num_kv_heads));
  const double ffn = 3.0 * static_cast<double>(c.hidden_size * c.ffn_size);
  const double head = static_cast<double>(c.vocab_size * c.hidden_size);
  return {0.0, share_of_tokens_with_logits(balance) * head / (attention + ffn)};
}

parallel::Topology resolve_topology(const ModelConfig& config,
                                    const parallel::TopologyRequest& request) {
  return parallel::Topology::resolve(request, config.num_layers,
                                     stage_costs(config, request.balance_or_default()));
}

}  // namespace weft::model
