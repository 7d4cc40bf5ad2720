// The attention half of a layer between its two projections: rotation, the cache, the scores.
#include <algorithm>

#include "base/error.h"
#include "model/stage.h"

namespace weft::model {
namespace {

// Query tokens of one attention tile: enough to reuse the keys that it loads, few enough that a
// chunk of 512 tokens gives every thread several tiles. Where one sequence's part of the work would
// hold a thread up, its tiles have fewer tokens, down to what fills the kernels' rows of one or two
// heads a KV head.
constexpr int64_t kTokensPerTile = 32, kFewestTokensPerTile = 4;
// Tiles a thread that even out what they cost; with fewer than two, threads go idle.
constexpr int64_t kTilesPerThread = 4, kFewestTilesPerThread = 2;

// Pairs of a token and a position that it may see, of one head. Windows are left aside: tiles are
// to be about equal, no more.
int64_t pairs_of(const SequenceChunk& chunk) {
  return chunk.tokens.size() * (chunk.first_position + chunk.tokens.size());
}
int64_t pairs_of(const Batch& batch) {
  int64_t pairs = 0;
  for (const SequenceChunk& chunk : batch.chunks) pairs += pairs_of(chunk);
  return pairs;
}

int64_t tokens_per_tile(const SequenceChunk& chunk, int64_t pairs_per_tile) {
  const int64_t context = chunk.first_position + chunk.tokens.size();
  return std::clamp(pairs_per_tile / context, kFewestTokensPerTile, kTokensPerTile);
}

}  // namespace

void Stage::rotate_and_store(size_t layer, const Batch& batch) {
  const LayerVectors& vectors = weights_.vectors()[layer];
  const int64_t dim = config_.head_dim;
  team_.parallel_for(num_tokens_ * num_shards(), [&](int64_t tile, int) {
    const size_t s = static_cast<size_t>(tile % num_shards());
    const int64_t token = tile / num_shards();
    const LayerShard& part = shard(static_cast<int>(s), layer);
    const SequenceChunk& chunk = batch.chunks[chunk_of_token_[static_cast<size_t>(token)]];
    const int64_t position = chunk.first_position + token - chunk.tokens.begin;
    const Range kv_heads = part.share.attention.kv_heads;
    float* query = steps_[s].query + token * part.query.weight.padded_rows();
    float* key = steps_[s].key + token * part.key.weight.padded_rows();
    const float* value = steps_[s].value + token * part.value.weight.padded_rows();
    rotate_heads(layer, query, part.share.attention.heads.size(), vectors.query_norm, position);
    rotate_heads(layer, key, kv_heads.size(), vectors.key_norm, position);

    cache::KvStorage& storage = storage_[s];
    const int64_t block_tokens = storage.layout().block_tokens;
    const BlockRun& run =
        chunk.blocks[static_cast<size_t>(storage.group_of(static_cast<int64_t>(layer)))];
    const int32_t block = run.ids[static_cast<size_t>(position / block_tokens - run.first_block)];
    for (int64_t head = 0; head < kv_heads.size(); ++head) {
      table_.write_kv({key + head * dim, value + head * dim, storage.layout(),
                       storage.head(static_cast<int64_t>(layer), block, head),
                       position % block_tokens});
    }
  });
}

void Stage::rotate_heads(size_t layer, float* x, int64_t num_heads, const std::vector<float>& norm,
                         int64_t position) {
  const int64_t dim = config_.head_dim;
  if (!norm.empty()) {
    for (int64_t head = 0; head < num_heads; ++head)
      table_.rms_norm(x + head * dim, norm.data(), config_.norm_eps, x + head * dim, dim);
  }
  const int64_t model_layer = split_.layers.begin + static_cast<int64_t>(layer);
  const size_t rope_index =
      static_cast<size_t>(config_.layer_rope[static_cast<size_t>(model_layer)]);
  const kernels::RopeTable rope = ropes_[rope_index].table();
  table_.rope(x, num_heads, dim, rope.cos_of(position), rope.sin_of(position), rope.num_pairs,
              config_.rope_layout);
}

void Stage::attend(size_t layer, const Batch& batch) {
  place_row_inputs(layer, /*down=*/false);
  list_attention_tiles(layer, batch);
  team_.parallel_for(static_cast<int64_t>(tiles_.size()), [&](int64_t index, int) {
    const AttentionTile& tile = tiles_[static_cast<size_t>(index)];
    table_.attention(attention_of(layer, batch, tile));
    if (tile.partials == nullptr) lay_out_heads(layer, batch, tile);
  });
  team_.parallel_for(static_cast<int64_t>(merges_.size()), [&](int64_t index, int) {
    const AttentionTile& tile = merges_[static_cast<size_t>(index)];
    table_.merge_attention(attention_of(layer, batch, tile));
    lay_out_heads(layer, batch, tile);
  });
}

void Stage::lay_out_heads(size_t layer, const Batch& batch, const AttentionTile& tile) {
  const LayerShard& part = shard(tile.shard, layer);
  const ShardStep& step = steps_[static_cast<size_t>(tile.shard)];
  const tensor::InputMap& map = part.output.weight.layout().inputs;
  const int64_t first = batch.chunks[tile.chunk].tokens.begin;
  for (int64_t token = first + tile.tokens.begin; token < first + tile.tokens.end; ++token) {
    table_.prepare(map, step.mixed + token * part.query.weight.padded_rows(), step.row_input, token,
                   map.groups_of(tile.heads));
  }
}

// A whole tile: a shard's query heads of one KV head, some tokens of one sequence, every span.
void Stage::list_attention_tiles(size_t layer, const Batch& batch) {
  tiles_.clear();
  merges_.clear();
  const int64_t group = config_.num_heads / config_.num_kv_heads;
  const int64_t pairs_per_tile = pairs_of(batch) / (kTilesPerThread * team_.num_threads());
  for (int s = 0; s < num_shards(); ++s) {
    const parallel::AttentionShare& share = shard(s, layer).share.attention;
    for (int64_t kv = share.kv_heads.begin; kv < share.kv_heads.end; ++kv) {
      const Range heads = Range{kv * group, (kv + 1) * group}.intersect(share.heads);
      for (size_t c = 0; c < batch.chunks.size(); ++c) {
        const int64_t length = batch.chunks[c].tokens.size();
        const int64_t step = tokens_per_tile(batch.chunks[c], pairs_per_tile);
        for (int64_t t = 0; t < length; t += step)
          tiles_.push_back({s,
                            c,
                            {t, std::min(length, t + step)},
                            {heads.begin - share.heads.begin, heads.end - share.heads.begin},
                            kv - share.kv_heads.begin,
                            kernels::Attention{}.spans,
                            nullptr});
      }
    }
  }
  const int64_t threads = team_.num_threads();
  const auto few = [&] {
    return static_cast<int64_t>(tiles_.size()) < kFewestTilesPerThread * threads;
  };
  if (threads == 1 || tiles_.empty() || !few()) return;
  split_over_spans(layer, batch);
  if (few()) split_over_heads();
}

void Stage::split_over_spans(size_t layer, const Batch& batch) {
  whole_tiles_.swap(tiles_);
  tiles_.clear();
  const int64_t wanted =
      ceil_div(kTilesPerThread * team_.num_threads(), static_cast<int64_t>(whole_tiles_.size()));
  int64_t used = 0;
  for (AttentionTile& tile : whole_tiles_) {
    const Range spans = visible_spans(layer, batch, tile);
    const int64_t parts = std::min(wanted, spans.size());
    const int64_t rows = tile.tokens.size() * tile.heads.size();
    const int64_t stride = spans_of_context() * kernels::partial_floats(storage_.front().layout());
    if (parts < 2 || used + rows * stride > memory_.partials_floats()) {
      tiles_.push_back(tile);
      continue;
    }
    tile.partials = partials_ + used;
    used += rows * stride;
    merges_.push_back(tile);
    for (int64_t part = 0; part < parts; ++part) {
      tile.spans = equal_part(spans, part, parts);
      tiles_.push_back(tile);
    }
  }
}

void Stage::split_over_heads() {
  whole_tiles_.swap(tiles_);
  tiles_.clear();
  for (AttentionTile& tile : whole_tiles_) {
    const Range heads = tile.heads;
    if (tile.partials == nullptr) tile.heads.end = heads.begin + 1;
    for (; tile.heads.end <= heads.end; ++tile.heads.begin, ++tile.heads.end)
      tiles_.push_back(tile);
  }
}

Range Stage::visible_spans(size_t layer, const Batch& batch, const AttentionTile& tile) const {
  const int64_t window = config_.layer_window[static_cast<size_t>(split_.layers.begin) + layer];
  const int64_t first = batch.chunks[tile.chunk].first_position + tile.tokens.begin;
  const int64_t begin = window > 0 ? std::max<int64_t>(0, first - window + 1) : 0;
  const int64_t end = batch.chunks[tile.chunk].first_position + tile.tokens.end;
  return {begin / kernels::kAttentionSpan, ceil_div(end, kernels::kAttentionSpan)};
}

int64_t Stage::spans_of_context() const {
  return ceil_div(ropes_.front().num_positions(), kernels::kAttentionSpan);
}

kernels::Attention Stage::attention_of(size_t layer, const Batch& batch,
                                       const AttentionTile& tile) const {
  const size_t s = static_cast<size_t>(tile.shard);
  const LayerShard& part = shard(tile.shard, layer);
  const SequenceChunk& chunk = batch.chunks[tile.chunk];
  const cache::KvStorage& storage = storage_[s];
  const int64_t stride = part.query.weight.padded_rows();
  const size_t model_layer = static_cast<size_t>(split_.layers.begin) + layer;
  kernels::Attention op;
  op.q_stride = stride;
  op.q = steps_[s].query + chunk.tokens.begin * op.q_stride;
  op.out = steps_[s].mixed + chunk.tokens.begin * stride;
  op.out_stride = stride;
  op.tokens = tile.tokens;
  op.heads = tile.heads;
  op.kv_head = tile.kv_head;
  op.first_position = chunk.first_position;
  op.window = config_.layer_window[model_layer];
  op.scale = config_.attention_scale;
  op.softcap = config_.attention_softcap;
  op.layout = storage.layout();
  op.cache = storage.layer(static_cast<int64_t>(layer));
  op.block_stride = storage.block_stride(static_cast<int64_t>(layer));
  const BlockRun& run =
      chunk.blocks[static_cast<size_t>(storage.group_of(static_cast<int64_t>(layer)))];
  op.block_table = run.ids.data();
  op.first_block = run.first_block;
  op.spans = tile.spans;
  op.partials = tile.partials;
  op.partials_stride = spans_of_context() * kernels::partial_floats(op.layout);
  return op;
}

}  // namespace weft::model
