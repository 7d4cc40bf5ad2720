// The kernels over logits: candidates, exact sums of exponentials, hashes. One text for every
// instruction set, like vector.inl.h.
#pragma once

#include "kernels/float_math.inl.h"
#include "kernels/kernels.h"

namespace weft::kernels {
namespace {

// ---------------------------------------------------------------- candidates

// Keeps out[0 .. count) sorted, best first. Ids arrive in ascending order, so a tie stays behind.
WEFT_INLINE int insert(Candidate* out, int k, int count, float logit, int32_t id) {
  int at = count < k ? count : k - 1;
  const int new_count = at + 1;
  for (; at > 0 && out[at - 1].logit < logit; --at) out[at] = out[at - 1];
  out[at].logit = logit;
  out[at].id = id;
  return new_count;
}

// Whole vectors are passed over where no lane beats the worst kept candidate: after the first few
// thousand logits, almost all of them.
void top_k(const float* logits, int64_t n, int32_t first_id, int k, Candidate* out,
           int64_t* num_nan) {
  const float infinity = __builtin_inff();
  int count = 0;
  int64_t nans = 0;
  for (int64_t i = 0; i < n; i += 16) {
    const int64_t lanes = n - i < 16 ? n - i : 16;
    const F32x16 x = lanes == 16 ? load(logits + i) : load_n(logits + i, lanes);
    const uint32_t nan = bits(is_nan(x));
    nans += __builtin_popcount(nan);
    const float worst = k > 0 ? out[k - 1].logit : infinity;
    uint32_t good = count < k ? ~nan & 0xffffu : bits(x > broadcast(worst));
    if (lanes < 16) good &= (1u << lanes) - 1u;
    for (; good != 0; good &= good - 1) {
      const int64_t at = i + __builtin_ctz(good);
      if (count < k || logits[at] > out[k - 1].logit)
        count = insert(out, k, count, logits[at], first_id + static_cast<int32_t>(at));
    }
  }
  *num_nan = nans;
  for (; count < k; ++count) {
    out[count].logit = -infinity;
    out[count].id = -1;
  }
}

// ---------------------------------------------------------------- sums of exponentials

struct SoftmaxScale {
  F32x16 max, inv_temperature;
};

// rint(2^40 e), e = exp((logit - max) * inv_temperature) as floats; the scaling is exact. A logit
// above max counts as max, NaN as nothing.
WEFT_INLINE I64x16 fixed_weights(const F32x16& logits, const SoftmaxScale& by, int64_t lanes) {
  const F32x16 x = (logits - by.max) * by.inv_temperature;
  const F32x16 e = exp_nonpositive(min(zero_f32(), x));  // min returns its second for NaN
  const Mask16 counts = (e >= zero_f32()) & first_lanes(lanes);
  return to_i64(select(counts, e, zero_f32()) * broadcast(0x1p40f));
}

int64_t exp_sum(const float* logits, int64_t n, float max, float inv_temperature) {
  const SoftmaxScale by{broadcast(max), broadcast(inv_temperature)};
  I64x16 sum = zero_i64();
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) sum = sum + fixed_weights(load(logits + i), by, 16);
  if (i < n) sum = sum + fixed_weights(load_n(logits + i, n - i), by, n - i);
  return reduce_add(sum);
}

// Chunks by their sums; inside the chunk that crosses the target, lane by lane.
int64_t locate(const float* logits, int64_t n, float max, float inv_temperature, int64_t target) {
  constexpr int64_t kChunk = 1024;
  const SoftmaxScale by{broadcast(max), broadcast(inv_temperature)};
  int64_t sum = 0;
  for (int64_t begin = 0; begin < n; begin += kChunk) {
    const int64_t end = n - begin < kChunk ? n : begin + kChunk;
    const int64_t chunk = exp_sum(logits + begin, end - begin, max, inv_temperature);
    if (sum + chunk <= target) {
      sum += chunk;
      continue;
    }
    for (int64_t i = begin; i < end; i += 16) {
      const int64_t lanes = end - i < 16 ? end - i : 16;
      int64_t weights[16];
      store_i64(weights, fixed_weights(load_n(logits + i, lanes), by, lanes));
      for (int64_t lane = 0; lane < lanes; ++lane) {
        sum += weights[lane];
        if (sum > target) return i + lane;
      }
    }
  }
  return n;
}

// ---------------------------------------------------------------- hash

// The finaliser of splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
WEFT_INLINE uint64_t finalize(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// mix = finalize(finalize(position + golden ratio) ^ (id << 32 | bits)); every NaN counts as
// 0x7fc00000, because its sign and payload differ between instruction sets.
uint64_t hash_logits(const float* logits, int64_t n, int64_t position, int32_t first_id) {
  const uint64_t key = finalize(static_cast<uint64_t>(position) + 0x9e3779b97f4a7c15u);
  uint64_t sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    uint32_t number = __builtin_bit_cast(uint32_t, logits[i]);
    number = (number & 0x7fffffffu) > 0x7f800000u ? 0x7fc00000u : number;
    const uint32_t id = static_cast<uint32_t>(first_id) + static_cast<uint32_t>(i);
    sum += finalize(key ^ (static_cast<uint64_t>(id) << 32 | number));
  }
  return sum;
}

WEFT_INLINE void fill_vocab_kernels(KernelTable& table) {
  table.top_k = top_k;
  table.exp_sum = exp_sum;
  table.locate = locate;
  table.hash_logits = hash_logits;
}

}  // namespace
}  // namespace weft::kernels
