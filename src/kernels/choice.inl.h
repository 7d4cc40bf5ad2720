// The kernels of the choice of a token: adjusted logits, the ids that are kept, the bins by which
// a boundary among them is found. One text for every instruction set, like vocab.inl.h.
#pragma once

#include "kernels/vocab.inl.h"

namespace weft::kernels {
namespace {

// Of each lane: its number, and the bit that stands for it in half a word of a mask.
alignas(64) constexpr int32_t kLaneNumbers[16] = {0, 1, 2,  3,  4,  5,  6,  7,
                                                  8, 9, 10, 11, 12, 13, 14, 15};
alignas(64) constexpr int32_t kLaneBits[16] = {1 << 0,  1 << 1,  1 << 2,  1 << 3, 1 << 4,  1 << 5,
                                               1 << 6,  1 << 7,  1 << 8,  1 << 9, 1 << 10, 1 << 11,
                                               1 << 12, 1 << 13, 1 << 14, 1 << 15};

// ---------------------------------------------------------------- adjusted logits

void adjust(float* logits, Range ids, const TokenAdjustment* adjustments, int64_t count,
            float repetition_penalty, float* before) {
  constexpr float kLargest = __FLT_MAX__;
  for (int64_t i = 0; i < count; ++i) {
    const TokenAdjustment& a = adjustments[i];
    if (!ids.contains(a.id)) continue;
    float& logit = logits[a.id - ids.begin];
    before[i] = logit;
    float l = logit + a.bias;
    if (a.repeated != 0) l = l > 0.0f ? l / repetition_penalty : l * repetition_penalty;
    l = l - a.penalty;
    logit = l > kLargest ? kLargest : l;
  }
}

void forbid(float* logits, int64_t n, const uint32_t* mask) {
  const I32x16 lane_bits = load_int(kLaneBits);
  const F32x16 forbidden = broadcast(-__builtin_inff());
  for (int64_t i = 0; i < n; i += 16) {
    const int64_t lanes = n - i < 16 ? n - i : 16;
    const uint32_t half = mask[i / 32] >> (i % 32) & 0xffffu;
    if (half == 0xffffu) continue;
    const Mask16 allowed =
        (broadcast_int(static_cast<int32_t>(half)) & lane_bits) > broadcast_int(0);
    store_n(logits + i, select(allowed, load_n(logits + i, lanes), forbidden), lanes);
  }
}

// ---------------------------------------------------------------- weights

void weigh(const float* logits, int64_t n, float max, float inv_temperature, int64_t* out) {
  const SoftmaxScale by{broadcast(max), broadcast(inv_temperature)};
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) store_i64(out + i, fixed_weights(load(logits + i), by, 16));
  if (i == n) return;
  int64_t rest[16];
  store_i64(rest, fixed_weights(load_n(logits + i, n - i), by, n - i));
  for (int64_t lane = 0; i + lane < n; ++lane) out[i + lane] = rest[lane];
}

// Sixteen logits, their ids, and what is made of both.
struct LaneIds {
  I32x16 first;  // ids of the first sixteen
  LaneIds(int32_t first_id) : first(load_int(kLaneNumbers) + broadcast_int(first_id)) {}
  WEFT_INLINE I32x16 at(int64_t i) const { return first + broadcast_int(static_cast<int32_t>(i)); }
};

// KeptIds, a lane each.
struct KeptLanes {
  F32x16 max, inv_temperature, lowest, last, centre, farthest;
  I32x16 last_id, farthest_id;
  bool by_deviation;

  KeptLanes(const KeptIds& kept)
      : max(broadcast(kept.max)),
        inv_temperature(broadcast(kept.inv_temperature)),
        lowest(broadcast(kept.lowest)),
        last(broadcast(kept.last.logit)),
        centre(broadcast(kept.centre)),
        farthest(broadcast(kept.farthest)),
        last_id(broadcast_int(kept.last.id)),
        farthest_id(broadcast_int(kept.farthest_id)),
        by_deviation(kept.farthest < __builtin_inff()) {}

