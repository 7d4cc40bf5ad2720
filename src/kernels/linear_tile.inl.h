// The kernel text of linears, one tile: products and exact sums. Included after a vec_*.h and its
// dot_*.h; kernels.h defines the arithmetic, panel_codes.h the bytes.
//
// A tile is kTilePanels x 16 rows and a few tokens, whose accumulators stay in registers while
// their panels and activations stream by. Every output has accumulators of its own and sees its
// groups in order, so the tile's shape never shows in a result.
#pragma once

#include "kernels/kernels.h"
#include "kernels/linear_format.h"

namespace weft::kernels {
namespace {

using tensor::InputGroup;
using tensor::InputMap;
using tensor::PanelFormat;
using tensor::Segment;

template <Codes kCodes_>
struct Plain {
  static constexpr Codes kCodes = kCodes_;
  static constexpr int kHalves = 1;
  static constexpr int kInputBytes = kCodes == Codes::kF32 ? 4 : 2;
  static constexpr int kHeaderBytes = 0;
  static constexpr int kGroupBytes = kInputBytes * kGroupInputs * kPanelRows;
};

// ---------------------------------------------------------------- what a tile sees

// Where the sums of units go: FP32 outputs or, where `sums` is set, fixed point.
struct Sink {
  float* out = nullptr;
  int64_t out_stride = 0;
  const float* bias = nullptr;
  int64_t* sums = nullptr;
  int64_t sums_stride = 0;
  bool accumulate = false;
  int64_t bad_index = 0;
  int64_t num_rows = 0;
};

struct Tile {
  const Segment* segments;  // those that the tile consumes
  int64_t num_segments;
  Range groups;           // of them
  int64_t num_groups;     // of the whole input: the stride of activations
  const uint8_t* panels;  // the segments' bytes in the first panel
  int64_t panel_bytes;    // from panel to panel
  int64_t panel;          // the first panel
  int64_t num_panels;     // 1 .. kTilePanels; missing ones repeat the last and are not stored
  int64_t token;          // the first token
  Activations input;
  const uint8_t *fetch, *fetch_end;  // what this tile fetches for the next
  int64_t fetch_bytes;               // at each group, whole cache lines
  bool fetches_stream;               // for one token (native_tables.h)
};

// Panels are short, a few pages, and the processor's own prefetcher begins anew with each: so a
// tile asks for its share of the next panels while it computes (at 4 to 16 tokens of 576 inputs one
// and a half times the speed, with weights in memory).
WEFT_INLINE void fetch_ahead(const Tile& tile, const uint8_t*& fetch) {
  if (fetch >= tile.fetch_end) return;
  for (int64_t byte = 0; byte < tile.fetch_bytes; byte += 64)
    __builtin_prefetch(fetch + byte, 0, 2);
  fetch += tile.fetch_bytes;
}

// The same for one token, whose panels follow each other in one stream: two pages ahead, past the
// boundary where the processor's prefetcher stops (SmolLM2 Q4_0 at 38 GB/s in place of 29, of 36
// that plain reads reach; 2 KiB gain nothing, 32 KiB no more). Streams of whole floats are wide
// enough for the processor alone, and lose by it; on some processors all do, and one
// token's are not asked for (native_tables.h).
// Headers are asked for too: the line of one that no group's share reaches cost Q4_K a third of its
// rate on a Zen 4.
template <int kBytes>
WEFT_INLINE void fetch_stream(const uint8_t* at) {
  constexpr int kAhead = 8192;
#pragma GCC unroll 16
  for (int byte = 0; byte < kBytes; byte += 64) __builtin_prefetch(at + kAhead + byte, 0, 2);
}

WEFT_INLINE int64_t minimum(int64_t a, int64_t b) { return a < b ? a : b; }

// Fixed point with care: a unit out of range is counted and adds nothing.
__attribute__((noinline, cold)) void add_faulty_unit(int64_t* sums, int64_t row, int64_t rows,
                                                     int64_t bad_index, const float* acc,
                                                     bool overwrite) {
  const F32x16 sum = load(acc);
  const Mask16 good = abs(sum) < broadcast(kUnitLimit);
  const uint32_t bad = bits(~good & first_lanes(rows));
  __atomic_fetch_add(sums + bad_index, __builtin_popcount(bad), __ATOMIC_RELAXED);
  const F32x16 factor = broadcast(static_cast<float>(int64_t{1} << kFixedPointBits));
  const F32x16 fixed = select(good, sum * factor, zero_f32());
  store_i64(sums + row, overwrite ? to_i64(fixed) : load_i64(sums + row) + to_i64(fixed));
}

template <int kTokens>
WEFT_INLINE void add_unit(const Sink& sink, int64_t row, int64_t rows, int64_t token,
                          const F32x16 (&acc)[kTokens], bool overwrite) {
  int64_t* sums = sink.sums + token * sink.sums_stride;
  const F32x16 limit = broadcast(kUnitLimit);
  Mask16 good = abs(acc[0]) < limit;
#pragma GCC unroll 8
  for (int t = 1; t < kTokens; ++t) good = good & (abs(acc[t]) < limit);
  if (bits(good) != 0xffff) [[unlikely]] {
    float lanes[kTokens][kLanes];
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) store(lanes[t], acc[t]);
    for (int t = 0; t < kTokens; ++t) {
      add_faulty_unit(sums + t * sink.sums_stride, row, rows, sink.bad_index, lanes[t], overwrite);
    }
    return;
  }
  const F32x16 factor = broadcast(static_cast<float>(int64_t{1} << kFixedPointBits));
  if (overwrite) {
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) {
      store_i64(sums + t * sink.sums_stride + row, to_i64(acc[t] * factor));
    }
    return;
  }
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; ++t) {
    int64_t* to = sums + t * sink.sums_stride + row;
    store_i64(to, load_i64(to) + to_i64(acc[t] * factor));
  }
}

