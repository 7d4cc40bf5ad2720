#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "kernels/reference_vector.h"

namespace weft::kernels::reference {
namespace {

// rint(2^40 e), e = exp((logit - max) * inv_temperature) as floats, at most 1; NaN counts 0.
int64_t weight_of(float logit, float max, float inv_temperature) {
  const float e = exp_float(std::fmin((logit - max) * inv_temperature, 0.0f));
  return std::isnan((logit - max) * inv_temperature)
             ? 0
             : static_cast<int64_t>(std::nearbyint(static_cast<double>(e) * 0x1p40));
}

// The finaliser of splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
uint64_t finalize(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace

void top_k(const float* logits, int64_t n, int32_t first_id, int k, Candidate* out,
           int64_t* num_nan) {
  std::vector<Candidate> all;
  for (int64_t i = 0; i < n; ++i)
    if (!std::isnan(logits[i])) all.push_back({logits[i], first_id + static_cast<int32_t>(i)});
  *num_nan = n - static_cast<int64_t>(all.size());
  std::sort(all.begin(), all.end(), better);
  for (size_t i = 0; i < static_cast<size_t>(k); ++i)
    out[i] = i < all.size() ? all[i] : Candidate{};
}

int64_t exp_sum(const float* logits, int64_t n, float max, float inv_temperature) {
  int64_t sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += weight_of(logits[i], max, inv_temperature);
  return sum;
}

int64_t locate(const float* logits, int64_t n, float max, float inv_temperature, int64_t target) {
  int64_t sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    sum += weight_of(logits[i], max, inv_temperature);
    if (sum > target) return i;
  }
  return n;
}

// finalize(finalize(position + golden) ^ (id << 32 | bits)); every NaN counts as 0x7fc00000.
uint64_t hash_logits(const float* logits, int64_t n, int64_t position, int32_t first_id) {
  const uint64_t key = finalize(static_cast<uint64_t>(position) + 0x9e3779b97f4a7c15u);
  uint64_t sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t bits = std::isnan(logits[i]) ? 0x7fc00000u : std::bit_cast<uint32_t>(logits[i]);
    const auto id = static_cast<uint32_t>(first_id + static_cast<int32_t>(i));
    sum += finalize(key ^ (static_cast<uint64_t>(id) << 32 | bits));
  }
  return sum;
}

}  // namespace weft::kernels::reference
