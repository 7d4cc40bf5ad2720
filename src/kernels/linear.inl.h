// The kernel text of linears: a call as tiles of panels and tokens. Part of the texts that follow a
// vec_*.h and its dot_*.h; linear_tile.inl.h is what happens inside a tile.
#pragma once

#include "kernels/linear_tile.inl.h"
#include "kernels/native_tables.h"

namespace weft::kernels {
namespace {

// ---------------------------------------------------------------- from a call to tiles

template <class Format, bool kHardwareBf16, int kPanels, int kTokens>
void run_tile(const Tile& tile, const Sink& sink, int64_t num_tokens) {
  if (num_tokens == kTokens) {
    if constexpr (Format::kCodes <= Codes::kBF16) {
      run_plain<Format, kHardwareBf16, kPanels, kTokens>(tile, sink);
    } else {
      run_quantized<Format, kPanels, kTokens>(tile, sink);
    }
  } else if constexpr (kTokens > 1) {
    run_tile<Format, kHardwareBf16, kPanels, kTokens - 1>(tile, sink, num_tokens);
  }
}

// Whole cache lines of the `num_parts`-th part of `num_bytes`.
WEFT_INLINE int64_t lines_of(int64_t num_bytes, int64_t num_parts) {
  return (num_bytes + 64 * num_parts - 1) / (64 * num_parts) * 64;
}

// Panels outside, tokens inside: panels come from memory once and are then read from the nearest
// cache for every tile of tokens. Tokens are cut evenly, 7 into 4 + 3. `prepare_panels` turns the
// pair that the tile names into what the tiles are to read.
template <class Format, bool kHardwareBf16, int kPanels, int kMostTokens, class PreparePanels>
WEFT_INLINE void run_pairs(Tile tile, const Sink& sink, Range panels, Range tokens,
                           PreparePanels prepare_panels) {
  const int64_t num_groups = tile.groups.end - tile.groups.begin;
  if (tokens.end <= tokens.begin || num_groups == 0) return;
  const uint8_t* first = tile.panels;
  const int64_t panel_bytes = tile.panel_bytes;
  const int64_t num_cuts = (tokens.end - tokens.begin + kMostTokens - 1) / kMostTokens;
  // What is fetched of the next panels lies in one piece, or in one a panel where the tile consumes
  // some of their segments. Every cut of the tokens fetches its share of a piece.
  const bool all = num_groups == tile.num_groups;
  const int64_t pieces = all ? 1 : minimum(kPanels, num_cuts);
  const int64_t piece_bytes =
      all ? kPanels * panel_bytes
          : tile.num_segments * Format::kHeaderBytes + num_groups * Format::kGroupBytes;
  const int64_t cuts_of_piece = num_cuts / pieces;
  const int64_t share = lines_of(piece_bytes, cuts_of_piece);
  tile.fetch_bytes = lines_of(share, num_groups);
  for (tile.panel = panels.begin; tile.panel < panels.end; tile.panel += kPanels) {
    tile.num_panels = minimum(kPanels, panels.end - tile.panel);
    tile.panels = first + tile.panel * panel_bytes;
    const uint8_t* next = tile.panels + kPanels * panel_bytes;
    prepare_panels(tile);
    tile.token = tokens.begin;
    for (int64_t cut = 0; cut < num_cuts; ++cut) {
      const int64_t left = num_cuts - cut;
      const int64_t num_tokens = (tokens.end - tile.token + left - 1) / left;
      const int64_t piece = minimum(cut / cuts_of_piece, pieces - 1);
      tile.fetch = next + piece * panel_bytes + (cut - piece * cuts_of_piece) * share;
      tile.fetch_end = tile.fetch + share;
      run_tile<Format, kHardwareBf16, kPanels, kMostTokens>(tile, sink, num_tokens);
      tile.token += num_tokens;
    }
  }
}

template <class Format, bool kHardwareBf16, int kPanels, int kMostTokens>
void run_tiles_of(const Tile& tile, const Sink& sink, Range panels, Range tokens) {
  run_pairs<Format, kHardwareBf16, kPanels, kMostTokens>(tile, sink, panels, tokens, [](Tile&) {});
}

// ---------------------------------------------------------------- many tokens: codes widened first

// Where codes of 5 or 6 bits meet many tiles of tokens, they are put together once a pair of
// panels, as bytes, and not in every tile. The same integers, so the same sums.
template <class Format>
using Widened =
    Quantized<Codes::kU8, Format::kScales, Format::kHasMin, Format::kZero, Format::kHalves>;
// Scratch on the stack of a thread, which holds a pair of 8,192 inputs; one that needs more is
// multiplied as it is.
inline constexpr int64_t kWidenedBytes = 320 << 10;
// It was measured to pay at 64 tokens (Q6_K 449 to 603 GOP/s); that it does from four tiles on is
// by count.
inline constexpr int64_t kWidenedCuts = 4;

template <class Format, int kStep = 0>
WEFT_INLINE void widen_codes(const uint8_t* codes, uint8_t* to) {
  if constexpr (kStep < 8) {
    store_codes(to + 64 * kStep, step_codes<Format::kCodes, kStep>(codes));
    widen_codes<Format, kStep + 1>(codes, to);
  }
}

template <class Format>
void widen_panel(const Tile& tile, const uint8_t* from, uint8_t* to) {
  for (int64_t s = 0; s < tile.num_segments; ++s) {
    fetch_stream<Format::kHeaderBytes>(from);
    __builtin_memcpy(to, from, Format::kHeaderBytes);
    from += Format::kHeaderBytes;
    to += Format::kHeaderBytes;
    for (int32_t i = 0; i < tile.segments[s].num_groups; ++i) {
      fetch_stream<Format::kGroupBytes>(from);
      __builtin_memcpy(to, from, Format::kCodesOffset);
      widen_codes<Format>(from + Format::kCodesOffset, to + Format::kCodesOffset);
      from += Format::kGroupBytes;
      to += Widened<Format>::kGroupBytes;
    }
  }
}

// False where the scratch does not hold a pair.
template <class Format>
__attribute__((noinline)) bool run_widened(const Tile& tile, const Sink& sink, Range panels,
                                           Range tokens) {
  const int64_t panel_bytes = tile.num_segments * Format::kHeaderBytes +
                              (tile.groups.end - tile.groups.begin) * Widened<Format>::kGroupBytes;
  if (kTilePanels * panel_bytes > kWidenedBytes) return false;
  alignas(64) uint8_t scratch[kWidenedBytes];
  run_pairs<Widened<Format>, false, kTilePanels, kTileTokens<Format>>(
      tile, sink, panels, tokens, [&](Tile& pair) {
        for (int64_t p = 0; p < pair.num_panels; ++p)
          widen_panel<Format>(pair, pair.panels + p * tile.panel_bytes, scratch + p * panel_bytes);
        pair.panels = scratch;
        pair.panel_bytes = panel_bytes;
      });
  return true;
}

template <class Format, bool kHardwareBf16>
void run_many_tokens(const Tile& tile, const Sink& sink, Range panels, Range tokens) {
  const int64_t num_tokens = tokens.end - tokens.begin;
  if constexpr (kWidens<Format>) {
    if (num_tokens > (kWidenedCuts - 1) * kTileTokens<Format> &&
        run_widened<Format>(tile, sink, panels, tokens))
      return;
  }
  run_tiles_of<Format, kHardwareBf16, kTilePanels, kTileTokens<Format>>(tile, sink, panels, tokens);
}

// ---------------------------------------------------------------- long inputs: some units at a
// time

// The next units of the tile, as few as have kInputBlock inputs together or end it.
template <class Format>
WEFT_INLINE void take_units(Tile& tile, const Tile& whole) {
  tile.segments += tile.num_segments;
  tile.panels += tile.num_segments * Format::kHeaderBytes +
                 (tile.groups.end - tile.groups.begin) * Format::kGroupBytes;
  tile.groups.begin = tile.groups.end;
  const Segment* end = whole.segments + whole.num_segments;
  const Segment* segment = tile.segments;
  do {
    tile.groups.end += segment->num_groups;
  } while (!(segment++)->ends_unit ||
           (segment < end && (tile.groups.end - tile.groups.begin) * kGroupInputs < kInputBlock));
  tile.num_segments = segment - tile.segments;
}

// Exact sums may be taken up again, so a long input is consumed in blocks of whole units: fewer
// inputs a token leave room for more tokens beside the panels in the nearer caches (Llama 1B's down
// projection, of 8,192 inputs, otherwise meets 36 tokens at a time).
// One token takes one panel at a time: a single stream, which the processor's prefetcher follows
// (38 GB/s on one Zen 5 core, against 29 with two panels side by side).
template <class Format, bool kHardwareBf16>
void run_tiles(const Tile& tile, const Sink& sink, Range panels, Range tokens) {
  const int64_t num_tokens = tokens.end - tokens.begin;
  if (num_tokens == 1) {
    return run_tiles_of<Format, kHardwareBf16, 1, 1>(tile, sink, panels, tokens);
  }
  if (sink.sums == nullptr || num_tokens < kFewestBlockedTokens || tile.num_segments == 0) {
    return run_many_tokens<Format, kHardwareBf16>(tile, sink, panels, tokens);
  }
  Tile block = tile;
  block.num_segments = 0;
  block.groups.end = block.groups.begin;
  Sink sums = sink;
  while (block.segments + block.num_segments < tile.segments + tile.num_segments) {
    take_units<Format>(block, tile);
    run_many_tokens<Format, kHardwareBf16>(block, sums, panels, tokens);
    sums.accumulate = true;
  }
}

// A format as one number, to switch on.
constexpr uint32_t format_key(Codes codes, Scales scales, bool has_min, int zero, int halves) {
  return static_cast<uint32_t>(codes) | static_cast<uint32_t>(scales) << 4 |
         static_cast<uint32_t>(has_min) << 8 | static_cast<uint32_t>(halves) << 9 |
         static_cast<uint32_t>(zero) << 12;
}
template <class Format>
inline constexpr uint32_t kKey =
    format_key(Format::kCodes, Format::kScales, Format::kHasMin, Format::kZero, Format::kHalves);

void run_quantized_format(const PanelFormat& format, const Tile& tile, const Sink& sink,
                          Range panels, Range tokens) {
#define WEFT_FORMAT(Format) \
  case kKey<Format>:        \
    return run_tiles<Format, false>(tile, sink, panels, tokens)
  switch (format_key(format.codes, format.scales, format.has_min, format.zero,
                     32 / format.scale_inputs)) {
    WEFT_FORMAT(FormatQ4_0);
    WEFT_FORMAT(FormatQ4_1);
    WEFT_FORMAT(FormatQ5_0);
    WEFT_FORMAT(FormatQ5_1);
    WEFT_FORMAT(FormatQ8_0);
    WEFT_FORMAT(FormatQ2K);
    WEFT_FORMAT(FormatQ3K);
    WEFT_FORMAT(FormatQ4K);
    WEFT_FORMAT(FormatQ5K);
    WEFT_FORMAT(FormatQ6K);
    WEFT_FORMAT(FormatIQ4XS);
    WEFT_FORMAT(FormatMXFP4);
    default:
      __builtin_trap();
  }
#undef WEFT_FORMAT
}

template <bool kHardwareBf16>
void run_matmul(const Matmul& op, const Sink& sink, Range panels, Range tokens) {
  const PanelLayout& layout = *op.layout;
  Tile tile{};
  tile.segments = layout.inputs.segments().data();
  tile.num_segments = static_cast<int64_t>(layout.inputs.segments().size());
  tile.num_groups = layout.inputs.num_groups();
  tile.groups = {0, tile.num_groups};
  tile.panels = reinterpret_cast<const uint8_t*>(op.panels);
  tile.panel_bytes = layout.panel_bytes();
  tile.input = op.input;
  tile.fetches_stream = fetches_streams();
  switch (layout.format.codes) {
    case Codes::kF32:
      return run_tiles<Plain<Codes::kF32>, false>(tile, sink, panels, tokens);
    case Codes::kF16:
      return run_tiles<Plain<Codes::kF16>, false>(tile, sink, panels, tokens);
    case Codes::kBF16:
      return run_tiles<Plain<Codes::kBF16>, kHardwareBf16>(tile, sink, panels, tokens);
    default:
      return run_quantized_format(layout.format, tile, sink, panels, tokens);
  }
}

template <bool kHardwareBf16>
void matmul(const Matmul& op, Range panels, Range tokens, const float* bias, float* out,
            int64_t out_stride) {
  Sink sink;
  sink.out = out;
  sink.out_stride = out_stride;
  sink.bias = bias;
  sink.num_rows = op.layout->num_rows;
  run_matmul<kHardwareBf16>(op, sink, panels, tokens);
}

template <bool kHardwareBf16>
void matmul_exact(const Matmul& op, Range panels, Range tokens, const PartialSums& out) {
  Sink sink;
  sink.sums = out.data;
  sink.accumulate = out.accumulate;
  sink.num_rows = out.num_rows;
  sink.bad_index = (out.num_rows + 15) / 16 * 16;
  sink.sums_stride = sink.bad_index + 8;
  run_matmul<kHardwareBf16>(op, sink, panels, tokens);
}

}  // namespace
}  // namespace weft::kernels