// overwrite: this is the first unit of sums that begin here.
template <int kTokens>
WEFT_INLINE void store_unit(const Sink& sink, int64_t panel, int64_t token,
                            const F32x16 (&acc)[kTokens], bool overwrite) {
  const int64_t row = panel * kPanelRows;
  const int64_t rows = minimum(kPanelRows, sink.num_rows - row);
  if (sink.sums != nullptr) return add_unit(sink, row, rows, token, acc, overwrite);
  float* out = sink.out + token * sink.out_stride + row;
  if (sink.bias == nullptr) {
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) store(out + t * sink.out_stride, acc[t]);
    return;
  }
  const F32x16 bias = load_n(sink.bias + row, rows);
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; ++t) store(out + t * sink.out_stride, acc[t] + bias);
}

// Outputs of a prompt exceed the nearest caches: fetched while the tile is computed, their misses
// cost nothing.
template <int kTokens>
WEFT_INLINE void prefetch_outputs(const Tile& tile, const Sink& sink) {
  const int64_t row = tile.panel * kPanelRows;
  const int64_t size = tile.num_panels * kPanelRows * (sink.sums != nullptr ? 8 : 4);
  for (int t = 0; t < kTokens; ++t) {
    const char* to =
        sink.sums != nullptr
            ? reinterpret_cast<const char*>(sink.sums + (tile.token + t) * sink.sums_stride + row)
            : reinterpret_cast<const char*>(sink.out + (tile.token + t) * sink.out_stride + row);
    for (int64_t byte = 0; byte < size; byte += 64) __builtin_prefetch(to + byte, 1);
  }
}

template <int kPanels, int kTokens>
WEFT_INLINE void store_units(const Tile& tile, const Sink& sink, F32x16 (&acc)[kPanels][kTokens],
                             bool overwrite) {
#pragma GCC unroll 8
  for (int p = 0; p < kPanels; ++p) {
    if (p < tile.num_panels) store_unit(sink, tile.panel + p, tile.token, acc[p], overwrite);
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) acc[p][t] = zero_f32();
  }
}

// ---------------------------------------------------------------- quantised weights

// The scale and minimum of one half of one group: 16 rows.
template <class Format>
struct Header {
  F32x16 d, minus_dmin;
};

template <class Format>
WEFT_INLINE Header<Format> load_header(const uint8_t* p) {
  Header<Format> header{zero_f32(), zero_f32()};
  const auto* halves = reinterpret_cast<const uint16_t*>(p);
  if constexpr (Format::kTwoLevel) header.d = load_f16(halves);
  if constexpr (Format::kTwoLevel && Format::kHasMin) {
    header.minus_dmin = zero_f32() - load_f16(halves + 16);
  }
  return header;
}

