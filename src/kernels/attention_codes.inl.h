// A cache of 8-bit codes for attention: a block of 64 positions is widened to pairs of BF16 once
// for all rows of a tile, and multiplied as a BF16 cache is. A code is at most 127 and so a BF16
// number as it stands; scales join scores and weights instead. Part of attention.inl.h.
//
// Why not integer products: queries and weights would be rounded to 8 bits as well, and a read of
// the cache, which is what a long context waits for, would be no shorter.
#pragma once

#include "kernels/attention_block.inl.h"

namespace weft::kernels {
namespace {

template <bool kHardware>
struct CodedSteps : PairSteps<kHardware> {
  using Cached = int8_t;
  static constexpr bool kCoded = true;
  // As BlockView<CachedBf16> sees it: 128 KiB for the largest heads, 16 KiB for heads of 64.
  struct Widened {
    alignas(64) CachedBf16 keys[kBlock * kMaxHeadDim];    // [steps, kBlock, 2]
    alignas(64) CachedBf16 values[kBlock * kMaxHeadDim];  // [kBlock / 2, 16 * num_vectors, 2]
    alignas(64) float key_scales[kBlock];
    alignas(64) float value_scales[kBlock];
  };
};

// Sixteen pairs: codes of their first inputs and then of their second ones. A float whose mantissa
// has 7 bits is a BF16 number and 16 zero bits.
WEFT_INLINE void widen_pairs(const int8_t* codes, CachedBf16* pairs) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(codes);
  const I32x16 first = as_int(load_scale_s8(bytes)), second = as_int(load_scale_s8(bytes + 16));
  int32_t lanes[16];
  store_int(lanes, shift_right_logical<16>(first) | second);
  __builtin_memcpy(pairs, lanes, sizeof(lanes));
}

// Meanwhile the next block is fetched.
template <class Steps>
BlockView<CachedBf16> widen_block(Tile<Steps>& tile, const BlockView<int8_t>& view,
                                  const BlockView<int8_t>& next) {
  auto& to = tile.widened;
  BlockView<CachedBf16> widened;
  widened.key_stride = 2 * kBlock;
  widened.value_stride = 2 * tile.value_stride;
  for (int64_t i = 0; i < kSixteens; ++i) {
    CachedBf16* keys = to.keys + 32 * i;
    CachedBf16* values = to.values + 8 * i * widened.value_stride;
    for (int64_t step = 0; step < tile.num_steps; ++step) {
      widen_pairs(view.keys[i] + step * view.key_stride, keys + step * widened.key_stride);
      fetch(next.keys[i] + step * view.key_stride);
    }
    for (int64_t step = 0; step < 8; ++step) {
      const int64_t from = step * view.value_stride, at = step * widened.value_stride;
      for (int64_t v = 0; v < tile.num_vectors; ++v) {
        widen_pairs(view.values[i] + from + 32 * v, values + at + 32 * v);
        fetch(next.values[i] + from + 32 * v);
      }
    }
    store(to.key_scales + 16 * i, load(view.scales[i]));
    store(to.value_scales + 16 * i, load(view.scales[i] + view.scale_stride));
    fetch(next.scales[i]);
    fetch(next.scales[i] + view.scale_stride);
    widened.keys[i] = keys;
    widened.values[i] = values;
  }
  return widened;
}

}  // namespace
}  // namespace weft::kernels
