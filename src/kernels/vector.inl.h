// The kernels over vectors of activations: norm, rotation, gates, cache writes. One text for every
// instruction set: a translation unit includes its vector header and then this.
#pragma once

#include "kernels/cached_types.h"
#include "kernels/float_math.inl.h"
#include "kernels/kernels.h"

namespace weft::kernels {
namespace {

// x[i] = body(x[i], i) over lanes; the tail's missing lanes are zero and are not stored.
template <typename Body>
WEFT_INLINE void map_in_place(float* x, int64_t n, Body body) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) store(x + i, body(load(x + i), i, 16));
  if (i < n) store_n(x + i, body(load_n(x + i, n - i), i, n - i), n - i);
}

WEFT_INLINE F32x16 load_some(const float* p, int64_t count) {
  return count == 16 ? load(p) : load_n(p, count);
}

void add(float* x, const float* y, int64_t n) {
  map_in_place(
      x, n, [y](const F32x16& a, int64_t i, int64_t count) { return a + load_some(y + i, count); });
}

void scale(float* x, float factor, int64_t n) {
  const F32x16 by = broadcast(factor);
  map_in_place(x, n, [by](const F32x16& a, int64_t, int64_t) { return a * by; });
}

void silu_mul(float* gate, const float* up, int64_t n) {
  map_in_place(gate, n, [up](const F32x16& a, int64_t i, int64_t count) {
    return silu(a) * load_some(up + i, count);
  });
}

void gelu_tanh_mul(float* gate, const float* up, int64_t n) {
  map_in_place(gate, n, [up](const F32x16& a, int64_t i, int64_t count) {
    return gelu_tanh(a) * load_some(up + i, count);
  });
}

void softcap(float* x, float cap, int64_t n) {
  const F32x16 by = broadcast(cap);
  map_in_place(x, n, [by](const F32x16& a, int64_t, int64_t) { return capped(a, by); });
}

void rms_norm(const float* x, const float* weight, float eps, float* out, int64_t n) {
  F32x16 squares = zero_f32();
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) squares = fma(load(x + i), load(x + i), squares);
  if (i < n) {
    const F32x16 tail = load_n(x + i, n - i);
    squares = fma(tail, tail, squares);
  }
  const float mean = reduce_add(squares) / static_cast<float>(n);
  const F32x16 r = broadcast(1.0f / __builtin_sqrtf(mean + eps));
  for (i = 0; i + 16 <= n; i += 16) store(out + i, load(x + i) * r * load(weight + i));
  if (i < n) store_n(out + i, load_n(x + i, n - i) * r * load_n(weight + i, n - i), n - i);
}

// ---------------------------------------------------------------- rotation

WEFT_INLINE void rotate_pair(float& first, float& second, float cos, float sin) {
  const float a = first, b = second;
  first = a * cos - b * sin;
  second = b * cos + a * sin;
}

WEFT_INLINE void rotate_halves(float* x, const float* cos, const float* sin, int64_t num_pairs) {
  float* y = x + num_pairs;
  int64_t i = 0;
  for (; i + 16 <= num_pairs; i += 16) {
    const F32x16 a = load(x + i), b = load(y + i), c = load(cos + i), s = load(sin + i);
    store(x + i, a * c - b * s);
    store(y + i, b * c + a * s);
  }
  for (; i < num_pairs; ++i) rotate_pair(x[i], y[i], cos[i], sin[i]);
}

WEFT_INLINE void rotate_interleaved(float* x, const float* cos, const float* sin,
                                    int64_t num_pairs) {
  int64_t i = 0;
  for (; i + 8 <= num_pairs; i += 8) {
    const F32x16 ab = load(x + 2 * i);
    const F32x16 c = load_twice(cos + i), s = negate_even(load_twice(sin + i));
    // Even lanes a c + b (-s), odd lanes b c + a s: the same roundings as in rotate_pair.
    store(x + 2 * i, ab * c + swap_pairs(ab) * s);
  }
  for (; i < num_pairs; ++i) rotate_pair(x[2 * i], x[2 * i + 1], cos[i], sin[i]);
}

void rope(float* x, int64_t num_heads, int64_t head_dim, const float* cos, const float* sin,
          int64_t num_pairs, RopeLayout layout) {
  for (int64_t head = 0; head < num_heads; ++head) {
    float* vector = x + head * head_dim;
    if (layout == RopeLayout::kHalves) {
      rotate_halves(vector, cos, sin, num_pairs);
    } else {
      rotate_interleaved(vector, cos, sin, num_pairs);
    }
  }
}

// ---------------------------------------------------------------- cache

