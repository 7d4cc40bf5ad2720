// Attention over the paged cache: FlashAttention's online softmax (arXiv:2205.14135) on fixed
// blocks, so that nothing but the token's own position decides the order of the sums.
//
// For one query vector, block by block of 64 positions:
//   score[p]   = fma chain over d of key[d][p] * q[d], from 0, then * scale, then softcap
//   max'       = the larger of max and the block's scores
//   sum[l]     = sum[l] * exp(max - max') + the weights exp(score - max') of positions p % 16 == l,
//                in order; values[d] = values[d] * exp(max - max'), then fma(weight, value, values)
//                over the positions in order
// A span of 1,024 begins afresh; at its end sum becomes the tree sum of its lanes, and spans are
// merged in order: with M the larger maximum, a = exp(old max - M), b = exp(span's max - M),
//   sum = fma(span's sum, b, sum * a), values likewise; the first span is taken as it is.
// At the end out = values / sum. A factor of exp(0) = 1 is left out: it changes no bit.
//
// A *row* is one (token, query head). Up to kTileRows rows of one KV head share each load of a key
// or a value; no row sees which others stand beside it.
#pragma once

#include "kernels/attention_block.inl.h"
#include "kernels/float_math.inl.h"
#include "kernels/kernels.h"

namespace weft::kernels {
namespace {

struct Row {
  const float* q;
  float* out;
  int64_t begin, end;  // the positions that it sees
  bool in_span;        // the current span has a visible block
  bool merged;         // an earlier span has one
  float max, merged_max, merged_sum;
};

struct Tile {
  int num_rows;
  int64_t num_vectors;  // of 16 values a head
  Row rows[kTileRows];
  // Scores, then weights, of the current block.
  alignas(64) float weights[kTileRows][kBlock];
  alignas(64) float sums[kTileRows][16];
  alignas(64) float values[kTileRows][kMaxHeadDim];
  alignas(64) float merged_values[kTileRows][kMaxHeadDim];
};

// ---------------------------------------------------------------- softmax

WEFT_INLINE void scale_values(float* values, int64_t num_vectors, float factor) {
  const F32x16 by = broadcast(factor);
  for (int64_t v = 0; v < num_vectors; ++v) store(values + 16 * v, load(values + 16 * v) * by);
}

// One number's exp, in the lanes' own steps.
WEFT_INLINE float exp_of(float x) {
  float lanes[16];
  store(lanes, exp_nonpositive(broadcast(x)));
  return lanes[0];
}

// Turns row r's scores into weights, of which [from, to) are of visible positions.
void weigh(const Attention& op, Tile& tile, int r, int from, int to) {
  Row& row = tile.rows[r];
  float* weights = tile.weights[r];
  const F32x16 scale = broadcast(op.scale), cap = broadcast(op.softcap);
  const F32x16 none = broadcast(-__builtin_inff());
  F32x16 scores[kSixteens], largest = none;
  for (int i = 0; i < kSixteens; ++i) {
    F32x16 s = load(weights + 16 * i) * scale;
    if (op.softcap > 0) s = capped(s, cap);
    if (from > 16 * i || to < 16 * i + 16) {
      const int low = from - 16 * i, high = to - 16 * i;
      const Mask16 seen = first_lanes(high < 0    ? 0
                                      : high > 16 ? 16
                                                  : high) &
                          ~first_lanes(low < 0    ? 0
                                       : low > 16 ? 16
                                                  : low);
      s = select(seen, s, none);
    }
    scores[i] = s;
    largest = max(largest, s);
  }
  const float block_max = reduce_max(largest);
  const float new_max = row.in_span && row.max > block_max ? row.max : block_max;
  F32x16 sums = zero_f32();
  if (!row.in_span) {
    for (int64_t v = 0; v < tile.num_vectors; ++v) store(&tile.values[r][16 * v], zero_f32());
  } else {
    sums = load(tile.sums[r]);
    if (row.max != new_max) {
      const float factor = exp_of(row.max - new_max);
      sums = sums * broadcast(factor);
      scale_values(tile.values[r], tile.num_vectors, factor);
    }
  }
  const F32x16 top = broadcast(new_max);
  for (int i = 0; i < kSixteens; ++i) {
    const F32x16 weight = exp_nonpositive(scores[i] - top);
    store(weights + 16 * i, weight);
    sums = sums + weight;
  }
  store(tile.sums[r], sums);
  row.max = new_max;
  row.in_span = true;
}

// ---------------------------------------------------------------- blocks

// Calls the register tile of as many rows as the tile has, of kRows at most.
template <int kRows, typename Element>
void score_block(Tile& tile, const BlockView<Element>& view, const BlockView<Element>& next,
                 int64_t head_dim) {
  if constexpr (kRows > 1) {
    if (tile.num_rows < kRows) return score_block<kRows - 1>(tile, view, next, head_dim);
  }
  const float* q[kRows];
  for (int r = 0; r < kRows; ++r) q[r] = tile.rows[r].q;
  score_rows<kRows>(q, view, next, head_dim, tile.weights);
}

template <typename Element>
void add_one_row(Tile& tile, const BlockView<Element>& view, int r, int from, int to) {
  add_rows<1>(tile.weights + r, view, view, from, to, tile.num_vectors, tile.values + r);
}

template <int kRows, typename Element>
void add_all_rows(Tile& tile, const BlockView<Element>& view, const BlockView<Element>& next,
                  int from, int to) {
  if constexpr (kRows > 1) {
    if (tile.num_rows < kRows) return add_all_rows<kRows - 1>(tile, view, next, from, to);
  }
  add_rows<kRows>(tile.weights, view, next, from, to, tile.num_vectors, tile.values);
}

// Rows see different ends of a block: what all see is added together, the rest row by row. No row
// touches a value that it does not see: 0 * NaN is NaN.
template <typename Element>
void add_block(const Attention& op, Tile& tile, int64_t block, const BlockView<Element>& view,
               const BlockView<Element>& next) {
  score_block<kTileRows>(tile, view, next, op.layout.head_dim);
  int from[kTileRows] = {}, to[kTileRows] = {};
  int common_from = 0, common_to = kBlock;
  for (int r = 0; r < tile.num_rows; ++r) {
    const int64_t low = tile.rows[r].begin - block, high = tile.rows[r].end - block;
    from[r] = static_cast<int>(low < 0 ? 0 : low > kBlock ? kBlock : low);
    to[r] = static_cast<int>(high < 0 ? 0 : high > kBlock ? kBlock : high);
    if (from[r] < to[r]) weigh(op, tile, r, from[r], to[r]);
    if (from[r] > common_from) common_from = from[r];
    if (to[r] < common_to) common_to = to[r];
  }
  if (common_from >= common_to) {
    for (int r = 0; r < tile.num_rows; ++r) add_one_row(tile, view, r, from[r], to[r]);
    return;
  }
  for (int r = 0; r < tile.num_rows; ++r) add_one_row(tile, view, r, from[r], common_from);
  add_all_rows<kTileRows>(tile, view, next, common_from, common_to);
  for (int r = 0; r < tile.num_rows; ++r) add_one_row(tile, view, r, common_to, to[r]);
}

// ---------------------------------------------------------------- spans

void close_span(Tile& tile, int r) {
  Row& row = tile.rows[r];
  if (!row.in_span) return;
  row.in_span = false;
  const float sum = reduce_add(load(tile.sums[r]));
  const float* values = tile.values[r];
  float* merged = tile.merged_values[r];
  if (!row.merged) {
    for (int64_t v = 0; v < tile.num_vectors; ++v) store(merged + 16 * v, load(values + 16 * v));
    row.merged_max = row.max;
    row.merged_sum = sum;
    row.merged = true;
    return;
  }
  const float larger = row.max > row.merged_max ? row.max : row.merged_max;
  const F32x16 a = broadcast(exp_of(row.merged_max - larger));
  const F32x16 b = broadcast(exp_of(row.max - larger));
  for (int64_t v = 0; v < tile.num_vectors; ++v)
    store(merged + 16 * v, fma(load(values + 16 * v), b, load(merged + 16 * v) * a));
  float total[16];
  store(total, fma(broadcast(sum), b, broadcast(row.merged_sum) * a));
  row.merged_sum = total[0];
  row.merged_max = larger;
}

WEFT_INLINE void close_spans(Tile& tile) {
  for (int r = 0; r < tile.num_rows; ++r) close_span(tile, r);
}

template <typename Element>
void attend_tile(const Attention& op, Tile& tile) {
  // Rows stand in the order of their tokens, so what they see begins and ends in order too.
  const int64_t begin = tile.rows[0].begin, end = tile.rows[tile.num_rows - 1].end;
  int64_t block = begin / kBlock * kBlock;
  BlockView<Element> view = view_block<Element>(op, block, begin, end);
  for (; block < end; block += kBlock) {
    const bool last = block + kBlock >= end;
    const BlockView<Element> next =
        last ? view : view_block<Element>(op, block + kBlock, begin, end);
    if (block % kAttentionSpan == 0) close_spans(tile);
    add_block(op, tile, block, view, next);
    view = next;
  }
  close_spans(tile);
  for (int r = 0; r < tile.num_rows; ++r) {
    const Row& row = tile.rows[r];
    const F32x16 sum = broadcast(row.merged_sum);
    for (int64_t d = 0; d < op.layout.head_dim; d += 16) {
      const F32x16 mean = load(&tile.merged_values[r][d]) / sum;
      const int64_t left = op.layout.head_dim - d;
      store_n(row.out + d, mean, left < 16 ? left : 16);
    }
  }
}

// Row `index` of the call: heads of a token first, then the next token.
WEFT_INLINE void place_row(const Attention& op, int64_t index, Row& row) {
  const int64_t num_heads = op.heads.end - op.heads.begin;
  const int64_t token = op.tokens.begin + index / num_heads;
  const int64_t head = op.heads.begin + index % num_heads;
  const int64_t own = op.first_position + token;
  row.q = op.q + token * op.q_stride + head * op.layout.head_dim;
  row.out = op.out + token * op.out_stride + head * op.layout.head_dim;
  row.begin = op.window > 0 && own >= op.window ? own - op.window + 1 : 0;
  row.end = own + 1;
  row.in_span = false;
  row.merged = false;
}

void attention(const Attention& op) {
  if (op.layout.head_dim > kMaxHeadDim) __builtin_trap();  // the scratch below would overflow
  Tile tile;
  tile.num_vectors = (op.layout.head_dim + 15) / 16;
  const int64_t num_rows = (op.heads.end - op.heads.begin) * (op.tokens.end - op.tokens.begin);
  int64_t num_tiles = (num_rows + kTileRows - 1) / kTileRows;
  for (int64_t next = 0; next < num_rows; --num_tiles) {
    // Equal tiles: 7 rows are 4 + 3, not 6 + 1.
    tile.num_rows = static_cast<int>((num_rows - next + num_tiles - 1) / num_tiles);
    for (int r = 0; r < tile.num_rows; ++r) place_row(op, next + r, tile.rows[r]);
    if (op.layout.type == KvType::kF32) {
      attend_tile<float>(op, tile);
    } else if (op.layout.type == KvType::kBF16) {
      attend_tile<CachedBf16>(op, tile);
    } else {
      attend_tile<CachedF16>(op, tile);
    }
    next += tile.num_rows;
  }
}

WEFT_INLINE void fill_attention_kernels(KernelTable& table) { table.attention = attention; }

}  // namespace
}  // namespace weft::kernels