template <class Format>
WEFT_INLINE F32x16 load_scale(const Header<Format>& header, const uint8_t* group, int half) {
  const uint8_t* p = group + half * Format::kScaleBytes;
  if constexpr (Format::kScales == Scales::kF16) {
    return load_f16(reinterpret_cast<const uint16_t*>(p));
  }
  if constexpr (Format::kScales == Scales::kF32) return load(reinterpret_cast<const float*>(p));
  if constexpr (Format::kTwoLevel) return header.d * load_scale_s8(p);
}

template <class Format>
WEFT_INLINE F32x16 load_min(const Header<Format>& header, const uint8_t* group, int half) {
  const uint8_t* p = group + Format::kMinOffset + half * Format::kScaleBytes;
  if constexpr (Format::kTwoLevel) return header.minus_dmin * load_scale_u8(p);
  return load_f16(reinterpret_cast<const uint16_t*>(p));
}

// What `zero` of the codes takes off the sum of products: the sums begin there.
template <class Format>
WEFT_INLINE I32x16 begin_sum(I32x16 minus_sum) {
  if constexpr (Format::kZero == 0) {
    return broadcast_int(0);
  } else {
    static_assert(__builtin_popcount(Format::kZero) == 1);
    return shift_left<__builtin_ctz(Format::kZero)>(minus_sum);
  }
}

// acc += one half of a group: products into t, minimums straight into acc afterwards.
template <class Format, int kHalf, int kPanels, int kTokens>
WEFT_INLINE void multiply_half(const Header<Format> (&headers)[kPanels],
                               const uint8_t* const (&groups)[kPanels],
                               const int8_t* const (&x)[kTokens],
                               const I32x16 (&minus_sums)[kTokens], F32x16 (&t)[kPanels][kTokens]) {
  constexpr int kSteps = 8 / Format::kHalves;
  const uint8_t* codes[kPanels];
#pragma GCC unroll 8
  for (int p = 0; p < kPanels; ++p) codes[p] = groups[p] + Format::kCodesOffset;
  I32x16 c[kPanels][kTokens];
#pragma GCC unroll 8
  for (int i = 0; i < kTokens; ++i) {
    const I32x16 begin = begin_sum<Format>(minus_sums[i]);
#pragma GCC unroll 8
    for (int p = 0; p < kPanels; ++p) c[p][i] = begin;
  }
  dot_codes<Format, kHalf * kSteps, kSteps>(codes, x, c);
#pragma GCC unroll 8
  for (int p = 0; p < kPanels; ++p) {
    const F32x16 scale = load_scale<Format>(headers[p], groups[p], kHalf);
#pragma GCC unroll 8
    for (int i = 0; i < kTokens; ++i) {
      const F32x16 value = to_float(c[p][i]);
      t[p][i] = kHalf == 0 ? value * scale : fma(value, scale, t[p][i]);
    }
  }
}

// acc += one group of each token, which begins at group `first` of the term and lies `stride`
// groups apart.
template <class Format, int kPanels, int kTokens>
WEFT_INLINE void multiply_group(const Header<Format> (&headers)[kPanels],
                                const uint8_t* const (&groups)[kPanels], const Int8Term& term,
                                int64_t first, int64_t stride, F32x16 (&acc)[kPanels][kTokens]) {
  const int8_t* x[kTokens];
  F32x16 x_scale[kTokens];
  I32x16 minus_first[kTokens], minus_all[kTokens];
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; ++t) {
    const int64_t at = first + t * stride;
    x[t] = term.codes + at * kGroupInputs;
    x_scale[t] = broadcast(term.scales[at]);
    if constexpr (Format::kHalves == 2) minus_first[t] = broadcast_int(term.minus_sums[2 * at]);
    minus_all[t] = broadcast_int(term.minus_sums[2 * at + 1]);
  }
  F32x16 product[kPanels][kTokens];
  if constexpr (Format::kHalves == 2) {
    multiply_half<Format, 0>(headers, groups, x, minus_first, product);
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) minus_all[t] = minus_all[t] - minus_first[t];
    multiply_half<Format, 1>(headers, groups, x, minus_all, product);
  } else {
    multiply_half<Format, 0>(headers, groups, x, minus_all, product);
  }
