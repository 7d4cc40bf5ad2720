#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "kernels/reference_linear.h"
#include "ladder.h"

// Loops over panels and tokens are unrolled so that their accumulators are registers.
#define UNROLL _Pragma("GCC unroll 8")

namespace weft::ladder {
namespace {

constexpr int64_t kGroupBytes = 288;  // of a panel: 16 scales (f16), then 4 vectors of codes
constexpr int64_t kBlockBytes = 18;   // of a file's row: a scale (f16), then 16 bytes of codes
constexpr int kMostTokens = 6, kSteps = 8;

// ---------------------------------------------------------------- 0: the meaning

void run_reference(const Product& p, Range panels) {
  kernels::reference::matmul({p.layout, p.panels, p.input}, panels, {0, p.input.num_tokens},
                             nullptr, p.out, p.out_stride);
}

// ---------------------------------------------------------------- 1: dot products along rows

// One row x one token, as the dot products of llama.cpp do it: lanes are inputs. A block of 32
// products costs 2 dot products' worth of work for its signs (vpdpbusd wants one unsigned side),
// and the 8 lanes of a row are added up at its end: the order of the sum follows the width of a
// register, so no other instruction set and no other tile gives the same bits.
float dot_row(const std::byte* row, const int8_t* x, const float* x_scales, int64_t num_blocks) {
  __m256 sum = _mm256_setzero_ps();
  for (int64_t b = 0; b < num_blocks; ++b, row += kBlockBytes) {
    uint16_t half;
    std::memcpy(&half, row, sizeof(half));
    const float scale = _cvtsh_ss(half) * x_scales[b];
    const __m128i packed = _mm_loadu_si128(reinterpret_cast<const __m128i*>(row + 2));
    const __m256i nibbles =
        _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(packed, 4), packed), _mm256_set1_epi8(15));
    const __m256i w = _mm256_sub_epi8(nibbles, _mm256_set1_epi8(8));
    const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + 32 * b));
    const __m256i c =
        _mm256_dpbusd_epi32(_mm256_setzero_si256(), _mm256_sign_epi8(w, w), _mm256_sign_epi8(v, w));
    sum = _mm256_fmadd_ps(_mm256_set1_ps(scale), _mm256_cvtepi32_ps(c), sum);
  }
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps(sum, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

void run_row_dots(const Product& p, Range panels) {
  const int64_t num_blocks = p.input.num_groups;
  for (int64_t row = 16 * panels.begin; row < 16 * panels.end; ++row) {
    for (int64_t t = 0; t < p.input.num_tokens; ++t) {
      p.out[t * p.out_stride + row] = dot_row(p.file_rows + row * num_blocks * kBlockBytes,
                                              p.input.first.codes + 32 * t * num_blocks,
                                              p.input.first.scales + t * num_blocks, num_blocks);
    }
  }
}

// ---------------------------------------------------------------- what the panels have in common

// Step s of a group: four inputs of 16 rows, as bytes. One load serves steps s and s + 4.
inline __m512i codes_of(const std::byte* group, int s) {
  const __m512i packed = _mm512_loadu_si512(group + 32 + 64 * (s % 4));
  return _mm512_and_si512(s < 4 ? packed : _mm512_srli_epi16(packed, 4), _mm512_set1_epi8(15));
}
inline __m512 scales_of(const std::byte* group) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(group)));
}
// Four inputs of one token, for all 16 rows.
inline __m512i four_inputs(const int8_t* x, int s) {
  int32_t four;
  std::memcpy(&four, x + 4 * s, sizeof(four));
  return _mm512_set1_epi32(four);
}
inline const std::byte* panel_at(const Product& p, int64_t panel) {
  return p.panels + panel * p.layout->panel_bytes();
}
inline void store(const Product& p, int64_t panel, int64_t token, __m512 sum) {
  _mm512_storeu_ps(p.out + token * p.out_stride + 16 * panel, sum);
}

// ---------------------------------------------------------------- 2: lanes are rows

