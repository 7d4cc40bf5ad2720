// Arithmetic. The whole surface of the floor: one KernelTable per instruction set, chosen at
// start; a plain reference (reference.h) beside every body.
//
// The promise (DESIGN.md 1): every output is a function of its own inputs in a fixed order. No
// kernel's result depends on the tile, the batch, the number of threads or the table: all tables of
// a machine give equal bits, and so do machines of one processor family (base/float_state.h says
// what separates Arm from x86). Where lanes are summed, there are always 16 of
// them, reduced by the tree i + (i + 8), i + (i + 4), i + (i + 2), i + (i + 1). Products and sums
// are fused only where this page says fma.
//
// Kernels take pointers and sizes and own nothing. They allocate nothing, never throw, and may be
// called from any thread whose floating-point state was set by weft::prepare_this_thread().
// A call works on one tile; who calls which tile is the business of the floors above.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

#include "base/range.h"
#include "tensor/panel.h"

namespace weft::kernels {

using tensor::PanelLayout;

// ---------------------------------------------------------------- activations of a linear

// Quantised weights take 8-bit activations, BF16 weights BF16 ones (rounded to nearest even), F16
// and F32 weights FP32 ones.
enum class ActivationType : uint8_t { kF32, kBF16, kInt8 };
ActivationType activation_type(const tensor::PanelFormat& format);

// The input of a linear, laid out in groups of 32 slots after its InputMap; slots that are not the
// unit's hold zero. Int8: per token and group scale = max|x| / 127, code = rint(x * (127 /
// max|x|)). A group whose max|x| is below kSmallestGroup is all zero, scale included, so that 127 /
// max|x| is finite. A group that holds NaN or Inf has the scale NaN and codes 0: every unit that
// reads it is NaN.
//
// Few groups hold most of what 8 bits lose: those with a value far above the rest of the token. In
// the 8-bit form of a whole map, a group whose max|x| exceeds kOutlierRatio * sqrt(sum of squares /
// inputs) of its token is an outlier: its error, fma(-scale, code, x), is laid out in the same way
// as a second term. Which groups are outliers follows from the token's vector alone; squares are
// summed in 16 lanes by fma, lane i % 16. (docs/decisions/0002)
inline constexpr float kSmallestGroup = 0x1p-100f;
inline constexpr float kOutlierRatio = 6.0f;
struct Int8Term {
  int8_t* codes = nullptr;  // [num_tokens, num_groups * 32]
  float* scales = nullptr;  // [num_tokens, num_groups]
  // What zeros and minimums of the weights are multiplied with, once for all rows.
  int32_t* minus_sums = nullptr;  // [num_tokens, num_groups, 2]: of slots 0..15 and of all 32
  float* scaled_sums = nullptr;   // [num_tokens, num_groups]: scale * float(sum of all 32)
};
struct Activations {
  ActivationType type = ActivationType::kF32;
  int64_t num_tokens = 0;
  int64_t num_groups = 0;
  void* values = nullptr;  // [num_tokens, num_groups * 32] f32 or bf16
  Int8Term first;          // 8 bits alone
  Int8Term error;          // second terms, written for outliers alone (a tile may read the others
                           // and drop what comes of it); null but for a whole map
  uint8_t* outliers = nullptr;  // [num_tokens, outlier_bytes()]: group g is bit g % 8 of byte g / 8
  int64_t outlier_bytes() const { return ceil_div(num_groups, 8); }
};
// Bytes of all its parts together, each 64-byte aligned.
int64_t activation_bytes(ActivationType type, int64_t num_tokens, const tensor::InputMap& map);
// Carves them out of `memory` (64-byte aligned).
Activations place_activations(ActivationType type, int64_t num_tokens, const tensor::InputMap& map,
                              void* memory);

// ---------------------------------------------------------------- exact sums

// Fixed point of row-parallel sums: one unit is 2^-30, a unit's sum must satisfy |x| < 2^20.
inline constexpr int kFixedPointBits = 30;
inline constexpr float kUnitLimit = 1048576.0f;

// Row-parallel partial sums: [num_tokens, stride] int64, where element [t, bad_index] counts the
// units of token t that were NaN, Inf or out of range; it is added across ranks together with the
// sums. Elements between rows and count, and after it, pad.
struct PartialSums {
  int64_t* data = nullptr;
  int64_t num_tokens = 0;
  int64_t num_rows = 0;
  // What the rows hold is added to; otherwise it is overwritten. The count is added to always.
  bool accumulate = false;
  int64_t bad_index() const { return round_up(num_rows, 16); }
  int64_t stride() const { return round_up(num_rows, 16) + 8; }
};

// ---------------------------------------------------------------- matrix kernels

// One linear, or a tile of it: panels [panels.begin, panels.end), tokens [tokens.begin, end).
//
// Per unit and output, for its groups in order:
//   F32, F16:  acc = fma(w, x, acc), slots in order.
//   BF16:      per pair of slots acc = fma(w1, x1, acc), then acc = fma(w0, x0, acc).
//   quantised: c = integer sum of (code - zero) * x over the slots that share a scale;
//              t = float(c) * scale  (two halves of 16: t = fma(float(c1), scale1, t));
//              acc = fma(t, x_scale, acc);
//              with minimums: acc = fma(min, x_scale * float(sum), acc), per half where halved,
//              after the product; two-level minimums enter as -(dmin * m);
//              where the token's group is an outlier, the same again with its second term.
// where scale is the f16 (f32) value, or d * sc.
struct Matmul {
  const PanelLayout* layout = nullptr;
  const std::byte* panels = nullptr;  // [layout->num_panels(), layout->panel_bytes()]
  Activations input;
};

// How a linear is cut into tiles, so that `num_threads` find equal work and a panel's codes are
// reused from cache: panels evenly, in whole pairs (32 rows, a group of the linear that takes them
// as its input), tokens in steps.
struct Tiling {
  int64_t num_panels = 0, num_panel_tiles = 1;
  int64_t num_tokens = 0, tokens_per_tile = 1;
  int64_t num_tiles() const { return num_panel_tiles * ceil_div(num_tokens, tokens_per_tile); }
  Range panels(int64_t tile) const {
    const Range pairs =
        equal_part({0, ceil_div(num_panels, 2)}, tile % num_panel_tiles, num_panel_tiles);
    return Range{2 * pairs.begin, 2 * pairs.end}.intersect({0, num_panels});
  }
  Range tokens(int64_t tile) const {
    const int64_t begin = tile / num_panel_tiles * tokens_per_tile;
    return Range{begin, begin + tokens_per_tile}.intersect({0, num_tokens});
  }
};
Tiling choose_tiling(const PanelLayout& layout, int64_t num_tokens, int num_threads);
// A row-parallel linear's kernel consumes so many inputs at a time where tokens are many: measured
// for 8,192 inputs, 512 tokens gain (BF16 70 to 83 % of the peak; blocks of 4,096: 78) and 16 lose
// (BF16 72 to 68), since all of these fit beside whole panels.
inline constexpr int64_t kInputBlock = 2048;
inline constexpr int64_t kFewestBlockedTokens = 32;

// ---------------------------------------------------------------- attention

// F16 rounds eight times finer than BF16 in the same bytes, within +-65,504; past that a key or
// value becomes infinite and its request ends with an error. Q8 keeps the key of one token and KV
// head as codes of 8 bits with one FP32 scale, and its value likewise: scale = max|x| / 127, code =
// rint(x * (127 / max|x|)); smallest groups, NaN and Inf as in Activations above.
enum class KvType : uint8_t { kF32, kBF16, kF16, kQ8 };
inline std::string_view name(KvType type) {
  return type == KvType::kF32    ? "f32"
         : type == KvType::kBF16 ? "bf16"
         : type == KvType::kF16  ? "f16"
                                 : "q8";
}

// One KV head's part of one cache block: keys [head_dim, block_tokens], so that lanes are tokens;
// then values [block_tokens, padded_head_dim]. In BF16 both lie in pairs, as the dot product of
// that type takes them: keys [head_dim / 2, block_tokens, 2], values [block_tokens / 2,
// padded_head_dim, 2]. bytes = (head_dim + padded_head_dim) * block_tokens * element size.
// Q8 has the pairs of BF16 with sixteens of one half side by side, keys [head_dim / 2,
// block_tokens / 16, 2, 16], values [block_tokens / 2, padded_head_dim / 16, 2, 16]; then FP32
// scales of keys [block_tokens] and of values [block_tokens].
// head_dim is even, block_tokens a multiple of 16.
struct KvLayout {
  KvType type = KvType::kBF16;
  int64_t head_dim = 0;
  int64_t block_tokens = 16;
  int64_t padded_head_dim() const { return round_up(head_dim, 16); }
  int64_t element_bytes() const { return type == KvType::kF32 ? 4 : type == KvType::kQ8 ? 1 : 2; }
  // Key and value of one token.
  int64_t scale_bytes() const { return type == KvType::kQ8 ? 8 : 0; }
  int64_t head_bytes() const {
    return ((head_dim + padded_head_dim()) * element_bytes() + scale_bytes()) * block_tokens;
  }
};

// Attention is computed in blocks of 64 cache positions, online within a span of 512; spans are
// merged in order. Constants of the arithmetic, not of the cache (DESIGN.md 1.4). Spans are what
// one token's context is shared out by: shorter ones keep more threads busy, and each costs two
// exponentials and two products a value, 2 % of its 512 positions.
inline constexpr int64_t kAttentionBlock = 64;
inline constexpr int64_t kAttentionSpan = 512;
// Heads are no larger: the kernels' scratch is on the stack.
inline constexpr int64_t kMaxHeadDim = 512;

// Tokens [tokens.begin, tokens.end) of one sequence against its cache, for query heads that share
// one KV head. Token i of the sequence's chunk stands at position first_position + i and sees
// positions p with p <= own and, where window > 0, p > own - window.
struct Attention {
  const float* q = nullptr;  // [chunk tokens, q_stride]; head h at column h * head_dim
  int64_t q_stride = 0;
  float* out = nullptr;  // [chunk tokens, out_stride]; same columns
  int64_t out_stride = 0;
  Range tokens;                // tokens of the chunk
  Range heads;                 // local query heads, all on KV head `kv_head`
  int64_t kv_head = 0;         // local
  int64_t first_position = 0;  // of the chunk's token 0
  int64_t window = 0;          // 0: none
  float scale = 1.0f;          // score = dot * scale
  float softcap = 0.0f;        // > 0: score = softcap * tanh(score / softcap)
  KvLayout layout;
  const std::byte* cache = nullptr;      // this layer's cache: block b at cache + b * block_stride
  int64_t block_stride = 0;              // bytes; within a block, head k at k * layout.head_bytes()
  const int32_t* block_table = nullptr;  // [ceil(context / block_tokens) - first_block]
  int64_t first_block = 0;  // of the context, that block_table[0] is: none before it is seen
  // Where `partials` is set, the call takes only these spans (positions / kAttentionSpan) and
  // leaves each visible one's state there instead of writing `out`; merge_attention, called with
  // the same rows, then does. Row r (heads of a token first) has its span s at partials +
  // r * partials_stride + s * partial_floats(layout).
  Range spans{0, std::numeric_limits<int64_t>::max() / kAttentionSpan};
  float* partials = nullptr;
  int64_t partials_stride = 0;  // floats from row to row
};
inline int64_t partial_floats(const KvLayout& layout) { return layout.padded_head_dim() + 16; }

// Writes keys and values of one token and one KV head.
struct KvWrite {
  const float* k = nullptr;  // [head_dim]
  const float* v = nullptr;  // [head_dim]
  KvLayout layout;
  std::byte* head = nullptr;  // the block's part of this KV head
  int64_t slot = 0;           // token within the block
};

// ---------------------------------------------------------------- positions

// cos and sin of every position and rotated pair, computed once by rope_table with the project's
// own functions: [max_positions, 2, num_pairs] f32, cos first.
struct RopeTable {
  const float* data = nullptr;
  int64_t num_pairs = 0;
  const float* cos_of(int64_t position) const { return data + position * 2 * num_pairs; }
  const float* sin_of(int64_t position) const { return cos_of(position) + num_pairs; }
};

// Frequencies are the model's business (linear, llama3, YaRN scaling); pair i turns by
// position * inv_freq[i], both times `magnitude` (YaRN's attention factor).
void rope_table(std::span<const double> inv_freq, double magnitude, int64_t max_positions,
                float* out);
// base^(-2 i / rotary_dim), the project's own pow.
double rope_inv_freq(double base, int64_t pair, int64_t rotary_dim);
// The project's own double functions, equal on every machine (libm picks variants by processor).
double exp_double(double x);
double log_double(double x);

enum class RopeLayout : uint8_t { kHalves, kInterleaved };  // NeoX; GPT-J and GGUF's llama

// ---------------------------------------------------------------- vocabulary

struct Candidate {
  float logit = -std::numeric_limits<float>::infinity();
  int32_t id = -1;  // -1: none, worse than any other
};
// The order of all choices: the larger logit first; ties go to the smaller id.
inline bool better(const Candidate& a, const Candidate& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.id >= 0 && (b.id < 0 || a.id < b.id));
}

