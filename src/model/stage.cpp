#include "model/stage.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace weft::model {
namespace {

// Tokens that a tile takes from the peers: a copy of some tens of KiB outlasts its hand-out.
constexpr int64_t kTokensPerGather = 16;

}  // namespace

Stage::Stage(const ModelConfig& config, const StageSplit& split, const StageWeights& weights,
             std::vector<cache::KvStorage> storage, const kernels::KernelTable& table,
             ThreadTeam& team, comm::Communicator& communicator, ActivityClock& clock,
             const std::vector<RopeCache>& ropes, int64_t max_tokens)
    : config_(config),
      split_(split),
      weights_(weights),
      storage_(std::move(storage)),
      table_(table),
      team_(team),
      communicator_(communicator),
      clock_(clock),
      ropes_(ropes),
      max_tokens_(max_tokens),
      memory_(config, split, weights.shards(), storage_.front().layout(),
              {max_tokens, ropes.front().num_positions()}, team.num_threads(), communicator.size()),
      inputs_(communicator, config.hidden_size),
      exact_(communicator, max_tokens, config.hidden_size),
      matmul_(table) {
  steps_.resize(weights.shards().size());
  hidden_.stride = memory_.stride();
  arena_ = tensor::Arena(memory_.arena_bytes());
  if (split.first) embedding_exchange_ = tensor::Buffer(memory_.embedding_bytes(), "embeddings");
}

const LayerShard& Stage::shard(int shard_index, size_t layer) const {
  return weights_.shards()[static_cast<size_t>(shard_index)].layers[layer];
}

void Stage::copy_blocks(std::span<const cache::BlockCopy> copies) {
  for (cache::KvStorage& storage : storage_) {
    for (const cache::BlockCopy& copy : copies) storage.copy_block(copy.from, copy.to, copy.group);
  }
}

void Stage::begin(const Batch& batch) {
  num_tokens_ = batch.num_tokens();
  WEFT_CHECK_LE(num_tokens_, max_tokens_);
  arena_.rewind();
  hidden_.residual = arena_.take<float>(num_tokens_ * hidden_.stride);
  hidden_.bad_layer = arena_.take<int32_t>(num_tokens_);
  std::fill_n(hidden_.bad_layer, num_tokens_, -1);
  // Without layers nothing is shared out: each worker is handed the whole state.
  shares_ = weights_.vectors().empty() ? parallel::TokenShares(num_tokens_)
                                       : parallel::TokenShares(communicator_, num_tokens_);
  exact_.begin(shares_);
  scratch_ = arena_.take<float>(memory_.scratch_floats());
  partials_ = arena_.take<float>(memory_.partials_floats());
  for (size_t s = 0; s < steps_.size(); ++s) {
    const StepMemory::ShardSizes& sizes = memory_.shard(s);
    ShardStep& step = steps_[s];
    step.query = arena_.take<float>(num_tokens_ * sizes.query);
    step.mixed = arena_.take<float>(num_tokens_ * sizes.query);
    step.key = arena_.take<float>(num_tokens_ * sizes.key);
    step.value = arena_.take<float>(num_tokens_ * sizes.value);
    step.gate = arena_.take<float>(num_tokens_ * sizes.gate);
    step.up = arena_.take<float>(num_tokens_ * sizes.gate);
    step.row_memory = arena_.take<std::byte>(sizes.row_input_bytes);
  }
  inputs_.begin(
      shares_, arena_.take<std::byte>(parallel::GatheredInputs::bytes(inputs_.map(), num_tokens_)));
  chunk_of_token_.resize(static_cast<size_t>(num_tokens_));
  for (size_t c = 0; c < batch.chunks.size(); ++c) {
    for (int64_t t = batch.chunks[c].tokens.begin; t < batch.chunks[c].tokens.end; ++t)
      chunk_of_token_[static_cast<size_t>(t)] = c;
  }
}

void Stage::embed(const Batch& batch) {
  float* rows = embedding_exchange_.as<float>();
  const int64_t stride = hidden_.stride;
  team_.parallel_for(num_tokens_, [&](int64_t token, int) {
    float* row = rows + token * stride;
    std::memset(row, 0, static_cast<size_t>(stride) * sizeof(float));
    const int64_t id = batch.token_ids[static_cast<size_t>(token)];
    for (const ShardWeights& shard : weights_.shards()) {
      if (!shard.vocab.contains(id)) continue;
      const parallel::PackedLinear& weight = shard.embedding->weight;
      table_.dequantize_row(weight.layout(), weight.panels(), id - shard.vocab.begin, row);
    }
  });
  // One member holds the row and the others zeros: their sum as integers is the row's own bits.
  const int64_t words = num_tokens_ * stride / 2;
  const int64_t* parts[parallel::kMaxRanksPerStage] = {reinterpret_cast<const int64_t*>(rows)};
  int num_parts = 1;
  if (communicator_.size() > 1) {
    meet();
    if (communicator_.lends_views()) {
      num_parts = 0;
      for (const std::byte* view : communicator_.exchange(embedding_exchange_.data(), "embedding"))
        parts[num_parts++] = reinterpret_cast<const int64_t*>(view);
    } else {
      communicator_.all_reduce({reinterpret_cast<int64_t*>(rows), static_cast<size_t>(words)},
                               "embedding");
    }
    clock_.enter(Activity::kCompute);
  }
  if (has_collectives()) reduce_bytes_ += words * 8;
  const Range own = shares_.own();
  team_.parallel_for(own.size(), [&](int64_t tile, int) {
    const int64_t token = own.begin + tile;
    const int64_t* row_parts[parallel::kMaxRanksPerStage];
    for (int p = 0; p < num_parts; ++p) row_parts[p] = parts[p] + token * stride / 2;
    float* out = hidden_.residual + token * stride;
    table_.add_int64(reinterpret_cast<int64_t*>(out), row_parts, num_parts, stride / 2);
    if (config_.embedding_scale != 1.0f)
      table_.scale(out, config_.embedding_scale, config_.hidden_size);
  });
}

