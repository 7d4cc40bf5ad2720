// Attention over the paged cache: FlashAttention's online softmax (arXiv:2205.14135) on fixed
// blocks, so that nothing but the token's own position decides the order of the sums.
//
// For one query vector, block by block of 64 positions:
//   score[p]   = sum over d of key[d][p] * q[d], from 0, then * scale, then softcap
//   max'       = the larger of max and the block's scores
//   sum[l]     = sum[l] * exp(max - max') + the weights exp(score - max') of positions p % 16 == l,
//                in order; values[d] = values[d] * exp(max - max'), then + weight * value over the
//                positions in order
// F32 and F16 caches are widened and multiplied by fma. A BF16 cache is multiplied in pairs, of d
// for scores and of positions for values, as BF16 linears are: fma of the odd one, then of the even
// one, with q and the weights rounded to BF16 (sum[l] adds the rounded ones). A position that the
// token does not see enters its pair as 0 * 0.
// A Q8 cache is multiplied as a BF16 one, its codes being BF16 numbers: the dot product with codes
// of a key is multiplied by the key's scale before `scale`; sum[l] adds the weight as it is, and
// codes of a value are multiplied by weight * the value's scale, rounded to BF16.
// A span of 512 begins afresh; at its end sum becomes the tree sum of its lanes, and spans are
// merged in order: with M the larger maximum, a = exp(old max - M), b = exp(span's max - M),
//   sum = fma(span's sum, b, sum * a), values likewise; the first span is taken as it is.
// At the end out = values / sum. A factor of exp(0) = 1 is left out: it changes no bit.
//
// A *row* is one (token, query head). Up to kTileRows rows of one KV head share each load of a key
// or a value; no row sees which others stand beside it.
#pragma once

#include "kernels/attention_block.inl.h"
#include "kernels/attention_codes.inl.h"
#include "kernels/float_math.inl.h"
#include "kernels/kernels.h"

