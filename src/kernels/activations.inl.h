// The kernel text around linears: laying activations out, and sums in fixed point. Included after
// a vec_*.h and its dot_*.h; kernels.h defines the arithmetic.
#pragma once

#include "kernels/kernels.h"

namespace weft::kernels {
namespace {

// 32 activations to 8 bits. A group with NaN or Inf gets a NaN scale, which carries the fault into
// every sum that uses it.
WEFT_INLINE void quantize_group(const float* x, int8_t* codes, float* scale, int32_t* sums) {
  const F32x16 x0 = load(x), x1 = load(x + 16);
  const F32x16 infinity = broadcast(__builtin_inff());
  const bool finite = bits((abs(x0) < infinity) & (abs(x1) < infinity)) == 0xffff;
  const float largest = finite ? reduce_max(max(abs(x0), abs(x1))) : 0.0f;
  const bool usable = largest >= kSmallestGroup;
  const F32x16 inverse = broadcast(usable ? 127.0f / largest : 0.0f);
  const I32x16 zero = broadcast_int(0);
  const I32x16 c0 = usable ? to_int(x0 * inverse) : zero;
  const I32x16 c1 = usable ? to_int(x1 * inverse) : zero;
  store_int8(codes, c0);
  store_int8(codes + 16, c1);
  sums[0] = reduce_add(c0);
  sums[1] = reduce_add(c1);
  *scale = !finite ? __builtin_nanf("") : usable ? largest / 127.0f : 0.0f;
}

void prepare(const tensor::InputMap& map, const float* x, const Activations& out, int64_t token) {
  const tensor::InputGroup* groups = map.groups().data();
  const int64_t num_groups = map.num_groups();
  const int64_t first_input = map.inputs().begin;
  for (int64_t g = 0; g < num_groups; ++g) {
    const tensor::InputGroup group = groups[g];
    const float* block = x + group.block * tensor::kGroupInputs - first_input;
    float padded[32] = {};
    if (group.slots.end - group.slots.begin != tensor::kGroupInputs) {
      for (int64_t slot = group.slots.begin; slot < group.slots.end; ++slot) {
        padded[slot] = block[slot];
      }
      block = padded;
    }
    const int64_t at = token * out.num_groups + g;
    if (out.type == ActivationType::kInt8) {
      quantize_group(block, static_cast<int8_t*>(out.values) + at * 32, out.scales + at,
                     out.sums + 2 * at);
    } else if (out.type == ActivationType::kBF16) {
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

void prepare_error(const tensor::InputMap& map, const float* x, const Activations& prepared,
                   int64_t token, float* out) {
  const int64_t num_inputs = map.inputs().end - map.inputs().begin;
  const int64_t first = token * prepared.num_groups * tensor::kGroupInputs;
  if (prepared.type == ActivationType::kBF16) {
    const auto* values = static_cast<const uint16_t*>(prepared.values) + first;
    for (int64_t i = 0; i < num_inputs; i += 16) {
      const int64_t n = num_inputs - i < 16 ? num_inputs - i : 16;
      store_n(out + i, load_n(x + i, n) - load_bf16(values + i), n);
    }
    return;
  }
  const auto* codes = static_cast<const int8_t*>(prepared.values) + first;
  const float* scales = prepared.scales + token * prepared.num_groups;
  for (int64_t i = 0; i < num_inputs; i += 16) {
    const int64_t n = num_inputs - i < 16 ? num_inputs - i : 16;
    const F32x16 minus_scale = broadcast(-scales[i / tensor::kGroupInputs]);
    const F32x16 code = load_scale_s8(reinterpret_cast<const uint8_t*>(codes + i));
    store_n(out + i, fma(minus_scale, code, load_n(x + i, n)), n);
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