// What is done to one logit before the choice: l + bias; where repeated != 0, that divided by the
// row's repetition penalty (multiplied, where it is not positive); less the penalty; at most the
// largest finite number. A bias of -inf forbids the id. Several of one id are applied one after
// another.
struct TokenAdjustment {
  int32_t id = 0;
  float bias = 0.0f;
  float penalty = 0.0f;
  uint32_t repeated = 0;
};

// The ids that a sample is drawn from, and how they weigh. As floats, scaled(l) = (l - max) *
// inv_temperature, not above 0, and e = exp(scaled); the weight is rint(2^40 e), exactly scaled.
// Kept are ids with scaled >= lowest that are not worse than `last` in the order of `better`, and
// whose deviation |scaled - centre| is less than `farthest`, or equal with an id up to farthest_id.
// As it stands, all are.
struct KeptIds {
  float max = 0.0f;
  float inv_temperature = 1.0f;
  float lowest = -std::numeric_limits<float>::infinity();
  Candidate last{-std::numeric_limits<float>::infinity(), std::numeric_limits<int32_t>::max()};
  float centre = 0.0f;
  float farthest = std::numeric_limits<float>::infinity();
  int32_t farthest_id = std::numeric_limits<int32_t>::max();
};

// The two orders in which kept ids are counted off: the larger logit, or the smaller deviation
// first; ties go to the smaller id. A place in such an order is a key of 54 bits, the larger the
// earlier: 32 that are ordered as the numbers are (a logit's bits, all of them turned where it is
// negative and the sign alone where it is not; a deviation's bits, turned but for the sign), then
// kMostIds - 1 - id. Keys are searched level by level, from the highest bits down.
enum class KeptOrder : uint8_t { kLogit, kDeviation };
inline constexpr int64_t kMostIds = int64_t{1} << 22;
struct KeyLevel {
  int shift, bits;
};
inline constexpr KeyLevel kKeyLevels[] = {{43, 11}, {32, 11}, {22, 10}, {11, 11}, {0, 11}};
inline constexpr int kNumKeyLevels = 5, kMostKeyBins = 2048;
struct KeyBin {
  int64_t count = 0, mass = 0;
};