#pragma GCC unroll 8
  for (int p = 0; p < kPanels; ++p) {
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) acc[p][t] = fma(product[p][t], x_scale[t], acc[p][t]);
  }
  if constexpr (Format::kHasMin) {
#pragma GCC unroll 2
    for (int half = 0; half < Format::kHalves; ++half) {
      F32x16 min[kPanels];
#pragma GCC unroll 8
      for (int p = 0; p < kPanels; ++p) min[p] = load_min<Format>(headers[p], groups[p], half);
#pragma GCC unroll 8
      for (int t = 0; t < kTokens; ++t) {
        const F32x16 sum = Format::kHalves == 1
                               ? broadcast(term.scaled_sums[first + t * stride])
                               : x_scale[t] * to_float(broadcast_int(0) -
                                                       (half == 0 ? minus_first : minus_all)[t]);
#pragma GCC unroll 8
        for (int p = 0; p < kPanels; ++p) acc[p][t] = fma(min[p], sum, acc[p][t]);
      }
    }
  }
}

// The group's second terms, added to those tokens alone whose group is an outlier: bit `group % 8`
// of `outliers`, the token's byte. Token by token, since mostly one of a tile has them; apart from
// the loop, whose registers it would take.
template <class Format, int kPanels, int kTokens>
__attribute__((noinline)) void add_outliers(const Header<Format> (&headers)[kPanels],
                                            const uint8_t* const (&groups)[kPanels],
                                            const Tile& tile, int64_t group,
                                            F32x16 (&acc)[kPanels][kTokens]) {
  const int64_t bytes = (tile.num_groups + 7) / 8;
  for (int t = 0; t < kTokens; ++t) {
    const uint8_t outliers = tile.input.outliers[(tile.token + t) * bytes + group / 8];
    if ((outliers >> group % 8 & 1) == 0) continue;
    F32x16 sum[kPanels][1];
#pragma GCC unroll 8
    for (int p = 0; p < kPanels; ++p) sum[p][0] = acc[p][t];
    multiply_group<Format>(headers, groups, tile.input.error,
                           (tile.token + t) * tile.num_groups + group, tile.num_groups, sum);
#pragma GCC unroll 8
    for (int p = 0; p < kPanels; ++p) acc[p][t] = sum[p][0];
  }
}

// Which of the 8 groups of a segment of a whole map are outliers of any token of the tile.
template <int kTokens>
WEFT_INLINE uint32_t outliers_of_segment(const Tile& tile, int64_t segment) {
  if (tile.input.outliers == nullptr) return 0;
  const int64_t bytes = (tile.num_groups + 7) / 8;
  uint32_t any = 0;
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; ++t) any |= tile.input.outliers[(tile.token + t) * bytes + segment];
  return any;
}

template <class Format, int kPanels, int kTokens>
void run_quantized(const Tile& tile, const Sink& sink) {
  prefetch_outputs<kTokens>(tile, sink);
  const uint8_t* at[kPanels];
#pragma GCC unroll 8
  for (int p = 0; p < kPanels; ++p) {
    at[p] = tile.panels + minimum(p, tile.num_panels - 1) * tile.panel_bytes;
  }
  F32x16 acc[kPanels][kTokens];
#pragma GCC unroll 8
  for (int p = 0; p < kPanels; ++p) {
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) acc[p][t] = zero_f32();
  }
  const uint8_t* fetch = tile.fetch;
  bool overwrite = !sink.accumulate;
  int64_t group = tile.groups.begin;
  for (int64_t s = 0; s < tile.num_segments; ++s) {
    const Segment segment = tile.segments[s];
    Header<Format> headers[kPanels];
    if (kTokens == 1 && tile.fetches_stream) fetch_stream<Format::kHeaderBytes>(at[0]);
#pragma GCC unroll 8
    for (int p = 0; p < kPanels; ++p) {
      headers[p] = load_header<Format>(at[p]);
      at[p] += Format::kHeaderBytes;
    }
    const uint32_t outliers = outliers_of_segment<kTokens>(tile, s);
    for (int32_t i = 0; i < segment.num_groups; ++i, ++group) {
      if constexpr (kTokens == 1) {
        if (tile.fetches_stream) fetch_stream<Format::kGroupBytes>(at[0]);
      } else {
        fetch_ahead(tile, fetch);
      }
      multiply_group<Format>(headers, at, tile.input.first, tile.token * tile.num_groups + group,
                             tile.num_groups, acc);
      if ((outliers >> i & 1) != 0) [[unlikely]] {
        F32x16 copy[kPanels][kTokens];  // its address is taken, that of `acc` is not
#pragma GCC unroll 8
        for (int p = 0; p < kPanels; ++p) {
#pragma GCC unroll 8
          for (int t = 0; t < kTokens; ++t) copy[p][t] = acc[p][t];
        }
        add_outliers<Format>(headers, at, tile, group, copy);
#pragma GCC unroll 8
        for (int p = 0; p < kPanels; ++p) {
#pragma GCC unroll 8
          for (int t = 0; t < kTokens; ++t) acc[p][t] = copy[p][t];
        }
      }
#pragma GCC unroll 8
      for (int p = 0; p < kPanels; ++p) at[p] += Format::kGroupBytes;
    }
    if (segment.ends_unit) {
      store_units(tile, sink, acc, overwrite);
      overwrite = false;
    }
  }
}

