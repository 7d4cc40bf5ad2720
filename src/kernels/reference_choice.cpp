#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "kernels/reference_vector.h"

namespace weft::kernels::reference {
namespace {

float scaled(float logit, const KeptIds& kept) {
  const float s = (logit - kept.max) * kept.inv_temperature;
  return s > 0.0f ? 0.0f : s;
}

float deviation(float logit, const KeptIds& kept) {
  return std::fabs(scaled(logit, kept) - kept.centre);
}

bool holds(float logit, int32_t id, const KeptIds& kept) {
  if (std::isnan(logit) || !(scaled(logit, kept) >= kept.lowest)) return false;
  if (better(kept.last, {logit, id})) return false;
  const float d = deviation(logit, kept);
  return d < kept.farthest || (d == kept.farthest && id <= kept.farthest_id);
}

int64_t fixed_point(float x) {
  return static_cast<int64_t>(std::nearbyint(static_cast<double>(x) * 0x1p40));
}

uint64_t key_of(float logit, int32_t id, const KeptIds& kept, KeptOrder order) {
  const float number = order == KeptOrder::kLogit ? logit : deviation(logit, kept);
  const uint32_t bits = number == 0.0f ? 0 : std::bit_cast<uint32_t>(number);
  const bool negative = (bits & 0x80000000u) != 0;
  const uint32_t ordered = order == KeptOrder::kDeviation ? bits ^ 0x7fffffffu
                           : negative                     ? ~bits
                                                          : bits | 0x80000000u;
  return uint64_t{ordered} << 22 | static_cast<uint64_t>(kMostIds - 1 - id);
}

}  // namespace

void adjust(float* logits, Range ids, const TokenAdjustment* adjustments, int64_t count,
            float repetition_penalty, float* before) {
  for (int64_t i = 0; i < count; ++i) {
    const TokenAdjustment& a = adjustments[i];
    if (!ids.contains(a.id)) continue;
    float& logit = logits[a.id - ids.begin];
    before[i] = logit;
    logit += a.bias;
    if (a.repeated != 0)
      logit = logit > 0.0f ? logit / repetition_penalty : logit * repetition_penalty;
    logit = std::min(logit - a.penalty, std::numeric_limits<float>::max());
  }
}

void forbid(float* logits, int64_t n, const uint32_t* mask) {
  for (int64_t i = 0; i < n; ++i)
    if ((mask[i / 32] >> (i % 32) & 1u) == 0) logits[i] = -std::numeric_limits<float>::infinity();
}

void weigh(const float* logits, int64_t n, float max, float inv_temperature, int64_t* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = exp_sum(logits + i, 1, max, inv_temperature);
}

int64_t kept_sum(const float* logits, int64_t n, int32_t first_id, const KeptIds& kept) {
  int64_t sum = 0;
  for (int64_t i = 0; i < n; ++i)
    if (holds(logits[i], first_id + static_cast<int32_t>(i), kept))
      sum += exp_sum(logits + i, 1, kept.max, kept.inv_temperature);
  return sum;
}

int64_t kept_moment(const float* logits, int64_t n, int32_t first_id, const KeptIds& kept) {
  int64_t sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (!holds(logits[i], first_id + static_cast<int32_t>(i), kept)) continue;
    const float s = scaled(logits[i], kept), e = exp_float(s);
    if (e > 0.0f) sum += fixed_point(e * s);
  }
  return sum;
}

int64_t kept_locate(const float* logits, int64_t n, int32_t first_id, const KeptIds& kept,
                    int64_t target) {
  int64_t sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    sum += kept_sum(logits + i, 1, first_id + static_cast<int32_t>(i), kept);
    if (sum > target) return i;
  }
  return n;
}

void count_keys(const float* logits, int64_t n, int32_t first_id, const KeptIds& kept,
                KeptOrder order, uint64_t key, int level, KeyBin* bins) {
  const KeyLevel at = kKeyLevels[level];
  for (int64_t i = 0; i < n; ++i) {
    const int32_t id = first_id + static_cast<int32_t>(i);
    if (!holds(logits[i], id, kept)) continue;
    const uint64_t own = key_of(logits[i], id, kept, order);
    if (own >> (at.shift + at.bits) != key >> (at.shift + at.bits)) continue;
    KeyBin& bin = bins[own >> at.shift & ((1u << at.bits) - 1u)];
    ++bin.count;
    bin.mass += exp_sum(logits + i, 1, kept.max, kept.inv_temperature);
  }
}

}  // namespace weft::kernels::reference