// Sixteen rows x one token: one activation is broadcast to all rows, every output has a lane of its
// own and sees its groups in order. No horizontal sum is left, and the width of a register shows
// nowhere. Codes are 0..15 and mean -8..7, so a second dot product takes 8 x off.
void run_panels(const Product& p, Range panels) {
  for (int64_t panel = panels.begin; panel < panels.end; ++panel) {
    for (int64_t t = 0; t < p.input.num_tokens; ++t) {
      const std::byte* group = panel_at(p, panel);
      __m512 sum = _mm512_setzero_ps();
      for (int64_t g = 0; g < p.input.num_groups; ++g, group += kGroupBytes) {
        const int64_t at = t * p.input.num_groups + g;
        __m512i c = _mm512_setzero_si512(), offset = _mm512_setzero_si512();
        for (int s = 0; s < kSteps; ++s) {
          const __m512i x = four_inputs(p.input.first.codes + 32 * at, s);
          c = _mm512_dpbusd_epi32(c, codes_of(group, s), x);
          offset = _mm512_dpbusd_epi32(offset, _mm512_set1_epi8(8), x);
        }
        const __m512 product = _mm512_cvtepi32_ps(_mm512_sub_epi32(c, offset));
        sum = _mm512_fmadd_ps(_mm512_mul_ps(product, scales_of(group)),
                              _mm512_set1_ps(p.input.first.scales[at]), sum);
      }
      store(p, panel, t, sum);
    }
  }
}

// ---------------------------------------------------------------- 3: sums begin at the offset

// 8 x is the same for every row, so it is summed once, when the activations are laid out, and the
// integer sum begins at minus 8 times that: half of the dot products are gone.
inline __m512i begin_at_offset(const Product& p, int64_t at) {
  return _mm512_set1_epi32(8 * p.input.first.minus_sums[2 * at + 1]);
}
inline __m512 add_group(const Product& p, int64_t at, __m512i c, __m512 scale, __m512 sum) {
  return _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(c), scale),
                         _mm512_set1_ps(p.input.first.scales[at]), sum);
}

void run_offset(const Product& p, Range panels) {
  for (int64_t panel = panels.begin; panel < panels.end; ++panel) {
    for (int64_t t = 0; t < p.input.num_tokens; ++t) {
      const std::byte* group = panel_at(p, panel);
      __m512 sum = _mm512_setzero_ps();
      for (int64_t g = 0; g < p.input.num_groups; ++g, group += kGroupBytes) {
        const int64_t at = t * p.input.num_groups + g;
        __m512i c = begin_at_offset(p, at);
        for (int s = 0; s < kSteps; ++s) {
          c = _mm512_dpbusd_epi32(c, codes_of(group, s),
                                  four_inputs(p.input.first.codes + 32 * at, s));
        }
        sum = add_group(p, at, c, scales_of(group), sum);
      }
      store(p, panel, t, sum);
    }
  }
}

// ---------------------------------------------------------------- 4 and 5: tiles of registers

