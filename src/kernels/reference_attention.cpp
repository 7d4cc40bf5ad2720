#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/float_types.h"
#include "kernels/reference_vector.h"

namespace weft::kernels::reference {
namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();

float element(KvType type, const std::byte* part, int64_t index) {
  if (type == KvType::kQ8) return static_cast<float>(static_cast<int8_t>(part[index]));
  if (type == KvType::kF32) {
    float x;
    std::memcpy(&x, part + 4 * index, 4);
    return x;
  }
  uint16_t half;
  std::memcpy(&half, part + 2 * index, 2);
  return type == KvType::kBF16 ? float_from_bf16(half) : float_from_f16(half);
}

void set_element(KvType type, std::byte* part, int64_t index, float x) {
  if (type == KvType::kQ8) {
    part[index] = static_cast<std::byte>(static_cast<int8_t>(x));
  } else if (type == KvType::kF32) {
    std::memcpy(part + 4 * index, &x, 4);
  } else {
    const uint16_t half = type == KvType::kBF16 ? bf16_from_float(x) : f16_from_float(x);
    std::memcpy(part + 2 * index, &half, 2);
  }
}

// Where values begin in a head's part of a block, in elements.
int64_t first_value(const KvLayout& layout) { return layout.head_dim * layout.block_tokens; }

// One KV head's part of the block that holds `position`.
const std::byte* head_of(const Attention& op, int64_t position) {
  const int64_t block = op.block_table[position / op.layout.block_tokens - op.first_block];
  return op.cache + block * op.block_stride + op.kv_head * op.layout.head_bytes();
}

// Inputs of a step: BF16 numbers, and codes as such, are multiplied in pairs.
int64_t step_of(KvType type) { return type == KvType::kBF16 || type == KvType::kQ8 ? 2 : 1; }

// Index of row `row`, column `column` of a matrix whose rows lie one after the other or, in BF16,
// two and two with their elements in turn; codes, two and two with sixteens in turn.
int64_t index_of(KvType type, int64_t row, int64_t column, int64_t num_columns) {
  const int64_t pair = row / 2 * 2 * num_columns;
  if (type == KvType::kQ8) return pair + column / 16 * 32 + row % 2 * 16 + column % 16;
  return type == KvType::kBF16 ? pair + 2 * column + row % 2 : row * num_columns + column;
}
int64_t key_index(const KvLayout& layout, int64_t slot, int64_t d) {
  return index_of(layout.type, d, slot, layout.block_tokens);
}
int64_t value_index(const KvLayout& layout, int64_t slot, int64_t d) {
  return first_value(layout) + index_of(layout.type, slot, d, layout.padded_head_dim());
}

float key(const Attention& op, int64_t position, int64_t d) {
  return element(op.layout.type, head_of(op, position),
                 key_index(op.layout, position % op.layout.block_tokens, d));
}

float value(const Attention& op, int64_t position, int64_t d) {
  return element(op.layout.type, head_of(op, position),
                 value_index(op.layout, position % op.layout.block_tokens, d));
}

// What codes of a position stand for one of; `kind`: 0 of its key, 1 of its value.
float* scale_of(const KvLayout& layout, std::byte* head, int64_t slot, int64_t kind) {
  std::byte* scales = head + (layout.head_dim + layout.padded_head_dim()) * layout.block_tokens;
  return reinterpret_cast<float*>(scales) + kind * layout.block_tokens + slot;
}
float scale_of(const Attention& op, int64_t position, int64_t kind) {
  auto* head = const_cast<std::byte*>(head_of(op, position));
  return *scale_of(op.layout, head, position % op.layout.block_tokens, kind);
}

// A query's element or a weight, as it is multiplied.
float factor(const Attention& op, float x) {
  return step_of(op.layout.type) == 2 ? float_from_bf16(bf16_from_float(x)) : x;
}

// Softmax in progress: the running maximum, the weights' sum in 16 lanes, the weighted values.
struct State {
  bool empty = true;
  float max = kNone;
  std::array<float, 16> lanes{};
  float sum = 0;
  std::vector<float> values;
};

float score(const Attention& op, const float* q, int64_t position) {
  const int64_t step = step_of(op.layout.type);
  float dot = 0;
  for (int64_t first = 0; first < op.layout.head_dim; first += step)
    for (int64_t d = first + step - 1; d >= first; --d)
      dot = std::fma(key(op, position, d), factor(op, q[d]), dot);
  if (op.layout.type == KvType::kQ8) dot = dot * scale_of(op, position, 0);
  const float scaled = dot * op.scale;
  return op.softcap > 0 ? op.softcap * tanh_float(scaled / op.softcap) : scaled;
}

// Adds the visible positions of one block of 64.
void add_block(const Attention& op, const float* q, Range visible, State& state) {
  std::array<float, kAttentionBlock> scores{};
  float max = state.max;
  for (int64_t p = visible.begin; p < visible.end; ++p) {
    float& s = scores[static_cast<size_t>(p % kAttentionBlock)];
    s = score(op, q, p);
    max = std::isnan(s) || s > max ? s : max;
  }
  const float rescale = state.empty ? 0.0f : exp_float(state.max - max);
  for (float& lane : state.lanes) lane = state.empty ? 0.0f : lane * rescale;
  for (float& x : state.values) x = state.empty ? 0.0f : x * rescale;
  std::array<float, kAttentionBlock> weights{};
  for (int64_t p = visible.begin; p < visible.end; ++p) {
    const size_t i = static_cast<size_t>(p % kAttentionBlock);
    const float weight = exp_float(scores[i] - max);
    const bool coded = op.layout.type == KvType::kQ8;
    weights[i] = factor(op, coded ? weight * scale_of(op, p, 1) : weight);
    float& lane = state.lanes[i % 16];
    lane = lane + (coded ? weight : weights[i]);
  }
  const int64_t step = step_of(op.layout.type);
  for (int64_t first = visible.begin / step * step; first < visible.end; first += step)
    for (int64_t p = first + step - 1; p >= first; --p) {
      if (!visible.contains(p)) continue;
      const float weight = weights[static_cast<size_t>(p % kAttentionBlock)];
      for (size_t d = 0; d < state.values.size(); ++d)
        state.values[d] = std::fma(value(op, p, static_cast<int64_t>(d)), weight, state.values[d]);
    }
  state.max = max;
  state.empty = false;
}

void close_span(State& span) {
  std::array<float, 16> lanes = span.lanes;
  for (size_t half = 8; half > 0; half /= 2)
    for (size_t i = 0; i < half; ++i) lanes[i] = lanes[i] + lanes[i + half];
  span.sum = lanes[0];
}

// The first span is taken as it is; of two, each is scaled to the larger maximum.
void merge(const State& span, State& all) {
  if (all.empty) {
    all = span;
    return;
  }
  const float max = span.max > all.max ? span.max : all.max;
  const float old_scale = exp_float(all.max - max), new_scale = exp_float(span.max - max);
  all.sum = std::fma(span.sum, new_scale, all.sum * old_scale);
  for (size_t d = 0; d < all.values.size(); ++d)
    all.values[d] = std::fma(span.values[d], new_scale, all.values[d] * old_scale);
  all.max = max;
}

void attend(const Attention& op, int64_t token, int64_t head) {
  const int64_t head_dim = op.layout.head_dim;
  const float* q = op.q + token * op.q_stride + head * head_dim;
  const int64_t own = op.first_position + token;
  const Range visible{op.window > 0 ? std::max<int64_t>(0, own - op.window + 1) : 0, own + 1};
  State all;
  for (int64_t span = 0; span < visible.end; span += kAttentionSpan) {
    State part;
    part.values.resize(static_cast<size_t>(head_dim));
    for (int64_t p = span; p < span + kAttentionSpan; p += kAttentionBlock) {
      const Range block = visible.intersect({p, p + kAttentionBlock});
      if (!block.empty()) add_block(op, q, block, part);
    }
    if (part.empty) continue;
    close_span(part);
    merge(part, all);
  }
  float* out = op.out + token * op.out_stride + head * head_dim;
  for (int64_t d = 0; d < head_dim; ++d) out[d] = all.values[static_cast<size_t>(d)] / all.sum;
}

// Codes of one key or value; returns its scale.
float quantize(const float* x, int64_t n, std::vector<float>& codes) {
  float largest = 0;
  bool finite = true;
  for (int64_t d = 0; d < n; ++d) {
    finite = finite && std::isfinite(x[d]);
    largest = std::max(largest, std::fabs(x[d]));
  }
  codes.assign(static_cast<size_t>(n), 0.0f);
  if (!finite) return std::numeric_limits<float>::quiet_NaN();
  if (largest < kSmallestGroup) return 0;
  for (int64_t d = 0; d < n; ++d)
    codes[static_cast<size_t>(d)] = std::nearbyint(x[d] * (127.0f / largest));
  return largest / 127.0f;
}

}  // namespace

void write_kv(const KvWrite& given) {
  KvWrite op = given;
  const KvLayout& layout = op.layout;
  std::vector<float> key_codes, value_codes;
  if (layout.type == KvType::kQ8) {
    *scale_of(layout, op.head, op.slot, 0) = quantize(op.k, layout.head_dim, key_codes);
    *scale_of(layout, op.head, op.slot, 1) = quantize(op.v, layout.head_dim, value_codes);
    op.k = key_codes.data();
    op.v = value_codes.data();
  }
  for (int64_t d = 0; d < layout.head_dim; ++d) {
    set_element(layout.type, op.head, key_index(layout, op.slot, d), op.k[d]);
    set_element(layout.type, op.head, value_index(layout, op.slot, d), op.v[d]);
  }
  for (int64_t d = layout.head_dim; d < layout.padded_head_dim(); ++d)
    set_element(layout.type, op.head, value_index(layout, op.slot, d), 0.0f);
}

void attention(const Attention& op) {
  for (int64_t token = op.tokens.begin; token < op.tokens.end; ++token)
    for (int64_t head = op.heads.begin; head < op.heads.end; ++head) attend(op, token, head);
}

}  // namespace weft::kernels::reference
