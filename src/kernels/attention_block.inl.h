// The two products of attention over one block of 64 positions: scores = keys^T q and
// values += weights * V, in register tiles of rows. Part of attention.inl.h.
#pragma once

#include "kernels/cached_types.h"
#include "kernels/kernels.h"

namespace weft::kernels {
namespace {

// A register tile is kRows x tile_vectors(kRows) accumulators beside the keys (or values) and one
// broadcast. With 32 registers of 16 lanes that is 6 x 4 + 4 + 1. With 16 registers of 8 lanes it
// is 6 pairs + 1 pair + 1, and where rows are few, more vectors keep both multipliers busy: each
// has 4 sums in flight. Without FMA every step is a call, and no tile would help.
#ifdef __FMA__
constexpr int kTileRows = 6;
#else
constexpr int kTileRows = 1;
#endif
constexpr int tile_vectors(int rows) {
#ifdef __AVX512F__
  return rows > 0 ? 4 : 0;
#else
  return rows == 1 ? 4 : rows == 2 ? 2 : 1;
#endif
}
constexpr int kBlock = static_cast<int>(kAttentionBlock);
constexpr int kSixteens = kBlock / 16;

// Where the sixteens of a block lie in the cache: a sixteen never crosses a cache block. One that
// no row sees points to one that is seen, so that whole blocks can be read without a branch.
template <typename Element>
struct BlockView {
  const Element* keys[kSixteens];    // + d * key_stride
  const Element* values[kSixteens];  // + i * value_stride
  int64_t key_stride, value_stride;
};

// The block at `block`, of which some row sees [begin, end).
template <typename Element>
WEFT_INLINE BlockView<Element> view_block(const Attention& op, int64_t block, int64_t begin,
                                          int64_t end) {
  const int64_t tokens = op.layout.block_tokens, head_dim = op.layout.head_dim;
  const int64_t padded = (head_dim + 15) / 16 * 16;
  const int64_t head_bytes = (head_dim + padded) * tokens * static_cast<int64_t>(sizeof(Element));
  const int64_t first = begin > block ? (begin - block) / 16 : 0;
  const int64_t last = end < block + kBlock ? (end - 1 - block) / 16 : kSixteens - 1;
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

WEFT_INLINE F32x16 load_widened(const float* p) { return load(p); }
WEFT_INLINE F32x16 load_widened(const CachedBf16* p) { return load_bf16(&p->bits); }
WEFT_INLINE F32x16 load_widened(const CachedF16* p) { return load_f16(&p->bits); }

// While a block is worked on, the next one is fetched, line by line: cache blocks are a page or
// less and lie anywhere, so the processor's own prefetcher stops at each of them.
WEFT_INLINE void fetch(const void* p) { __builtin_prefetch(p, 0, 3); }

// ---------------------------------------------------------------- scores

// scores[r][t] = fma chain over d of keys[d][t] * q[r][d].
template <int kRows, typename Element>
void score_rows(const float* const* q, const BlockView<Element>& view,
                const BlockView<Element>& next, int64_t head_dim, float (*scores)[kBlock]) {
  constexpr int kVectors = tile_vectors(kRows);
  for (int first = 0; first < kSixteens; first += kVectors) {
    F32x16 sums[kRows][kVectors];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sums[r][v] = zero_f32();
    }
    for (int64_t d = 0; d < head_dim; ++d) {
      F32x16 keys[kVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        keys[v] = load_widened(view.keys[first + v] + d * view.key_stride);
        fetch(next.keys[first + v] + d * view.key_stride);
      }
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const F32x16 factor = broadcast(q[r][d]);
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) sums[r][v] = fma(keys[v], factor, sums[r][v]);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) store(&scores[r][16 * (first + v)], sums[r][v]);
    }
  }
}

// ---------------------------------------------------------------- values

// values[r][column ..] += weights[r][t] * V[t][column ..], t in [from, to) in order.
template <int kRows, int kVectors, typename Element>
WEFT_INLINE void add_columns(const float (*weights)[kBlock], const BlockView<Element>& view,
                             const BlockView<Element>& next, int from, int to, int64_t column,
                             float (*values)[kMaxHeadDim]) {
  constexpr int kFetchVectors = 64 / (16 * static_cast<int>(sizeof(Element)));  // of one line
  F32x16 sums[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) sums[r][v] = load(&values[r][column + 16 * v]);
  }
  for (int t = from; t < to;) {
    const int stop = (t | 15) + 1 < to ? (t | 15) + 1 : to;  // of this sixteen
    const int64_t offset = t % 16 * view.value_stride + column;
    const Element* value = view.values[t / 16] + offset;
    const Element* next_value = next.values[t / 16] + offset;
    for (; t < stop; ++t, value += view.value_stride, next_value += view.value_stride) {
      F32x16 loaded[kVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        loaded[v] = load_widened(value + 16 * v);
        if (v % kFetchVectors == 0) fetch(next_value + 16 * v);
      }
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const F32x16 weight = broadcast(weights[r][t]);
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) sums[r][v] = fma(weight, loaded[v], sums[r][v]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) store(&values[r][column + 16 * v], sums[r][v]);
  }
}

template <int kRows, typename Element>
void add_rows(const float (*weights)[kBlock], const BlockView<Element>& view,
              const BlockView<Element>& next, int from, int to, int64_t num_vectors,
              float (*values)[kMaxHeadDim]) {
  if (from >= to) return;
  constexpr int kVectors = tile_vectors(kRows);
  int64_t v = 0;
  for (; v + kVectors <= num_vectors; v += kVectors)
    add_columns<kRows, kVectors>(weights, view, next, from, to, 16 * v, values);
  for (; v < num_vectors; ++v) add_columns<kRows, 1>(weights, view, next, from, to, 16 * v, values);
}

}  // namespace
}  // namespace weft::kernels