void Stage::forward(const Batch& batch, bool gathers) {
  if (weights_.vectors().empty()) return;  // a stage of the head alone
  const NextInput first = attention_input(0);
  const Range own = shares_.own();
  team_.parallel_for(own.size(),
                     [&](int64_t tile, int thread) { lay_out(first, own.begin + tile, thread); });
  gather(first);
  clock_.enter(Activity::kCompute);
  for (size_t layer = 0; layer < weights_.vectors().size(); ++layer) run_layer(layer, batch);
  if (gathers)
    gather_hidden();
  else
    part_from_peers();
}

void Stage::run_layer(size_t layer, const Batch& batch) {
  project_qkv(layer);
  rotate_and_store(layer, batch);
  attend(layer, batch);
  const LayerVectors& v = weights_.vectors()[layer];
  add_reduced(project_output(layer), v.output_bias, v.post_attention_norm, ffn_input(layer), layer);
  project_gate_up(layer);
  const bool more = layer + 1 < weights_.vectors().size();
  add_reduced(project_down(layer), v.down_bias, v.post_ffn_norm,
              more ? attention_input(layer + 1) : NextInput{}, layer);
}

void Stage::project_qkv(size_t layer) {
  for (int s = 0; s < num_shards(); ++s) {
    const LayerShard& part = shard(s, layer);
    ShardStep& step = steps_[static_cast<size_t>(s)];
    matmul_.add(part.query, input_of(part.query), step.query);
    matmul_.add(part.key, input_of(part.key), step.key);
    matmul_.add(part.value, input_of(part.value), step.value);
  }
  matmul_.run(team_);
}

std::span<const int64_t* const> Stage::project_output(size_t layer) {
  const kernels::PartialSums sums = exact_.partial();
  for (int s = 0; s < num_shards(); ++s)
    matmul_.add(shard(s, layer).output, steps_[static_cast<size_t>(s)].row_input, sums);
  return run_exact(sums, "attention output");
}

void Stage::project_gate_up(size_t layer) {
  place_row_inputs(layer, /*down=*/true);
  for (int s = 0; s < num_shards(); ++s) {
    const LayerShard& part = shard(s, layer);
    ShardStep& step = steps_[static_cast<size_t>(s)];
    matmul_.add(parallel::GatedPart{
        &part.gate, &part.up, input_of(part.gate), input_of(part.up), step.gate, step.up,
        config_.activation == Activation::kSilu ? table_.silu_mul : table_.gelu_tanh_mul,
        &part.down, step.row_input});
  }
  matmul_.run(team_);
}

std::span<const int64_t* const> Stage::project_down(size_t layer) {
  const kernels::PartialSums sums = exact_.partial();
  for (int s = 0; s < num_shards(); ++s)
    matmul_.add(shard(s, layer).down, steps_[static_cast<size_t>(s)].row_input, sums);
  return run_exact(sums, "FFN output");
}

std::span<const int64_t* const> Stage::run_exact(const kernels::PartialSums& sums,
                                                 const char* phase) {
  const auto make_of = [&](Range tokens) {
    clock_.enter(Activity::kCompute);
    if (matmul_.empty()) {
      parallel::clear(sums, tokens);  // no shard here has a part in this sum
    } else {
      matmul_.run(team_, tokens);
    }
    meet();
  };
  const auto parts = exact_.reduce(make_of, phase);
  matmul_.forget();
  if (has_collectives()) reduce_bytes_ += exact_.bytes();
  return parts;
}

void Stage::place_row_inputs(size_t layer, bool down) {
  for (int s = 0; s < num_shards(); ++s) {
    const parallel::RowLinear& linear = down ? shard(s, layer).down : shard(s, layer).output;
    if (linear.weight.empty()) continue;
    ShardStep& step = steps_[static_cast<size_t>(s)];
    step.row_input = kernels::place_activations(linear.weight.activation_type(), num_tokens_,
                                                linear.weight.layout().inputs, step.row_memory);
  }
}

