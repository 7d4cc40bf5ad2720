// The two products of attention over one block of 64 positions: scores = keys^T q and
// values += weights * V, in register tiles of rows. Part of attention.inl.h.
//
// Both go through the cache in *steps*: one input of F32 or F16, widened and multiplied by an FP32
// factor; a pair of inputs of BF16, multiplied by a pair of BF16 factors. Codes of 8 bits become
// pairs of BF16 first (attention_codes.inl.h).
#pragma once

#include "kernels/cached_types.h"
#include "kernels/kernels.h"

namespace weft::kernels {
namespace {

// A register tile is kRows x tile_vectors(kRows) accumulators beside the keys (or values) and one
// broadcast. With 32 registers of 16 lanes that is 6 x 4 + 4 + 1. With 16 registers of 8 lanes it
// is 6 pairs + 1 pair + 1, and where rows are few, more vectors keep both multipliers busy: each
// has 4 sums in flight. Without FMA every step is a call, and no tile would help.
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
constexpr int kRegisterRows = 6;
#else
constexpr int kRegisterRows = 1;
#endif
constexpr int tile_vectors(int rows) {
#ifdef __AVX512F__
  return rows > 0 ? 4 : 0;
#else
  return rows == 1 ? 4 : rows == 2 ? 2 : 1;
#endif
}
// Rows that one pass over the cache serves: two register tiles read a block from the nearest cache.
constexpr int kTileRows = 2 * kRegisterRows;
constexpr int kBlock = static_cast<int>(kAttentionBlock);
constexpr int kSixteens = kBlock / 16;

// ---------------------------------------------------------------- steps

template <typename Stored>
struct WidenedSteps {
  using Cached = Stored;   // as it lies in the cache
  using Element = Stored;  // as it is loaded to be multiplied
  using Factor = float;
  static constexpr int kInputs = 1;
  static constexpr bool kCoded = false;
  struct Widened {};  // what a block becomes first: nothing
  static WEFT_INLINE F32x16 load_step(const float* p) { return load(p); }
  static WEFT_INLINE F32x16 load_step(const CachedF16* p) { return load_f16(&p->bits); }
  static WEFT_INLINE F32x16 broadcast_step(const float* p) { return broadcast(*p); }
  static WEFT_INLINE F32x16 multiply(const F32x16& acc, const F32x16& element,
                                     const F32x16& factor) {
    return fma(element, factor, acc);
  }
  // The numbers as they will be multiplied.
  static WEFT_INLINE F32x16 store_factors(float* p, const F32x16& x) {
    store(p, x);
    return x;
  }
};

template <bool kHardware>
struct PairSteps {
  using Cached = CachedBf16;
  using Element = CachedBf16;
  using Factor = CachedBf16;
  static constexpr int kInputs = 2;
  static constexpr bool kCoded = false;
  struct Widened {};
  static WEFT_INLINE Bf16Pairs load_step(const CachedBf16* p) { return load_bf16_pairs(&p->bits); }
  static WEFT_INLINE Bf16Pairs broadcast_step(const CachedBf16* p) {
    return broadcast_bf16_pair(&p->bits);
  }
  static WEFT_INLINE F32x16 multiply(const F32x16& acc, const Bf16Pairs& element,
                                     const Bf16Pairs& factor) {
    return dot_bf16<kHardware>(acc, element, factor);
  }
  static WEFT_INLINE F32x16 store_factors(CachedBf16* p, const F32x16& x) {
#ifdef __AVX512BF16__
    if constexpr (kHardware) return store_bf16_by_instruction(&p->bits, x);
#endif
    store_bf16(&p->bits, x);
    return load_bf16(&p->bits);
  }
};

// ---------------------------------------------------------------- rows and blocks

struct Row {
  float* out;
  float* partials;     // of its span 0, or null
  int64_t begin, end;  // the positions that it sees
  bool in_span;        // the current span has a visible block
  bool merged;         // an earlier span has one
  float max = 0, merged_max = 0, merged_sum = 0;
};

template <class Steps>
struct Tile {
  int num_rows;
  int64_t num_steps;     // of a score: head_dim / inputs a step
  int64_t num_vectors;   // of 16 values a head
  int64_t value_stride;  // from row to row of values
  Row rows[kTileRows];
  alignas(64) typename Steps::Factor queries[kTileRows][kMaxHeadDim];
  // Of the current block.
  alignas(64) float scores[kTileRows][kBlock];
  alignas(64) typename Steps::Factor weights[kTileRows][kBlock];
  // Of the current span.
  alignas(64) float sums[kTileRows][16];
  alignas(64) float values[kTileRows * kMaxHeadDim];
  alignas(64) float merged_values[kTileRows * kMaxHeadDim];
  typename Steps::Widened widened;
};

// Where the sixteens of a block lie in the cache: a sixteen never crosses a cache block. One that
// no row sees points to one that is seen, so that whole blocks can be read without a branch.
template <typename Element>
struct BlockView {
  const Element* keys[kSixteens];    // + step * key_stride
  const Element* values[kSixteens];  // + step * value_stride
  int64_t key_stride, value_stride;
  const float* scales[kSixteens];  // codes alone: of keys, and `scale_stride` further of values
  int64_t scale_stride;
};
template <class Steps>
using BlockOf = BlockView<typename Steps::Element>;

// The block at `block`, of which some row sees [begin, end).
template <class Steps>
WEFT_INLINE BlockView<typename Steps::Cached> view_block(const Attention& op, int64_t block,
                                                         int64_t begin, int64_t end) {
  using Element = typename Steps::Cached;
  const int64_t tokens = op.layout.block_tokens, head_dim = op.layout.head_dim;
  const int64_t padded = (head_dim + 15) / 16 * 16;
  const int64_t code_bytes = (head_dim + padded) * tokens * static_cast<int64_t>(sizeof(Element));
  const int64_t head_bytes =
      code_bytes + (Steps::kCoded ? 2 * tokens * static_cast<int64_t>(sizeof(float)) : 0);
  const int64_t first = begin > block ? (begin - block) / 16 : 0;
  const int64_t last = end < block + kBlock ? (end - 1 - block) / 16 : kSixteens - 1;
  BlockView<Element> view;
  view.scale_stride = tokens;
  view.key_stride = tokens * Steps::kInputs;
  view.value_stride = padded * Steps::kInputs;
  for (int64_t i = 0; i < kSixteens; ++i) {
    const int64_t position = block + 16 * (i < first ? first : i > last ? last : i);
    const int64_t index = position / tokens, slot = position - index * tokens;
    const auto* head = reinterpret_cast<const Element*>(
        op.cache + op.block_table[index - op.first_block] * op.block_stride +
        op.kv_head * head_bytes);
    view.keys[i] = head + slot * Steps::kInputs;
    view.values[i] = head + head_dim * tokens + slot * padded;
    if constexpr (Steps::kCoded) {
      view.scales[i] = reinterpret_cast<const float*>(head + code_bytes) + slot;
    }
  }
  return view;
}

// While a block is worked on, the next one is fetched, line by line: cache blocks are a page or
// less and lie anywhere, so the processor's own prefetcher stops at each of them. It goes to the
// second cache: two blocks of 16 KiB fill a first one of 32 (64 sequences of SmolLM2 at 300
// positions on a Zen 4: 54.4 ms a step, and 51.3 so).
WEFT_INLINE void fetch(const void* p) { __builtin_prefetch(p, 0, 2); }

// ---------------------------------------------------------------- scores

// scores[r][t] = sum over the steps of keys[step][t] * queries[r][step], rows from `row` on.
template <class Steps, int kRows>
void score_rows(Tile<Steps>& tile, int row, const BlockOf<Steps>& view,
                const BlockOf<Steps>& next) {
  constexpr int kVectors = tile_vectors(kRows);
  for (int first = 0; first < kSixteens; first += kVectors) {
    F32x16 sums[kRows][kVectors];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sums[r][v] = zero_f32();
    }
    for (int64_t step = 0; step < tile.num_steps; ++step) {
      decltype(Steps::load_step(view.keys[0])) keys[kVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        keys[v] = Steps::load_step(view.keys[first + v] + step * view.key_stride);
        fetch(next.keys[first + v] + step * view.key_stride);
      }
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const auto factor = Steps::broadcast_step(&tile.queries[row + r][step * Steps::kInputs]);
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) {
          sums[r][v] = Steps::multiply(sums[r][v], keys[v], factor);
        }
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        store(&tile.scores[row + r][16 * (first + v)], sums[r][v]);
      }
    }
  }
}