// ---------------------------------------------------------------- the table

enum class Isa : uint8_t { kPortable, kAvx2, kAvx512, kNeon };

struct KernelTable {
  Isa isa;
  std::string_view name;  // "avx512", "avx2", "neon", "portable"

  // Lays one token's local input x[0 .. inputs.size()) out in groups (Activations above): all
  // groups of a whole map, whose outliers follow from the whole vector; any of another's, of which
  // only their own inputs are read.
  void (*prepare)(const tensor::InputMap& map, const float* x, const Activations& out,
                  int64_t token, Range groups);

  // out[t * out_stride + row] = unit sum (+ bias[row] where bias != null), rows of the panels.
  // `out` has room for whole panels (rows are padded to 16 in its stride).
  void (*matmul)(const Matmul& op, Range panels, Range tokens, const float* bias, float* out,
                 int64_t out_stride);
  // out[t, row] = (what it holds, where `accumulate` is set) + rint(unit sum * 2^30), unit by unit;
  // counts bad units in out[t, bad_index] (atomically: several tiles share it).
  void (*matmul_exact)(const Matmul& op, Range panels, Range tokens, const PartialSums& out);
  // One row of a panel matrix as FP32: an embedding look-up. out: [inputs().size()].
  // Quantised: scale * (code - zero), with minimums fma(scale, code, min): one rounding.
  void (*dequantize_row)(const PanelLayout& layout, const std::byte* panels, int64_t row,
                         float* out);