namespace weft::kernels {
namespace {

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

// What a row sees of the current block.
struct Seen {
  int from, to;
  bool any() const { return from < to; }
};

// Lanes of the sixteen at `first` that are seen.
WEFT_INLINE Mask16 seen_lanes(const Seen& seen, int first) {
  const int low = seen.from - first, high = seen.to - first;
  return first_lanes(high < 0    ? 0
                     : high > 16 ? 16
                                 : high) &
         ~first_lanes(low < 0    ? 0
                      : low > 16 ? 16
                                 : low);
}

// Scales and masks row r's scores; returns the larger of its maximum and theirs.
template <class Steps>
WEFT_INLINE float finish_scores(const Attention& op, Tile<Steps>& tile, int r, const Seen& seen) {
  const Row& row = tile.rows[r];
  const F32x16 scale = broadcast(op.scale), cap = broadcast(op.softcap);
  const F32x16 none = broadcast(-__builtin_inff());
  F32x16 largest = none;
#pragma GCC unroll 4
  for (int i = 0; i < kSixteens; ++i) {
    F32x16 s = load(&tile.scores[r][16 * i]);
    if constexpr (Steps::kCoded) s = s * load(tile.widened.key_scales + 16 * i);
    s = s * scale;
    if (op.softcap > 0) s = capped(s, cap);
    if (seen.from > 16 * i || seen.to < 16 * i + 16) s = select(seen_lanes(seen, 16 * i), s, none);
    store(&tile.scores[r][16 * i], s);
    largest = max(largest, s);
  }
  const float block_max = reduce_max(largest);
  return row.in_span && row.max > block_max ? row.max : block_max;
}

// What the row has summed up, for a maximum that has risen by the factor's logarithm.
template <class Steps>
WEFT_INLINE void rescale(Tile<Steps>& tile, int r, float factor) {
  store(tile.sums[r], load(tile.sums[r]) * broadcast(factor));
  scale_values(tile.values + r * tile.value_stride, tile.num_vectors, factor);
}

template <class Steps>
WEFT_INLINE void begin_span(Tile<Steps>& tile, int r) {
  store(tile.sums[r], zero_f32());
  float* values = tile.values + r * tile.value_stride;
  for (int64_t v = 0; v < tile.num_vectors; ++v) store(values + 16 * v, zero_f32());
}

// Stores sixteen weights as they are multiplied with values; returns what the sum of weights gains.
template <class Steps>
WEFT_INLINE F32x16 store_weights(Tile<Steps>& tile, int r, int i, const Seen& seen,
                                 const F32x16& weight) {
  if constexpr (Steps::kCoded) {
    // The scale of a position that is not seen may be NaN, which a weight of 0 would not undo.
    const F32x16 factor = weight * load(tile.widened.value_scales + 16 * i);
    Steps::store_factors(&tile.weights[r][16 * i],
                         select(seen_lanes(seen, 16 * i), factor, zero_f32()));
    return weight;
  } else {
    return Steps::store_factors(&tile.weights[r][16 * i], weight);
  }
}

// Turns scores into weights; those of positions that are not seen become zero. Each step for all
// rows, since one row's are a single chain of waits.
template <class Steps>
void weigh(const Attention& op, Tile<Steps>& tile, const Seen (&seen)[kTileRows]) {
  float new_max[kTileRows] = {};
  alignas(64) float factors[16] = {};
  static_assert(kTileRows <= 16);
  for (int r = 0; r < tile.num_rows; ++r) {
    if (!seen[r].any()) continue;
    new_max[r] = finish_scores(op, tile, r, seen[r]);
    factors[r] = tile.rows[r].in_span ? tile.rows[r].max - new_max[r] : 0.0f;
  }
  store(factors, exp_nonpositive(load(factors)));
  for (int r = 0; r < tile.num_rows; ++r) {
    Row& row = tile.rows[r];
    if (!seen[r].any()) continue;
    if (!row.in_span) {
      begin_span(tile, r);
    } else if (row.max != new_max[r]) {
      rescale(tile, r, factors[r]);
    }
    row.max = new_max[r];
    row.in_span = true;
  }
  for (int r = 0; r < tile.num_rows; ++r) {
    if (!seen[r].any()) continue;
    const F32x16 top = broadcast(new_max[r]);
    F32x16 sums = load(tile.sums[r]);
#pragma GCC unroll 4
    for (int i = 0; i < kSixteens; ++i) {
      const F32x16 weight = exp_nonpositive(load(&tile.scores[r][16 * i]) - top);
      sums = sums + store_weights(tile, r, i, seen[r], weight);
    }
    store(tile.sums[r], sums);
  }
}

// ---------------------------------------------------------------- blocks

// Calls `body` for register tiles of equal sizes: 7 rows are 4 + 3.
template <class Body>
WEFT_INLINE void for_each_register_tile(int num_rows, Body body) {
  int row = 0;
  for (int left = (num_rows + kRegisterRows - 1) / kRegisterRows; left > 0; --left) {
    const int count = (num_rows - row + left - 1) / left;
    body(row, count);
    row += count;
  }
}

template <class Steps, int kRows = kRegisterRows>
void score_some(Tile<Steps>& tile, int row, int count, const BlockOf<Steps>& view,
                const BlockOf<Steps>& next) {
  if constexpr (kRows > 1) {
    if (count < kRows) return score_some<Steps, kRows - 1>(tile, row, count, view, next);
  }
  score_rows<Steps, kRows>(tile, row, view, next);
}

template <class Steps, int kRows = kRegisterRows>
void add_some(Tile<Steps>& tile, int row, int count, const BlockOf<Steps>& view,
              const BlockOf<Steps>& next, int from, int to) {
  if constexpr (kRows > 1) {
    if (count < kRows) return add_some<Steps, kRows - 1>(tile, row, count, view, next, from, to);
  }
  add_rows<Steps, kRows>(tile, row, view, next, from, to);
}

// Rows see different ends of a block: the steps that all see are added together, the rest row by
// row. No row touches a value that it does not see: 0 * NaN is NaN.
template <class Steps>
void add_block(const Attention& op, Tile<Steps>& tile, int64_t block, const BlockOf<Steps>& view,
               const BlockOf<Steps>& next) {
  constexpr int kInputs = Steps::kInputs;
  for_each_register_tile(
      tile.num_rows, [&](int row, int count) { score_some<Steps>(tile, row, count, view, next); });
  Seen seen[kTileRows] = {};
  int all_from = 0, all_to = kBlock;
  for (int r = 0; r < tile.num_rows; ++r) {
    const int64_t low = tile.rows[r].begin - block, high = tile.rows[r].end - block;
    seen[r].from = static_cast<int>(low < 0 ? 0 : low > kBlock ? kBlock : low);
    seen[r].to = static_cast<int>(high < 0 ? 0 : high > kBlock ? kBlock : high);
    if (seen[r].from > all_from) all_from = seen[r].from;
    if (seen[r].to < all_to) all_to = seen[r].to;
  }
  weigh(op, tile, seen);
  const int from_step = (all_from + kInputs - 1) / kInputs, to_step = all_to / kInputs;
  if (from_step >= to_step) {
    for (int r = 0; r < tile.num_rows; ++r) add_one_row(tile, r, view, seen[r].from, seen[r].to);
    return;
  }
  for (int r = 0; r < tile.num_rows; ++r) {
    add_one_row(tile, r, view, seen[r].from, from_step * kInputs);
  }
  for_each_register_tile(tile.num_rows, [&](int row, int count) {
    add_some<Steps>(tile, row, count, view, next, from_step, to_step);
  });
  for (int r = 0; r < tile.num_rows; ++r) {
    add_one_row(tile, r, view, to_step * kInputs, seen[r].to);
  }
}

// ---------------------------------------------------------------- spans

// What a span leaves of a row: its values, the largest score and the sum of weights.
struct SpanState {
  const float* values;
  float max, sum;
};

// Adds a later span to the row's merged ones. merged: [num_vectors * 16].
WEFT_INLINE void merge_span(Row& row, float* merged, int64_t num_vectors, const SpanState& span) {
  if (!row.merged) {
    for (int64_t v = 0; v < num_vectors; ++v) {
      store(merged + 16 * v, load(span.values + 16 * v));
    }
    row.merged_max = span.max;
    row.merged_sum = span.sum;
    row.merged = true;
    return;
  }
  const float larger = span.max > row.merged_max ? span.max : row.merged_max;
  const F32x16 a = broadcast(exp_of(row.merged_max - larger));
  const F32x16 b = broadcast(exp_of(span.max - larger));
  for (int64_t v = 0; v < num_vectors; ++v) {
    store(merged + 16 * v, fma(load(span.values + 16 * v), b, load(merged + 16 * v) * a));
  }
  float total[16];
  store(total, fma(broadcast(span.sum), b, broadcast(row.merged_sum) * a));
  row.merged_sum = total[0];
  row.merged_max = larger;
}

// A partial of kernels.h: values, then maximum and sum.
WEFT_INLINE void store_partial(float* to, int64_t num_vectors, const SpanState& span) {
  for (int64_t v = 0; v < num_vectors; ++v) store(to + 16 * v, load(span.values + 16 * v));
  to[16 * num_vectors] = span.max;
  to[16 * num_vectors + 1] = span.sum;
}
WEFT_INLINE SpanState load_partial(const float* from, int64_t num_vectors) {
  return {from, from[16 * num_vectors], from[16 * num_vectors + 1]};
}

template <class Steps>
WEFT_INLINE void close_spans(Tile<Steps>& tile, int64_t span) {
  for (int r = 0; r < tile.num_rows; ++r) {
    Row& row = tile.rows[r];
    if (!row.in_span) continue;
    row.in_span = false;
    const int64_t at = r * tile.value_stride;
    const SpanState state{tile.values + at, row.max, reduce_add(load(tile.sums[r]))};
    if (row.partials == nullptr) {
      merge_span(row, tile.merged_values + at, tile.num_vectors, state);
    } else {
      store_partial(row.partials + span * (16 * tile.num_vectors + 16), tile.num_vectors, state);
    }
  }
}

WEFT_INLINE void write_mean(const Row& row, const float* merged, int64_t head_dim) {
  const F32x16 sum = broadcast(row.merged_sum);
  for (int64_t d = 0; d < head_dim; d += 16) {
    const int64_t left = head_dim - d;
    store_n(row.out + d, load(merged + d) / sum, left < 16 ? left : 16);
  }
}

template <class Steps>
void attend_tile(const Attention& op, Tile<Steps>& tile) {
  // Rows stand in the order of their tokens, so what they see begins and ends in order too.
  const int64_t span_begin = op.spans.begin * kAttentionSpan;
  const int64_t span_end = op.spans.end * kAttentionSpan;
  int64_t begin = tile.rows[0].begin, end = tile.rows[tile.num_rows - 1].end;
  if (begin < span_begin) begin = span_begin;
  if (end > span_end) end = span_end;
  if (begin >= end) return;
  int64_t block = begin / kBlock * kBlock;
  auto view = view_block<Steps>(op, block, begin, end);
  for (; block < end; block += kBlock) {
    const bool last = block + kBlock >= end;
    const auto next = last ? view : view_block<Steps>(op, block + kBlock, begin, end);
    if constexpr (Steps::kCoded) {
      const auto widened = widen_block(tile, view, next);
      add_block(op, tile, block, widened, widened);
    } else {
      add_block(op, tile, block, view, next);
    }
    if (last || (block + kBlock) % kAttentionSpan == 0) close_spans(tile, block / kAttentionSpan);
    view = next;
  }
  if (op.partials != nullptr) return;
  for (int r = 0; r < tile.num_rows; ++r) {
    write_mean(tile.rows[r], tile.merged_values + r * tile.value_stride, op.layout.head_dim);
  }
}

// ---------------------------------------------------------------- rows of a call

// Row `index` of the call: heads of a token first, then the next token. Returns its query.
WEFT_INLINE const float* place_row(const Attention& op, int64_t index, Row& row) {
  const int64_t num_heads = op.heads.end - op.heads.begin;
  const int64_t token = op.tokens.begin + index / num_heads;
  const int64_t head = op.heads.begin + index % num_heads;
  const int64_t own = op.first_position + token;
  row.out = op.out + token * op.out_stride + head * op.layout.head_dim;
  row.partials = op.partials == nullptr ? nullptr : op.partials + index * op.partials_stride;
  row.begin = op.window > 0 && own >= op.window ? own - op.window + 1 : 0;
  row.end = own + 1;
  row.in_span = false;
  row.merged = false;
  return op.q + token * op.q_stride + head * op.layout.head_dim;
}

WEFT_INLINE int64_t num_rows_of(const Attention& op) {
  return (op.heads.end - op.heads.begin) * (op.tokens.end - op.tokens.begin);
}

template <class Steps>
void attend(const Attention& op) {
  const int64_t head_dim = op.layout.head_dim, num_rows = num_rows_of(op);
  Tile<Steps> tile;
  tile.num_steps = head_dim / Steps::kInputs;
  tile.num_vectors = (head_dim + 15) / 16;
  tile.value_stride = 16 * tile.num_vectors;
  int64_t num_tiles = (num_rows + kTileRows - 1) / kTileRows;
  for (int64_t next = 0; next < num_rows; --num_tiles) {
    tile.num_rows = static_cast<int>((num_rows - next + num_tiles - 1) / num_tiles);
    for (int r = 0; r < tile.num_rows; ++r) {
      const float* q = place_row(op, next + r, tile.rows[r]);
      for (int64_t d = 0; d < head_dim; d += 16) {
        const int64_t left = head_dim - d;
        Steps::store_factors(&tile.queries[r][d], load_n(q + d, left < 16 ? left : 16));
      }
    }
    attend_tile(op, tile);
    next += tile.num_rows;
  }
}

template <bool kHardwareBf16>
void attention(const Attention& op) {
  if (op.layout.head_dim > kMaxHeadDim) __builtin_trap();  // the scratch would overflow
  if (op.layout.type == KvType::kF32) return attend<WidenedSteps<float>>(op);
  if (op.layout.type == KvType::kF16) return attend<WidenedSteps<CachedF16>>(op);
  if (op.layout.type == KvType::kQ8) return attend<CodedSteps<kHardwareBf16>>(op);
  attend<PairSteps<kHardwareBf16>>(op);
}

void merge_attention(const Attention& op) {
  if (op.layout.head_dim > kMaxHeadDim) __builtin_trap();
  const int64_t num_vectors = (op.layout.head_dim + 15) / 16;
  alignas(64) float merged[kMaxHeadDim];
  for (int64_t index = 0; index < num_rows_of(op); ++index) {
    Row row;
    place_row(op, index, row);
    for (int64_t span = row.begin / kAttentionSpan; span * kAttentionSpan < row.end; ++span) {
      const float* partial = row.partials + span * (16 * num_vectors + 16);
      merge_span(row, merged, num_vectors, load_partial(partial, num_vectors));
    }
    write_mean(row, merged, op.layout.head_dim);
  }
}

template <bool kHardwareBf16>
WEFT_INLINE void fill_attention_kernels(KernelTable& table) {
  table.attention = attention<kHardwareBf16>;
  table.merge_attention = merge_attention;
}

}  // namespace
}  // namespace weft::kernels