// ---------------------------------------------------------------- values

// values[r][column ..] += weights[r] * V[column ..] over steps [from, to) of the block, in order.
template <class Steps, int kRows, int kVectors>
WEFT_INLINE void add_columns(Tile<Steps>& tile, int row, const BlockOf<Steps>& view,
                             const BlockOf<Steps>& next, int from, int to, int64_t column) {
  using Element = typename Steps::Element;
  constexpr int kSixteenSteps = 16 / Steps::kInputs;
  constexpr int kVectorBytes = 16 * Steps::kInputs * static_cast<int>(sizeof(Element));
  float* values = tile.values + row * tile.value_stride + column;
  F32x16 sums[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) sums[r][v] = load(values + r * tile.value_stride + 16 * v);
  }
  for (int step = from; step < to;) {
    const int sixteen = step / kSixteenSteps;
    const int end = (sixteen + 1) * kSixteenSteps;
    const int stop = end < to ? end : to;
    const int64_t offset =
        (step - sixteen * kSixteenSteps) * view.value_stride + column * Steps::kInputs;
    const Element* value = view.values[sixteen] + offset;
    const Element* next_value = next.values[sixteen] + offset;
    for (; step < stop; ++step, value += view.value_stride, next_value += view.value_stride) {
      decltype(Steps::load_step(value)) loaded[kVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        loaded[v] = Steps::load_step(value + 16 * v * Steps::kInputs);
        if (v * kVectorBytes % 64 == 0) fetch(next_value + 16 * v * Steps::kInputs);
      }
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const auto weight = Steps::broadcast_step(&tile.weights[row + r][step * Steps::kInputs]);
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) {
          sums[r][v] = Steps::multiply(sums[r][v], loaded[v], weight);
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) store(values + r * tile.value_stride + 16 * v, sums[r][v]);
  }
}