// ---------------------------------------------------------------- plain weights

template <class Format, bool kHardwareBf16, int kPanels, int kTokens>
WEFT_INLINE void multiply_inputs(const uint8_t* const (&at)[kPanels],
                                 const uint8_t* const (&x)[kTokens], int first,
                                 F32x16 (&acc)[kPanels][kTokens]) {
  if constexpr (Format::kCodes == Codes::kBF16) {  // two inputs
    Bf16Pairs w[kPanels];
#pragma GCC unroll 8
    for (int p = 0; p < kPanels; ++p) {
      w[p] = load_bf16_pairs(reinterpret_cast<const uint16_t*>(at[p] + 32 * first));
    }
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) {
      const Bf16Pairs v = broadcast_bf16_pair(reinterpret_cast<const uint16_t*>(x[t] + 2 * first));
#pragma GCC unroll 8
      for (int p = 0; p < kPanels; ++p) acc[p][t] = dot_bf16<kHardwareBf16>(acc[p][t], w[p], v);
    }
  } else {
    F32x16 w[kPanels];
#pragma GCC unroll 8
    for (int p = 0; p < kPanels; ++p) {
      if constexpr (Format::kCodes == Codes::kF16) {
        w[p] = load_f16(reinterpret_cast<const uint16_t*>(at[p] + 32 * first));
      } else {
        w[p] = load(reinterpret_cast<const float*>(at[p] + 64 * first));
      }
    }
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) {
      const F32x16 v = broadcast(*reinterpret_cast<const float*>(x[t] + 4 * first));
#pragma GCC unroll 8
      for (int p = 0; p < kPanels; ++p) acc[p][t] = fma(w[p], v, acc[p][t]);
    }
  }
}

template <class Format, bool kHardwareBf16, int kPanels, int kTokens>
void run_plain(const Tile& tile, const Sink& sink) {
  constexpr int kInputBytes = Format::kCodes == Codes::kBF16 ? 2 : 4;  // of an activation
  constexpr int kInputs = Format::kCodes == Codes::kBF16 ? 2 : 1;
  prefetch_outputs<kTokens>(tile, sink);
  const uint8_t* at[kPanels];
#pragma GCC unroll 8
  for (int p = 0; p < kPanels; ++p) {
    at[p] = tile.panels + minimum(p, tile.num_panels - 1) * tile.panel_bytes;
  }
  const uint8_t* x[kTokens];
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; ++t) {
    x[t] = static_cast<const uint8_t*>(tile.input.values) +
           ((tile.token + t) * tile.num_groups + tile.groups.begin) * kGroupInputs * kInputBytes;
  }
  F32x16 acc[kPanels][kTokens];
#pragma GCC unroll 8
  for (int p = 0; p < kPanels; ++p) {
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) acc[p][t] = zero_f32();
  }
  const uint8_t* fetch = tile.fetch;
  bool overwrite = !sink.accumulate;
  for (int64_t s = 0; s < tile.num_segments; ++s) {
    const Segment segment = tile.segments[s];
    for (int32_t i = 0; i < segment.num_groups; ++i) {
      if constexpr (kTokens > 1) fetch_ahead(tile, fetch);
#pragma GCC unroll 4
      for (int input = 0; input < kGroupInputs; input += kInputs) {
        multiply_inputs<Format, kHardwareBf16>(at, x, input, acc);
      }
#pragma GCC unroll 8
      for (int p = 0; p < kPanels; ++p) at[p] += Format::kGroupBytes;
#pragma GCC unroll 8
      for (int t = 0; t < kTokens; ++t) x[t] += kGroupInputs * kInputBytes;
    }
    if (segment.ends_unit) {
      store_units(tile, sink, acc, overwrite);
      overwrite = false;
    }
  }
}

}  // namespace
}  // namespace weft::kernels