  // sum[i] = parts[0][i] + ... + parts[n-1][i]; may alias parts[0].
  void (*add_int64)(int64_t* sum, const int64_t* const* parts, int num_parts, int64_t count);
  // One token: out[row] = float(sum of the parts) * 2^-30 (+ bias). Returns the summed bad count.
  int64_t (*finish_exact)(const int64_t* const* parts, int num_parts, int64_t num_rows,
                          const float* bias, float* out);
  // x += y, [n].
  void (*add)(float* x, const float* y, int64_t n);
  // out = (x * r) * weight, r = 1 / sqrt(sum / n + eps), [n]; lane i % 16 of the sum takes
  // fma(x, x, lane); may alias.
  void (*rms_norm)(const float* x, const float* weight, float eps, float* out, int64_t n);
  void (*scale)(float* x, float factor, int64_t n);

  // Rotates the first 2 * num_pairs elements of each of num_heads vectors of head_dim.
  void (*rope)(float* x, int64_t num_heads, int64_t head_dim, const float* cos, const float* sin,
               int64_t num_pairs, RopeLayout layout);
  void (*write_kv)(const KvWrite& op);
  void (*attention)(const Attention& op);
  void (*merge_attention)(const Attention& op);

  // gate = act(gate) * up, [n]. silu = x / (1 + exp(-x)); gelu_tanh = (0.5 x) (1 + tanh(a (x +
  // b (x x x)))), a = sqrt(2 / pi), b = 0.044715 as FP32 (gelu_pytorch_tanh). No fma outside exp
  // and tanh, which float_math_constants.h defines.
  void (*silu_mul)(float* gate, const float* up, int64_t n);
  void (*gelu_tanh_mul)(float* gate, const float* up, int64_t n);

