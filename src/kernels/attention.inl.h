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

#include "kernels/float_math.inl.h"
#include "kernels/kernels.h"

#define WEFT_UNROLL _Pragma("GCC unroll 16")

namespace weft::kernels {
namespace {

// Score accumulators: kTileRows x kTileVectors, beside kTileVectors keys and one broadcast. A
// table with 32 registers of 16 lanes takes 6 x 4 + 4 + 1; one with 16 registers of 8 lanes has
// room for 6 x 1 of its register pairs.
constexpr int kTileRows = 6;
#ifdef __AVX512F__
constexpr int kTileVectors = 4;
#else
constexpr int kTileVectors = 1;
#endif
constexpr int kBlock = static_cast<int>(kAttentionBlock);
constexpr int kSixteens = kBlock / 16;

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

// Where the sixteens of a block lie in the cache: a sixteen never crosses a cache block. One that
// no row sees points to one that is seen, so that whole blocks can be read without a branch.
template <typename Element>
struct BlockView {
  const Element* keys[kSixteens];    // + d * key_stride
  const Element* values[kSixteens];  // + i * value_stride
  int64_t key_stride, value_stride;
};

WEFT_INLINE F32x16 load_widened(const float* p) { return load(p); }
WEFT_INLINE F32x16 load_widened(const uint16_t* p) { return load_bf16(p); }

// The block at `block`, of which some row sees [begin, end).
template <typename Element>
WEFT_INLINE BlockView<Element> view_block(const Attention& op, int64_t block, int64_t begin,
                                          int64_t end) {
  const int64_t tokens = op.layout.block_tokens, head_dim = op.layout.head_dim;
  const int64_t padded = (head_dim + 15) / 16 * 16;
  const int64_t head_bytes = (head_dim + padded) * tokens * static_cast<int64_t>(sizeof(Element));
  const int64_t first = (begin - block) / 16, last = (end - 1 - block) / 16;
  BlockView<Element> view;
  view.key_stride = tokens;
  view.value_stride = padded;
  for (int64_t i = 0; i < kSixteens; ++i) {
    const int64_t position = block + 16 * (i < first ? first : i > last ? last : i);
    const int64_t index = position / tokens, slot = position - index * tokens;
    const std::byte* head =
        op.cache + op.block_table[index] * op.block_stride + op.kv_head * head_bytes;
    view.keys[i] = reinterpret_cast<const Element*>(head) + slot;
    view.values[i] = reinterpret_cast<const Element*>(head) + head_dim * tokens + slot * padded;
  }
  return view;
}

// ---------------------------------------------------------------- scores

template <int kRows, typename Element>
void score_rows(const Tile& tile, const BlockView<Element>& view, int64_t head_dim,
                float (*scores)[kBlock]) {
  for (int first = 0; first < kSixteens; first += kTileVectors) {
    F32x16 sums[kRows][kTileVectors];
    WEFT_UNROLL for (int r = 0; r < kRows; ++r) {
      WEFT_UNROLL for (int v = 0; v < kTileVectors; ++v) sums[r][v] = zero_f32();
    }
    for (int64_t d = 0; d < head_dim; ++d) {
      F32x16 keys[kTileVectors];
      WEFT_UNROLL for (int v = 0; v < kTileVectors; ++v) keys[v] =
          load_widened(view.keys[first + v] + d * view.key_stride);
      WEFT_UNROLL for (int r = 0; r < kRows; ++r) {
        const F32x16 q = broadcast(tile.rows[r].q[d]);
        WEFT_UNROLL for (int v = 0; v < kTileVectors; ++v) sums[r][v] = fma(keys[v], q, sums[r][v]);
      }
    }
    WEFT_UNROLL for (int r = 0; r < kRows; ++r) {
      WEFT_UNROLL for (int v = 0; v < kTileVectors; ++v)
          store(&scores[r][16 * (first + v)], sums[r][v]);
    }
  }
}

template <typename Element>
void score_block(Tile& tile, const BlockView<Element>& view, int64_t head_dim) {
  switch (tile.num_rows) {
    case 1:
      return score_rows<1>(tile, view, head_dim, tile.weights);
    case 2:
      return score_rows<2>(tile, view, head_dim, tile.weights);
    case 3:
      return score_rows<3>(tile, view, head_dim, tile.weights);
    case 4:
      return score_rows<4>(tile, view, head_dim, tile.weights);
    case 5:
      return score_rows<5>(tile, view, head_dim, tile.weights);
    default:
      return score_rows<6>(tile, view, head_dim, tile.weights);
  }
}

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

// ---------------------------------------------------------------- values

// values[r][column ..] += weights[r][t] * value[t], t in [from, to), for kRows rows from `first`.
template <int kRows, int kVectors, typename Element>
WEFT_INLINE void add_columns(Tile& tile, const BlockView<Element>& view, int first, int from,
                             int to, int64_t column) {
  F32x16 sums[kRows][kVectors];
  WEFT_UNROLL for (int r = 0; r < kRows; ++r) {
    WEFT_UNROLL for (int v = 0; v < kVectors; ++v) sums[r][v] =
        load(&tile.values[first + r][column + 16 * v]);
  }
  for (int t = from; t < to;) {
    const int stop = (t | 15) + 1 < to ? (t | 15) + 1 : to;  // of this sixteen
    const Element* value = view.values[t / 16] + t % 16 * view.value_stride + column;
    for (; t < stop; ++t, value += view.value_stride) {
      F32x16 loaded[kVectors];
      WEFT_UNROLL for (int v = 0; v < kVectors; ++v) loaded[v] = load_widened(value + 16 * v);
      WEFT_UNROLL for (int r = 0; r < kRows; ++r) {
        const F32x16 weight = broadcast(tile.weights[first + r][t]);
        WEFT_UNROLL for (int v = 0; v < kVectors; ++v) sums[r][v] =
            fma(weight, loaded[v], sums[r][v]);
      }
    }
  }
  WEFT_UNROLL for (int r = 0; r < kRows; ++r) {
    WEFT_UNROLL for (int v = 0; v < kVectors; ++v)
        store(&tile.values[first + r][column + 16 * v], sums[r][v]);
  }
}

template <int kRows, typename Element>
void add_rows(Tile& tile, const BlockView<Element>& view, int first, int from, int to) {
  if (from >= to) return;
  int64_t v = 0;
  for (; v + kTileVectors <= tile.num_vectors; v += kTileVectors)
    add_columns<kRows, kTileVectors>(tile, view, first, from, to, 16 * v);
  for (; v < tile.num_vectors; ++v) add_columns<kRows, 1>(tile, view, first, from, to, 16 * v);
}

template <typename Element>
void add_all_rows(Tile& tile, const BlockView<Element>& view, int from, int to) {
  switch (tile.num_rows) {
    case 1:
      return add_rows<1>(tile, view, 0, from, to);
    case 2:
      return add_rows<2>(tile, view, 0, from, to);
    case 3:
      return add_rows<3>(tile, view, 0, from, to);
    case 4:
      return add_rows<4>(tile, view, 0, from, to);
    case 5:
      return add_rows<5>(tile, view, 0, from, to);
    default:
      return add_rows<6>(tile, view, 0, from, to);
  }
}

// ---------------------------------------------------------------- blocks and spans

// Rows see different ends of a block: what all see is added together, the rest row by row. No row
// touches a value that it does not see: 0 * NaN is NaN.
template <typename Element>
void add_block(const Attention& op, Tile& tile, int64_t block, int64_t begin, int64_t end) {
  const BlockView<Element> view = view_block<Element>(op, block, begin, end);
  score_block(tile, view, op.layout.head_dim);
  int from[kTileRows], to[kTileRows];
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
    for (int r = 0; r < tile.num_rows; ++r) add_rows<1>(tile, view, r, from[r], to[r]);
    return;
  }
  for (int r = 0; r < tile.num_rows; ++r) add_rows<1>(tile, view, r, from[r], common_from);
  add_all_rows(tile, view, common_from, common_to);
  for (int r = 0; r < tile.num_rows; ++r) add_rows<1>(tile, view, r, common_to, to[r]);
}

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
  for (int64_t block = begin / kBlock * kBlock; block < end; block += kBlock) {
    if (block % kAttentionSpan == 0) close_spans(tile);
    add_block<Element>(op, tile, block, begin > block ? begin : block,
                       end < block + kBlock ? end : block + kBlock);
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
    } else {
      attend_tile<uint16_t>(op, tile);
    }
    next += tile.num_rows;
  }
}

WEFT_INLINE void fill_attention_kernels(KernelTable& table) { table.attention = attention; }

}  // namespace
}  // namespace weft::kernels