// kPanels x kTokens outputs at once. A step unpacks kPanels vectors of codes (an and, for half of
// them a shift) and broadcasts kTokens activations for kPanels x kTokens dot products, and that
// many chains of sums hide the four cycles that one dot product takes:
//   1 x 1: per 8 dot products 12 to unpack, 8 broadcasts, and one chain that waits for itself
//   1 x 6: 48 dot products share the 12, six chains
//   2 x 6: 96 share 24, each broadcast serves two panels, twelve chains
// 2 x 6 integer and 2 x 6 float sums leave eight of 32 registers for codes, scales and a broadcast;
// a seventh token would spill. On top of 8 dot products a group and output come a conversion and
// two multiplications: 8 / (8 + 3) of the peak, or 8 / (8 + 2) where the conversion has a port of
// its own.
template <int kPanels, int kTokens>
void run_tile(const Product& p, int64_t panel, int64_t token) {
  const std::byte* group[kPanels];
  __m512 sum[kPanels][kTokens];
  UNROLL for (int i = 0; i < kPanels; ++i) {
    group[i] = panel_at(p, panel + i);
    UNROLL for (int t = 0; t < kTokens; ++t) sum[i][t] = _mm512_setzero_ps();
  }
  for (int64_t g = 0; g < p.input.num_groups; ++g) {
    const int64_t first = token * p.input.num_groups + g, stride = p.input.num_groups;
    __m512i c[kPanels][kTokens];
    UNROLL for (int t = 0; t < kTokens; ++t) {
      const __m512i begin = begin_at_offset(p, first + t * stride);
      UNROLL for (int i = 0; i < kPanels; ++i) c[i][t] = begin;
    }
    UNROLL for (int s = 0; s < kSteps; ++s) {
      __m512i w[kPanels];
      UNROLL for (int i = 0; i < kPanels; ++i) w[i] = codes_of(group[i], s);
      UNROLL for (int t = 0; t < kTokens; ++t) {
        const __m512i x = four_inputs(p.input.first.codes + 32 * (first + t * stride), s);
        UNROLL for (int i = 0; i < kPanels; ++i) c[i][t] = _mm512_dpbusd_epi32(c[i][t], w[i], x);
      }
    }
    UNROLL for (int i = 0; i < kPanels; ++i) {
      const __m512 scale = scales_of(group[i]);
      UNROLL for (int t = 0; t < kTokens; ++t) {
        sum[i][t] = add_group(p, first + t * stride, c[i][t], scale, sum[i][t]);
      }
      group[i] += kGroupBytes;
    }
  }
  UNROLL for (int i = 0; i < kPanels; ++i) {
    UNROLL for (int t = 0; t < kTokens; ++t) store(p, panel + i, token + t, sum[i][t]);
  }
}

template <int kPanels, int kTokens = kMostTokens>
void run_tile_of(const Product& p, int64_t panel, int64_t token, int64_t num_tokens) {
  if (num_tokens == kTokens) return run_tile<kPanels, kTokens>(p, panel, token);
  if constexpr (kTokens > 1) run_tile_of<kPanels, kTokens - 1>(p, panel, token, num_tokens);
}

// Panels outside, tokens inside: panels come from memory once, and from the nearest cache for every
// further tile of tokens. Tokens are cut evenly, 16 into 6 + 5 + 5 and not into 6 + 6 + 4.
template <int kPanels>
void run_tokens(const Product& p, int64_t panel, Range tokens) {
  const int64_t num_cuts = ceil_div(tokens.size(), kMostTokens);
  for (int64_t cut = 0; cut < num_cuts; ++cut) {
    const Range part = equal_part(tokens, cut, num_cuts);
    run_tile_of<kPanels>(p, panel, part.begin, part.size());
  }
}

template <int kPanels>
void run_tiles(const Product& p, Range panels) {
  for (int64_t panel = panels.begin; panel < panels.end; panel += kPanels)
    run_tokens<kPanels>(p, panel, {0, p.input.num_tokens});
}

// ---------------------------------------------------------------- 6: the next panels are fetched

// One token reads a stream, but the processor's prefetcher stops at every page: so one panel at a
// time, two pages ahead.
void run_one_token(const Product& p, Range panels) {
  constexpr int64_t kAhead = 8192;
  for (int64_t panel = panels.begin; panel < panels.end; ++panel) {
    const std::byte* group = panel_at(p, panel);
    __m512 sum = _mm512_setzero_ps();
    for (int64_t g = 0; g < p.input.num_groups; ++g, group += kGroupBytes) {
      UNROLL for (int64_t byte = 0; byte < kGroupBytes; byte += 64) {
        _mm_prefetch(reinterpret_cast<const char*>(group + kAhead + byte), _MM_HINT_T1);
      }
      __m512i c = begin_at_offset(p, g);
      UNROLL for (int s = 0; s < kSteps; ++s) {
        c = _mm512_dpbusd_epi32(c, codes_of(group, s),
                                four_inputs(p.input.first.codes + 32 * g, s));
      }
      sum = add_group(p, g, c, scales_of(group), sum);
    }
    store(p, panel, 0, sum);
  }
}