WEFT_INLINE void store_rounded(float* p, const F32x16& x) { store(p, x); }
WEFT_INLINE void store_rounded(CachedBf16* p, const F32x16& x) { store_bf16(&p->bits, x); }
WEFT_INLINE void store_rounded(CachedF16* p, const F32x16& x) { store_f16(&p->bits, x); }

// Keys go down a column, one a row of block_tokens; values along a row, padded with zeros. Of
// `kInputs` inputs of a key that lie side by side, and as many positions of a value, this is one.
template <typename Element, int kInputs>
WEFT_INLINE void write_head(const KvWrite& op) {
  const int64_t head_dim = op.layout.head_dim, tokens = op.layout.block_tokens;
  const int64_t padded = (head_dim + 15) / 16 * 16;
  Element* head = reinterpret_cast<Element*>(op.head);
  Element* keys = head + op.slot * kInputs;
  Element* values =
      head + head_dim * tokens + op.slot / kInputs * kInputs * padded + op.slot % kInputs;
  for (int64_t d = 0; d < head_dim; d += 16) {
    const int64_t count = head_dim - d < 16 ? head_dim - d : 16;
    Element k[16], v[16];
    store_rounded(k, load_some(op.k + d, count));
    store_rounded(v, load_some(op.v + d, count));
    for (int64_t i = 0; i < count; ++i) {
      keys[(d + i) / kInputs * kInputs * tokens + (d + i) % kInputs] = k[i];
    }
    for (int64_t i = 0; i < 16; ++i) values[(d + i) * kInputs] = v[i];
  }
}

// A vector of head_dim as codes, padded with zeros to whole sixteens; returns its scale.
WEFT_INLINE float quantize_head(const float* x, int64_t head_dim, int32_t* codes) {
  F32x16 largest_lanes = zero_f32();
  bool finite = true;
  for (int64_t d = 0; d < head_dim; d += 16) {
    const F32x16 size = abs(load_some(x + d, head_dim - d < 16 ? head_dim - d : 16));
    finite = finite && bits(size < broadcast(__builtin_inff())) == 0xffff;
    largest_lanes = max(largest_lanes, size);
  }
  const float largest = reduce_max(largest_lanes);
  const bool usable = finite && largest >= kSmallestGroup;
  const F32x16 inverse = broadcast(usable ? 127.0f / largest : 0.0f);
  for (int64_t d = 0; d < head_dim; d += 16) {
    const F32x16 some = load_some(x + d, head_dim - d < 16 ? head_dim - d : 16);
    store_int(codes + d, usable ? to_int(some * inverse) : broadcast_int(0));
  }
  return !finite ? __builtin_nanf("") : usable ? largest / 127.0f : 0.0f;
}

void write_codes(const KvWrite& op) {
  const int64_t head_dim = op.layout.head_dim, tokens = op.layout.block_tokens;
  const int64_t padded = (head_dim + 15) / 16 * 16, slot = op.slot;
  int32_t codes[kMaxHeadDim];
  auto* keys = reinterpret_cast<int8_t*>(op.head) + slot / 16 * 32 + slot % 16;
  auto* scales = reinterpret_cast<float*>(op.head + (head_dim + padded) * tokens);
  scales[slot] = quantize_head(op.k, head_dim, codes);
  for (int64_t d = 0; d < head_dim; ++d) {
    keys[d / 2 * 2 * tokens + d % 2 * 16] = static_cast<int8_t>(codes[d]);
  }
  auto* values = reinterpret_cast<int8_t*>(op.head) + head_dim * tokens + slot / 2 * 2 * padded +
                 slot % 2 * 16;
  scales[tokens + slot] = quantize_head(op.v, head_dim, codes);
  for (int64_t d = 0; d < padded; ++d) {
    values[d / 16 * 32 + d % 16] = static_cast<int8_t>(codes[d]);
  }
}

void write_kv(const KvWrite& op) {
  if (op.layout.head_dim > kMaxHeadDim) __builtin_trap();  // the scratch would overflow
  if (op.layout.type == KvType::kQ8) {
    write_codes(op);
  } else if (op.layout.type == KvType::kF32) {
    write_head<float, 1>(op);
  } else if (op.layout.type == KvType::kBF16) {
    write_head<CachedBf16, 2>(op);
  } else {
    write_head<CachedF16, 1>(op);
  }
}

WEFT_INLINE void fill_vector_kernels(KernelTable& table) {
  table.add = add;
  table.rms_norm = rms_norm;
  table.scale = scale;
  table.rope = rope;
  table.write_kv = write_kv;
  table.silu_mul = silu_mul;
  table.gelu_tanh_mul = gelu_tanh_mul;
  table.softcap = softcap;
}

}  // namespace
}  // namespace weft::kernels
