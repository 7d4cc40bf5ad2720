// The kernel text around linears: laying activations out, and sums in fixed point. Included after
// a vec_*.h and its dot_*.h; kernels.h defines the arithmetic.
#pragma once

#include "kernels/kernels.h"

namespace weft::kernels {
namespace {

struct QuantizedGroup {
  I32x16 c0, c1;
  float scale;
};

// 32 activations to 8 bits, group `at` of the term. A group with NaN or Inf gets a NaN scale, which
// carries the fault into every sum that uses it.
WEFT_INLINE QuantizedGroup quantize_group(F32x16 x0, F32x16 x1, float largest, const Int8Term& out,
                                          int64_t at) {
  const F32x16 infinity = broadcast(__builtin_inff());
  const bool finite = bits((abs(x0) < infinity) & (abs(x1) < infinity)) == 0xffff;
  const bool usable = finite && largest >= kSmallestGroup;
  const F32x16 inverse = broadcast(usable ? 127.0f / largest : 0.0f);
  const I32x16 zero = broadcast_int(0);
  QuantizedGroup q{usable ? to_int(x0 * inverse) : zero, usable ? to_int(x1 * inverse) : zero,
                   0.0f};
  q.scale = !finite ? __builtin_nanf("") : usable ? largest / 127.0f : 0.0f;
  store_int8(out.codes + at * 32, q.c0);
  store_int8(out.codes + at * 32 + 16, q.c1);
  const int32_t first_half = reduce_add(q.c0), all = reduce_add(q.c0 + q.c1);
  out.scales[at] = q.scale;
  out.minus_sums[2 * at] = -first_half;
  out.minus_sums[2 * at + 1] = -all;
  out.scaled_sums[at] = q.scale * static_cast<float>(all);
  return q;
}

WEFT_INLINE float largest_of(F32x16 x0, F32x16 x1) { return reduce_max(max(abs(x0), abs(x1))); }

// Above it a group's largest value makes it an outlier. Infinite or NaN where the token is: no
// group is one then.
WEFT_INLINE float outlier_limit(const float* x, int64_t n) {
  F32x16 squares = zero_f32();
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const F32x16 v = load(x + i);
    squares = fma(v, v, squares);
  }
  if (i < n) {
    const F32x16 v = load_n(x + i, n - i);
    squares = fma(v, v, squares);
  }
  const float mean = reduce_add(squares) / static_cast<float>(n);
  return kOutlierRatio * __builtin_sqrtf(mean);
}

// The 32 slots of a group; those that are not the unit's are zero.
WEFT_INLINE const float* slots_of(const tensor::InputGroup& group, const float* x,
                                  int64_t first_input, float (&padded)[32]) {
  const float* block = x + group.block * tensor::kGroupInputs - first_input;
  if (group.slots.end - group.slots.begin == tensor::kGroupInputs) return block;
  for (int slot = 0; slot < 32; ++slot) padded[slot] = 0.0f;
  for (int64_t slot = group.slots.begin; slot < group.slots.end; ++slot) padded[slot] = block[slot];
  return padded;
}

void prepare_int8(const tensor::InputMap& map, const float* x, const Activations& out,
                  int64_t token, Range wanted) {
  const tensor::InputGroup* groups = map.groups().data();
  const int64_t num_groups = map.num_groups(), first_input = map.inputs().begin;
  const bool whole = out.outliers != nullptr;
  const float limit = whole ? outlier_limit(x, map.inputs().end - first_input) : 0.0f;
  uint8_t* outliers = whole ? out.outliers + token * ((num_groups + 7) / 8) : nullptr;
  for (int64_t g = wanted.begin; g < wanted.end; ++g) {
    float padded[32];
    const float* block = slots_of(groups[g], x, first_input, padded);
    const F32x16 x0 = load(block), x1 = load(block + 16);
    const float largest = largest_of(x0, x1);
    const int64_t at = token * out.num_groups + g;
    const QuantizedGroup q = quantize_group(x0, x1, largest, out.first, at);
    if (!whole) continue;
    if (g % 8 == 0) outliers[g / 8] = 0;
    if (!(largest > limit)) continue;
    outliers[g / 8] = static_cast<uint8_t>(outliers[g / 8] | 1u << (g % 8));
    const F32x16 minus_scale = broadcast(-q.scale);
    const F32x16 e0 = fma(minus_scale, to_float(q.c0), x0);
    const F32x16 e1 = fma(minus_scale, to_float(q.c1), x1);
    quantize_group(e0, e1, largest_of(e0, e1), out.error, at);
  }
}

void prepare(const tensor::InputMap& map, const float* x, const Activations& out, int64_t token,
             Range wanted) {
  if (out.type == ActivationType::kInt8) return prepare_int8(map, x, out, token, wanted);
  const tensor::InputGroup* groups = map.groups().data();
  const int64_t first_input = map.inputs().begin;
  for (int64_t g = wanted.begin; g < wanted.end; ++g) {
    float padded[32];
    const float* block = slots_of(groups[g], x, first_input, padded);
    const int64_t at = token * out.num_groups + g;
    if (out.type == ActivationType::kBF16) {
      auto* values = static_cast<uint16_t*>(out.values) + at * 32;
      store_bf16(values, load(block));
      store_bf16(values + 16, load(block + 16));
    } else {
      auto* values = static_cast<float*>(out.values) + at * 32;
      store(values, load(block));
      store(values + 16, load(block + 16));
    }
  }
}

void add_int64(int64_t* sum, const int64_t* const* parts, int num_parts, int64_t count) {
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    I64x16 total = load_i64(parts[0] + i);
    for (int p = 1; p < num_parts; ++p) total = total + load_i64(parts[p] + i);
    store_i64(sum + i, total);
  }
  for (; i < count; ++i) {
    uint64_t total = 0;
    for (int p = 0; p < num_parts; ++p) total += static_cast<uint64_t>(parts[p][i]);
    sum[i] = static_cast<int64_t>(total);
  }
}

int64_t finish_exact(const int64_t* const* parts, int num_parts, int64_t num_rows,
                     const float* bias, float* out) {
  const F32x16 unit = broadcast(1.0f / static_cast<float>(int64_t{1} << kFixedPointBits));
  for (int64_t row = 0; row < num_rows; row += 16) {
    I64x16 total = load_i64(parts[0] + row);  // rows are padded to 16
    for (int p = 1; p < num_parts; ++p) total = total + load_i64(parts[p] + row);
    const int64_t rows = num_rows - row < 16 ? num_rows - row : 16;
    F32x16 value = to_float(total) * unit;
    if (bias != nullptr) value = value + load_n(bias + row, rows);
    store_n(out + row, value, rows);
  }
  const int64_t bad_index = (num_rows + 15) / 16 * 16;
  int64_t bad = 0;
  for (int p = 0; p < num_parts; ++p) bad += parts[p][bad_index];
  return bad;
}

}  // namespace
}  // namespace weft::kernels