// With more tokens, every tile asks for its share of the next pair of panels, whose way from memory
// then hides behind this pair's products. (The shipped kernel spreads a share over the groups.)
void run_pairs(const Product& p, Range panels, Range tokens) {
  const int64_t num_cuts = ceil_div(tokens.size(), kMostTokens);
  const int64_t pair_bytes = 2 * p.layout->panel_bytes();
  const int64_t share = round_up(ceil_div(pair_bytes, num_cuts), 64);
  for (int64_t panel = panels.begin; panel < panels.end; panel += 2) {
    const std::byte* next = panel_at(p, panel + 2);
    for (int64_t cut = 0; cut < num_cuts; ++cut) {
      const int64_t end = std::min(pair_bytes, (cut + 1) * share);
      for (int64_t byte = cut * share; byte < end; byte += 64)
        _mm_prefetch(reinterpret_cast<const char*>(next + byte), _MM_HINT_T1);
      const Range part = equal_part(tokens, cut, num_cuts);
      run_tile_of<2>(p, panel, part.begin, part.size());
    }
  }
}

void run_fetching(const Product& p, Range panels) {
  if (p.input.num_tokens == 1) return run_one_token(p, panels);
  run_pairs(p, panels, {0, p.input.num_tokens});
}

// ---------------------------------------------------------------- 7: tokens in blocks

// The activations of 512 tokens x 2,048 inputs are a megabyte, as much as the second cache, and
// every pair of panels reads them all again. So tokens are taken in blocks that stay there beside
// the panels, which are then read once a block: a block of 128 tokens multiplies each byte of them
// 256 times, so their way costs little.
void run_blocks(const Product& p, Range panels) {
  constexpr int64_t kCachedBytes = 256 << 10;
  if (p.input.num_tokens == 1) return run_one_token(p, panels);
  const int64_t num_tokens = p.input.num_tokens, token_bytes = 32 * p.input.num_groups;
  const int64_t block = round_up(ceil_div(kCachedBytes, token_bytes), kMostTokens);
  for (int64_t token = 0; token < num_tokens; token += block)
    run_pairs(p, panels, {token, std::min(num_tokens, token + block)});
}

// ---------------------------------------------------------------- 8: as shipped

// The kernel text of src/kernels/linear_tile.inl.h through the table, in the tiles that the engine
// would hand out to one thread.
void run_shipped(const Product& p, Range panels) {
  const kernels::KernelTable& table = *kernels::table_for(kernels::Isa::kAvx512);
  const kernels::Tiling tiling =
      kernels::choose_tiling(*p.layout, p.input.num_tokens, /*num_threads=*/1);
  for (int64_t tile = 0; tile < tiling.num_tiles(); ++tile) {
    const Range part = tiling.panels(tile).intersect(panels);
    if (part.empty()) continue;
    table.matmul({p.layout, p.panels, p.input}, part, tiling.tokens(tile), nullptr, p.out,
                 p.out_stride);
  }
}

constexpr Rung kRungs[] = {
    {"reference", "scalar code, what the others must mean", true, run_reference},
    {"row dots", "one row x one token, lanes are inputs, a horizontal sum a row", false,
     run_row_dots},
    {"panels", "lanes are rows, one activation is broadcast to 16", true, run_panels},
    {"offset", "sums begin at the offset: no second dot product", true, run_offset},
    {"1 x 6 tile", "codes are unpacked once for six tokens, six chains", true, run_tiles<1>},
    {"2 x 6 tile", "each broadcast serves two panels, twelve chains", true, run_tiles<2>},
    {"fetching", "the next panels are fetched meanwhile; one token reads one stream", true,
     run_fetching},
    {"blocks", "tokens in blocks that stay in the second cache", true, run_blocks},
    {"shipped", "the kernel table: every format, ragged rows, units, outliers", true, run_shipped},
};

}  // namespace

std::span<const Rung> rungs() {
  if (kernels::table_for(kernels::Isa::kAvx512) == nullptr) return {};
  return kRungs;
}

}  // namespace weft::ladder