  // x = cap * tanh(x / cap), [n].
  void (*softcap)(float* x, float cap, int64_t n);
  // The k best of logits [n], ids first_id + index, best first; fewer than k leave id -1.
  // NaN is never a candidate; *num_nan counts them.
  void (*top_k)(const float* logits, int64_t n, int32_t first_id, int k, Candidate* out,
                int64_t* num_nan);
  // Sum of rint(2^40 * exp((logit - max) * inv_temperature)): an FP32 difference, product and exp,
  // scaled exactly. A logit above max counts as max, NaN as nothing.
  int64_t (*exp_sum)(const float* logits, int64_t n, float max, float inv_temperature);
  // The first index where the running exp_sum exceeds target; n where none does.
  int64_t (*locate)(const float* logits, int64_t n, float max, float inv_temperature,
                    int64_t target);
  // The choice among logits [n] of ids first_id + index (TokenAdjustment, KeptIds above).
  // Applies those of adjustments [count] whose id is in `ids`, the range of the logits; before[i]
  // is the logit that adjustment i found.
  void (*adjust)(float* logits, Range ids, const TokenAdjustment* adjustments, int64_t count,
                 float repetition_penalty, float* before);
  // -inf where bit i % 32 of mask[i / 32] is 0.
  void (*forbid)(float* logits, int64_t n, const uint32_t* mask);
  // out[i] = the weight of logits[i], kept or not.
  void (*weigh)(const float* logits, int64_t n, float max, float inv_temperature, int64_t* out);
  // Sum of the weights of kept ids; the same of rint(2^40 (e * scaled)), where e > 0.
  int64_t (*kept_sum)(const float* logits, int64_t n, int32_t first_id, const KeptIds& kept);
  int64_t (*kept_moment)(const float* logits, int64_t n, int32_t first_id, const KeptIds& kept);
  // The first index where the running kept_sum exceeds target; n where none does.
  int64_t (*kept_locate)(const float* logits, int64_t n, int32_t first_id, const KeptIds& kept,
                         int64_t target);
  // Adds every kept id whose key agrees with `key` above the level's bits to the bin that these
  // name: one to the count, its weight to the mass.
  void (*count_keys)(const float* logits, int64_t n, int32_t first_id, const KeptIds& kept,
                     KeptOrder order, uint64_t key, int level, KeyBin* bins);
  // Order-free hash: sum over i of mix(position, first_id + i, bits of logits[i]), mod 2^64, where
  // mix = f(f(position + 0x9e3779b97f4a7c15) ^ (id << 32 | bits)), f the finaliser of splitmix64;
  // every NaN counts as 0x7fc00000.
  uint64_t (*hash_logits)(const float* logits, int64_t n, int64_t position, int32_t first_id);

  // For measuring: loops of one kind of product in registers, the rates that no kernel of this
  // table can exceed. Each returns the operations (two a product) of `rounds` rounds.
  int64_t (*probe_int8)(int64_t rounds);
  int64_t (*probe_bf16)(int64_t rounds);
  int64_t (*probe_f32)(int64_t rounds);
};

// The best table of this processor, or the one that WEFT_ISA names. Throws Error(kUsage) for a
// name that is unknown or that this processor cannot run. Checks once that the processor's BF16
// dot product rounds as this page says, and otherwise uses the emulated one.
const KernelTable& choose_table();
const KernelTable* table_for(Isa isa);  // null where this processor cannot run it

// ---------------------------------------------------------------- packing

// Fills panels [panels.begin, panels.end) of `layout`, panel p at out + p * panel_bytes(), from
// rows of a file: row r of the layout is at `rows + r * row_stride_bytes`, a whole file row of
// `file_type` (the kernels read only the blocks that the layout's InputMap names). Rows past
// num_rows are zero. Pure data movement: the same bytes on every machine.
void pack_panels(const PanelLayout& layout, tensor::DType file_type, const std::byte* rows,
                 int64_t row_stride_bytes, int64_t num_cols, Range panels, std::byte* out);

// A row of a file as FP32, by the type's definition (norm weights, biases, tests).
void decode_row(tensor::DType file_type, const std::byte* row, int64_t num_cols, float* out);

}  // namespace weft::kernels