  WEFT_INLINE F32x16 scaled(const F32x16& x) const {
    return min(zero_f32(), (x - max) * inv_temperature);  // NaN stays: min returns its second
  }
  WEFT_INLINE F32x16 deviation(const F32x16& s) const { return abs(s - centre); }
  WEFT_INLINE Mask16 holds(const F32x16& x, const F32x16& s, const I32x16& ids,
                           int64_t lanes) const {
    Mask16 in = (s >= lowest) & ((x > last) | ((x == last) & ~(ids > last_id)));
    if (by_deviation) {
      const F32x16 d = deviation(s);
      in = in & ((d < farthest) | ((d == farthest) & ~(ids > farthest_id)));
    }
    return in & first_lanes(lanes);
  }
};

WEFT_INLINE I64x16 fixed_point(const F32x16& x, Mask16 counts) {
  return to_i64(select(counts, x, zero_f32()) * broadcast(0x1p40f));
}

WEFT_INLINE bool keeps_all(const KeptIds& kept) {
  const float infinity = __builtin_inff();
  return kept.lowest == -infinity && kept.last.logit == -infinity && kept.farthest == infinity;
}

int64_t kept_sum(const float* logits, int64_t n, int32_t first_id, const KeptIds& kept) {
  if (keeps_all(kept)) return exp_sum(logits, n, kept.max, kept.inv_temperature);
  const KeptLanes by(kept);
  const LaneIds ids(first_id);
  I64x16 sum = zero_i64();
  for (int64_t i = 0; i < n; i += 16) {
    const int64_t lanes = n - i < 16 ? n - i : 16;
    const F32x16 x = load_n(logits + i, lanes), s = by.scaled(x);
    const Mask16 in = by.holds(x, s, ids.at(i), lanes);
    if (bits(in) != 0) sum = sum + fixed_point(exp_nonpositive(s), in);
  }
  return reduce_add(sum);
}

int64_t kept_moment(const float* logits, int64_t n, int32_t first_id, const KeptIds& kept) {
  const KeptLanes by(kept);
  const LaneIds ids(first_id);
  I64x16 sum = zero_i64();
  for (int64_t i = 0; i < n; i += 16) {
    const int64_t lanes = n - i < 16 ? n - i : 16;
    const F32x16 x = load_n(logits + i, lanes), s = by.scaled(x);
    const Mask16 in = by.holds(x, s, ids.at(i), lanes);
    if (bits(in) == 0) continue;
    const F32x16 e = exp_nonpositive(s);
    sum = sum + fixed_point(e * s, in & (e > zero_f32()));
  }
  return reduce_add(sum);
}

// Chunks by their sums; inside the chunk that crosses the target, lane by lane.
int64_t kept_locate(const float* logits, int64_t n, int32_t first_id, const KeptIds& kept,
                    int64_t target) {
  if (keeps_all(kept)) return locate(logits, n, kept.max, kept.inv_temperature, target);
  constexpr int64_t kChunk = 1024;
  const KeptLanes by(kept);
  const LaneIds ids(first_id);
  int64_t sum = 0;
  for (int64_t begin = 0; begin < n; begin += kChunk) {
    const int64_t end = n - begin < kChunk ? n : begin + kChunk;
    const int64_t chunk =
        kept_sum(logits + begin, end - begin, first_id + static_cast<int32_t>(begin), kept);
    if (sum + chunk <= target) {
      sum += chunk;
      continue;
    }
    for (int64_t i = begin; i < end; i += 16) {
      const int64_t lanes = end - i < 16 ? end - i : 16;
      const F32x16 x = load_n(logits + i, lanes), s = by.scaled(x);
      int64_t weights[16];
      store_i64(weights, fixed_point(exp_nonpositive(s), by.holds(x, s, ids.at(i), lanes)));
      for (int64_t lane = 0; lane < lanes; ++lane) {
        sum += weights[lane];
        if (sum > target) return i + lane;
      }
    }
  }
  return n;
}

// ---------------------------------------------------------------- bins

// The number's part of a key. Adding zero makes one of both zeros, and of what is flushed to them.
WEFT_INLINE I32x16 number_keys(const F32x16& x, KeptOrder order) {
  const I32x16 number = as_int(x + zero_f32());
  if (order == KeptOrder::kDeviation) return number ^ broadcast_int(INT32_MAX);
  return number ^ (shift_right<31>(number) | broadcast_int(INT32_MIN));
}

WEFT_INLINE uint64_t order_key(int32_t number, int32_t id) {
  return uint64_t{static_cast<uint32_t>(number)} << 22 | static_cast<uint64_t>(kMostIds - 1 - id);
}

// Whether a key agrees with `wanted` above the bits of the level, as far as the number tells.
template <int kLevel>
WEFT_INLINE Mask16 agree(const I32x16& keys, int32_t wanted) {
  if constexpr (kLevel == 0) return first_lanes(16);
  if constexpr (kLevel == 1)
    return shift_right_logical<21>(keys) == shift_right_logical<21>(broadcast_int(wanted));
  if constexpr (kLevel == 2)
    return shift_right_logical<10>(keys) == shift_right_logical<10>(broadcast_int(wanted));
  return keys == broadcast_int(wanted);
}

// From so many lanes on, adding nothing for the others costs less than the branches that find out
// which they are.
constexpr int kFewLanes = 12;

template <int kLevel>
void count_level(const float* logits, int64_t n, int32_t first_id, const KeptIds& kept,
                 KeptOrder order, uint64_t key, KeyBin* bins) {
  constexpr KeyLevel kAt = kKeyLevels[kLevel];
  const KeptLanes by(kept);
  const LaneIds ids(first_id);
  const auto wanted = static_cast<int32_t>(static_cast<uint32_t>(key >> 22));
  for (int64_t i = 0; i < n; i += 16) {
    const int64_t lanes = n - i < 16 ? n - i : 16;
    const F32x16 x = load_n(logits + i, lanes), s = by.scaled(x);
    const I32x16 numbers = number_keys(order == KeptOrder::kDeviation ? by.deviation(s) : x, order);
    const Mask16 held = by.holds(x, s, ids.at(i), lanes) & agree<kLevel>(numbers, wanted);
    uint32_t in = bits(held);
    if (in == 0) continue;
    int64_t weights[16];
    int32_t number[16];
    store_i64(weights, fixed_point(exp_nonpositive(s), held));
    store_int(number, numbers);
    const auto add = [&](int lane, int64_t count) {
      const uint64_t own = order_key(number[lane], first_id + static_cast<int32_t>(i) + lane);
      if (kLevel > 2 && own >> (kAt.shift + kAt.bits) != key >> (kAt.shift + kAt.bits)) return;
      KeyBin& bin = bins[own >> kAt.shift & ((1u << kAt.bits) - 1u)];
      bin.count += count;
      bin.mass += weights[lane];
    };
    if (__builtin_popcount(in) < kFewLanes) {
      for (; in != 0; in &= in - 1) add(__builtin_ctz(in), 1);
    } else {
      for (int lane = 0; lane < 16; ++lane) add(lane, in >> lane & 1u);
    }
  }
}

void count_keys(const float* logits, int64_t n, int32_t first_id, const KeptIds& kept,
                KeptOrder order, uint64_t key, int level, KeyBin* bins) {
  if (level == 0) return count_level<0>(logits, n, first_id, kept, order, key, bins);
  if (level == 1) return count_level<1>(logits, n, first_id, kept, order, key, bins);
  if (level == 2) return count_level<2>(logits, n, first_id, kept, order, key, bins);
  if (level == 3) return count_level<3>(logits, n, first_id, kept, order, key, bins);
  count_level<4>(logits, n, first_id, kept, order, key, bins);
}

WEFT_INLINE void fill_choice_kernels(KernelTable& table) {
  table.adjust = adjust;
  table.forbid = forbid;
  table.weigh = weigh;
  table.kept_sum = kept_sum;
  table.kept_moment = kept_moment;
  table.kept_locate = kept_locate;
  table.count_keys = count_keys;
}

}  // namespace
}  // namespace weft::kernels