template <class Steps, int kRows>
void add_rows(Tile<Steps>& tile, int row, const BlockOf<Steps>& view, const BlockOf<Steps>& next,
              int from, int to) {
  if (from >= to) return;
  constexpr int kVectors = tile_vectors(kRows);
  int64_t v = 0;
  for (; v + kVectors <= tile.num_vectors; v += kVectors) {
    add_columns<Steps, kRows, kVectors>(tile, row, view, next, from, to, 16 * v);
  }
  for (; v < tile.num_vectors; ++v) {
    add_columns<Steps, kRows, 1>(tile, row, view, next, from, to, 16 * v);
  }
}

// One position of a pair of which the row does not see the other: that one's value counts as 0, for
// 0 * NaN would be NaN.
template <class Steps>
void add_half_pair(Tile<Steps>& tile, int row, const BlockOf<Steps>& view, int position) {
  using Element = typename Steps::Element;
  const int step = position / 2, half = position % 2;
  const Element* pairs = view.values[position / 16] + step % 8 * view.value_stride;
  for (int64_t v = 0; v < tile.num_vectors; ++v, pairs += 32) {
    Element seen[32] = {};
    for (int i = 0; i < 16; ++i) seen[2 * i + half] = pairs[2 * i + half];
    float* values = tile.values + row * tile.value_stride + 16 * v;
    store(values, Steps::multiply(load(values), Steps::load_step(seen),
                                  Steps::broadcast_step(&tile.weights[row][2 * step])));
  }
}

// Positions [from, to) of the block for one row.
template <class Steps>
void add_one_row(Tile<Steps>& tile, int row, const BlockOf<Steps>& view, int from, int to) {
  if (from >= to) return;
  if constexpr (Steps::kInputs == 1) {
    add_rows<Steps, 1>(tile, row, view, view, from, to);
  } else {
    if (from % 2 != 0) add_half_pair(tile, row, view, from);
    add_rows<Steps, 1>(tile, row, view, view, (from + 1) / 2, to / 2);
    if (to % 2 != 0) add_half_pair(tile, row, view, to - 1);
  }
}

}  // namespace
}  // namespace weft::kernels
