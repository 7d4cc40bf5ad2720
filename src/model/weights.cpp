#include "model/weights.h"

#include "base/error.h"
#include "checkpoint/packed_checkpoint.h"

namespace weft::model {
namespace {

Range scaled(Range heads, int64_t head_dim) {
  return {heads.begin * head_dim, heads.end * head_dim};
}

std::vector<Range> head_units(Range heads, int64_t head_dim) {
  std::vector<Range> units;
  for (int64_t h = heads.begin; h < heads.end; ++h)
    units.push_back({h * head_dim, (h + 1) * head_dim});
  return units;
}

// Panels begin on cache lines, as their kernels expect.
constexpr int64_t kPanelsAlignment = 64;

const Family& family_named(std::string_view name) {
  for (const Family* family : families()) {
    if (family->name == name) return *family;
  }
  WEFT_CHECK(false, "no family {}", name);
}

// Every linear of a shard, in the order in which it is loaded.
template <typename Visit>
void for_each_linear(ShardWeights& shard, const Visit& visit) {
  if (shard.embedding) visit(shard.embedding->weight);
  for (LayerShard& layer : shard.layers) {
    for (parallel::ColumnLinear* linear :
         {&layer.query, &layer.key, &layer.value, &layer.gate, &layer.up})
      visit(linear->weight);
    visit(layer.output.weight);
    visit(layer.down.weight);
  }
  if (shard.head && shard.head != shard.embedding) visit(shard.head->weight);
}

// The panels of a rank of a packed model, as they are in its file.
void map_panels(ShardWeights& shard, const checkpoint::PanelFile& file) {
  size_t num_linears = 0;
  for_each_linear(shard, [&](parallel::PackedLinear& linear) {
    if (linear.empty()) return;
    linear.map(file.panels(panel_entry(linear)));
    ++num_linears;
  });
  if (num_linears != file.entries().size())
    throw Error(ErrorKind::kModel,
                fmt::format("{}: holds panels of {} matrices where the rank has {}",
                            file.path().string(), file.entries().size(), num_linears),
                "it is of another split", "pack the model again: weft pack MODEL");
}

}  // namespace

int64_t ShardWeights::num_bytes() const {
  int64_t total = 0;
  for (const parallel::PackedLinear* linear : linears()) total += linear->num_bytes();
  return total;
}

std::vector<const parallel::PackedLinear*> ShardWeights::linears() const {
  std::vector<const parallel::PackedLinear*> list;
  for_each_linear(const_cast<ShardWeights&>(*this), [&](const parallel::PackedLinear& linear) {
    if (!linear.empty()) list.push_back(&linear);
  });
  return list;
}

checkpoint::PanelEntry panel_entry(const parallel::PackedLinear& linear) {
  checkpoint::PanelEntry entry;
  entry.tensor = linear.source().name;
  entry.dtype = linear.source().dtype;
  entry.rows = linear.rows();
  entry.inputs = linear.layout().inputs.inputs();
  entry.num_units = linear.layout().inputs.num_units();
  entry.bytes = {0, linear.num_bytes()};
  return entry;
}

StageWeights::StageWeights(const checkpoint::Checkpoint& checkpoint, const ModelConfig& config,
                           const StageSplit& split, Range shards)
    : checkpoint_(checkpoint),
      config_(config),
      family_(family_named(config.family)),
      gguf_(checkpoint.format() == checkpoint::FileFormat::kGguf),
      split_(split) {
  for (int64_t r = shards.begin; r < shards.end; ++r) {
    const ShardSplit& plan = split.shards[static_cast<size_t>(r)];
    ShardWeights shard;
    shard.vocab = plan.vocab;
    for (size_t i = 0; i < plan.layers.size(); ++i)
      shard.layers.push_back(
          plan_layer(plan.layers[i], split.layers.begin + static_cast<int64_t>(i)));
    plan_vocabulary(shard, split);
    if (const checkpoint::PackedModel* packed = checkpoint.packed())
      map_panels(shard, packed->ranks.at(static_cast<size_t>(split.first_rank + r)));
    for (const parallel::PackedLinear* linear : shard.linears())
      file_bytes_ += parallel::source_bytes(*linear);
    shards_.push_back(std::move(shard));
  }
}

const tensor::RawTensor& StageWeights::require(Role role, int64_t layer, int64_t rows,
                                               int64_t cols) const {
  const tensor::RawTensor& tensor = checkpoint_.require(tensor_name(family_, gguf_, role, layer));
  if (tensor.shape.size() != 2 || tensor.num_rows() != rows || tensor.num_cols() != cols)
    throw Error(ErrorKind::kModel,
                fmt::format("{}: {} is {} x {} where the configuration asks for {} x {}",
                            checkpoint_.path().string(), tensor.name, tensor.num_rows(),
                            tensor.num_cols(), rows, cols));
  return tensor;
}

LayerShard StageWeights::plan_layer(const LayerShare& share, int64_t layer) const {
  const int64_t hidden = config_.hidden_size, dim = config_.head_dim;
  const int64_t q_rows = config_.num_heads * dim, kv_rows = config_.num_kv_heads * dim;
  const auto rows_of = [&](Role role, int64_t all_rows, Range rows) {
    return parallel::ColumnLinear{
        {require(role, layer, all_rows, hidden), rows, tensor::InputMap::whole(hidden)}, {}};
  };
  const auto units_of = [&](Role role, int64_t inputs, const std::vector<Range>& units) {
    return parallel::RowLinear{
        {require(role, layer, hidden, inputs), {0, hidden}, tensor::InputMap::of_units(units)}};
  };
  LayerShard shard;
  shard.share = share;
  shard.query = rows_of(Role::kQuery, q_rows, scaled(share.attention.heads, dim));
  shard.key = rows_of(Role::kKey, kv_rows, scaled(share.attention.kv_heads, dim));
  shard.value = rows_of(Role::kValue, kv_rows, scaled(share.attention.kv_heads, dim));
  shard.output = units_of(Role::kAttentionOutput, q_rows, head_units(share.attention.heads, dim));
  shard.gate = rows_of(Role::kGate, config_.ffn_size, share.ffn);
  shard.up = rows_of(Role::kUp, config_.ffn_size, share.ffn);
  shard.down = units_of(Role::kDown, config_.ffn_size, share.ffn_units);
  shard.query.bias = bias(Role::kQueryBias, layer, q_rows, shard.query.weight.rows());
  shard.key.bias = bias(Role::kKeyBias, layer, kv_rows, shard.key.weight.rows());
  shard.value.bias = bias(Role::kValueBias, layer, kv_rows, shard.value.weight.rows());
  shard.gate.bias = bias(Role::kGateBias, layer, config_.ffn_size, share.ffn);
  shard.up.bias = bias(Role::kUpBias, layer, config_.ffn_size, share.ffn);
  return shard;
}

void StageWeights::plan_vocabulary(ShardWeights& shard, const StageSplit& split) const {
  const auto rows_of = [&](Role role) {
    auto linear = std::make_shared<parallel::ColumnLinear>();
    linear->weight =
        parallel::PackedLinear(require(role, 0, config_.vocab_size, config_.hidden_size),
                               shard.vocab, tensor::InputMap::whole(config_.hidden_size));
    return linear;
  };
  if (split.first) shard.embedding = rows_of(Role::kTokenEmbedding);
  if (split.last)
    shard.head = !config_.tied_embeddings ? rows_of(Role::kOutput)
                 : shard.embedding        ? shard.embedding
                                          : rows_of(Role::kTokenEmbedding);
}

std::vector<float> StageWeights::bias(Role role, int64_t layer, int64_t size, Range range) const {
  const tensor::RawTensor* tensor = checkpoint_.find(tensor_name(family_, gguf_, role, layer));
  return tensor == nullptr ? std::vector<float>{} : parallel::load_vector(*tensor, size, range);
}

std::vector<float> StageWeights::norm(Role role, int64_t layer, int64_t size) const {
  const tensor::RawTensor& tensor = checkpoint_.require(tensor_name(family_, gguf_, role, layer));
  std::vector<float> weight = parallel::load_vector(tensor, size, {0, size});
  if (config_.norm_weight_offset != 0.0f) {
    for (float& w : weight) w += config_.norm_weight_offset;
  }
  return weight;
}

int64_t StageWeights::loaded_bytes(int64_t shard) const {
  int64_t bytes = static_cast<int64_t>(output_norm_.size() * sizeof(float));
  for (const parallel::PackedLinear* linear : shards_[static_cast<size_t>(shard)].linears())
    bytes += linear->loaded_bytes();
  for (const LayerVectors& v : vectors_) {
    for (const std::vector<float>* vector :
         {&v.attention_norm, &v.query_norm, &v.key_norm, &v.output_bias, &v.post_attention_norm,
          &v.ffn_norm, &v.down_bias, &v.post_ffn_norm})
      bytes += static_cast<int64_t>(vector->size() * sizeof(float));
  }
  return bytes;
}

LayerVectors StageWeights::load_vectors(int64_t layer) const {
  LayerVectors v;
  v.attention_norm = norm(Role::kAttentionNorm, layer, config_.hidden_size);
  v.ffn_norm = norm(Role::kFfnNorm, layer, config_.hidden_size);
  v.output_bias =
      bias(Role::kAttentionOutputBias, layer, config_.hidden_size, {0, config_.hidden_size});
  v.down_bias = bias(Role::kDownBias, layer, config_.hidden_size, {0, config_.hidden_size});
  if (config_.qk_norm) {
    v.query_norm = norm(Role::kQueryNorm, layer, config_.head_dim);
    v.key_norm = norm(Role::kKeyNorm, layer, config_.head_dim);
  }
  if (config_.post_norms) {
    v.post_attention_norm = norm(Role::kPostAttentionNorm, layer, config_.hidden_size);
    v.post_ffn_norm = norm(Role::kPostFfnNorm, layer, config_.hidden_size);
  }
  return v;
}

// One block of memory a shard, so that small matrices lie on huge pages as well. Nothing is
// touched: the thread that packs a panel places its pages.
void StageWeights::allocate() {
  for (ShardWeights& shard : shards_) {
    int64_t num_bytes = 0;
    for (const parallel::PackedLinear* linear : shard.linears())
      num_bytes += round_up(linear->num_bytes(), kPanelsAlignment);
    memory_.emplace_back(num_bytes, "weights");
    std::byte* at = memory_.back().data();
    for_each_linear(shard, [&](parallel::PackedLinear& linear) {
      if (linear.empty()) return;
      linear.place(at);
      at += round_up(linear.num_bytes(), kPanelsAlignment);
    });
  }
}

void StageWeights::load(ThreadTeam& team, const std::function<void(int64_t)>& on_bytes) {
  for (int64_t layer = split_.layers.begin; layer < split_.layers.end; ++layer)
    vectors_.push_back(load_vectors(layer));
  if (split_.last) output_norm_ = norm(Role::kOutputNorm, 0, config_.hidden_size);
  if (checkpoint_.packed() == nullptr) allocate();
  parallel::WeightLoader loader;
  for (ShardWeights& shard : shards_)
    for_each_linear(shard, [&](parallel::PackedLinear& linear) { loader.add(linear); });
  loader.run(team, on_bytes);
}

}  // namespace weft::model