void Stage::add_reduced(std::span<const int64_t* const> parts, const std::vector<float>& bias,
                        const std::vector<float>& post_norm, const NextInput& next, size_t layer) {
  if (has_collectives()) clock_.enter(Activity::kReduce);
  const kernels::PartialSums shape{nullptr, num_tokens_, config_.hidden_size};
  const Range own = shares_.own();
  team_.parallel_for(own.size(), [&](int64_t tile, int thread) {
    const int64_t token = own.begin + tile;
    const int64_t* rows[parallel::kMaxRanksPerStage];
    for (size_t p = 0; p < parts.size(); ++p) rows[p] = parts[p] + token * shape.stride();
    float* sum = scratch_ + thread * StepMemory::kScratchRows * hidden_.stride;
    const int64_t bad =
        table_.finish_exact(rows, static_cast<int>(parts.size()), config_.hidden_size,
                            bias.empty() ? nullptr : bias.data(), sum);
    if (!shares_.shared_out()) exact_.clear_counts({token, token + 1});
    if (bad != 0 && hidden_.bad_layer[token] < 0)
      hidden_.bad_layer[token] =
          static_cast<int32_t>(split_.layers.begin) + static_cast<int32_t>(layer);
    if (!post_norm.empty())
      table_.rms_norm(sum, post_norm.data(), config_.norm_eps, sum, config_.hidden_size);
    table_.add(hidden_.residual + token * hidden_.stride, sum, config_.hidden_size);
    if (next.norm != nullptr) lay_out(next, token, thread);
  });
  if (next.norm != nullptr) gather(next);
  clock_.enter(Activity::kCompute);
}

void Stage::lay_out(const NextInput& next, int64_t token, int thread) {
  float* normed = scratch_ + (thread * StepMemory::kScratchRows + 1) * hidden_.stride;
  table_.rms_norm(hidden_.residual + token * hidden_.stride, next.norm->data(), config_.norm_eps,
                  normed, config_.hidden_size);
  for (const auto type : parallel::GatheredInputs::kTypes) {
    if (parallel::GatheredInputs::contains(next.wanted, type))
      table_.prepare(inputs_.map(), normed, inputs_.of(type), token,
                     {0, inputs_.map().num_groups()});
  }
}

// The peers have read this worker's sums when their rows arrive: the counts are cleared here.
void Stage::gather(const NextInput& next) {
  if (!shares_.shared_out()) return;
  meet();
  inputs_.gather(next.wanted, next.phase);
  clock_.enter(Activity::kReduce);
  team_.parallel_for(ceil_div(num_tokens_, kTokensPerGather), [&](int64_t tile, int) {
    const Range tokens =
        Range{tile * kTokensPerGather, (tile + 1) * kTokensPerGather}.intersect({0, num_tokens_});
    inputs_.take(next.read, tokens);
    exact_.clear_counts(tokens);
  });
}

void Stage::gather_hidden() {
  if (!shares_.shared_out()) return;
  meet();
  const auto rows_of = [&](auto* data, int64_t row_length) {
    return std::as_writable_bytes(std::span(data, static_cast<size_t>(num_tokens_ * row_length)));
  };
  communicator_.all_gather_rows(rows_of(hidden_.residual, hidden_.stride),
                                hidden_.stride * static_cast<int64_t>(sizeof(float)),
                                "hidden state at the end of a stage");
  communicator_.all_gather_rows(rows_of(hidden_.bad_layer, 1), sizeof(int32_t),
                                "checks at the end of a stage");
  clock_.enter(Activity::kCompute);
}

// Peers may still be reading the sums of the last reduction, which the next step overwrites.
void Stage::part_from_peers() {
  if (!shares_.shared_out() || !communicator_.lends_views()) return;
  meet();
  communicator_.barrier("end of a stage");
  clock_.enter(Activity::kCompute);
}

Stage::NextInput Stage::attention_input(size_t layer) const {
  NextInput next{&weights_.vectors()[layer].attention_norm, 0, 0, "attention input"};
  for (int s = 0; s < num_shards(); ++s) {
    const LayerShard& part = shard(s, layer);
    for (const parallel::ColumnLinear* linear : {&part.query, &part.key, &part.value})
      add_types(*linear, next);
  }
  return next;
}

Stage::NextInput Stage::ffn_input(size_t layer) const {
  NextInput next{&weights_.vectors()[layer].ffn_norm, 0, 0, "FFN input"};
  for (int s = 0; s < num_shards(); ++s) {
    for (const parallel::ColumnLinear* linear : {&shard(s, layer).gate, &shard(s, layer).up})
      add_types(*linear, next);
  }
  return next;
}

// A worker that has no rows of a linear lays its tokens out for those that have.
void Stage::add_types(const parallel::ColumnLinear& linear, NextInput& next) const {
  const uint8_t type = parallel::GatheredInputs::bit(linear.weight.activation_type());
  if (!linear.weight.empty()) next.read |= type;
  if (!linear.weight.empty() || shares_.shared_out()) next.wanted |= type;
}

int64_t Stage::take_reduce_bytes() { return std::exchange(reduce_bytes_, 0); }

}  // namespace weft::model
