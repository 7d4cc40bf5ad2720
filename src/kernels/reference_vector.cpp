#include "kernels/reference_vector.h"

#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "kernels/float_math_constants.h"

namespace weft::kernels::reference {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// i + (i + 8), i + (i + 4), i + (i + 2), i + (i + 1).
float tree_sum(std::array<float, 16> lanes) {
  for (size_t half = 8; half > 0; half /= 2)
    for (size_t i = 0; i < half; ++i) lanes[i] = lanes[i] + lanes[i + half];
  return lanes[0];
}

}  // namespace

float exp_float(float x) {
  if (std::isnan(x)) return x;
  if (x < kExpLowest) return 0.0f;
  if (x > kExpHighest) return kInfinity;
  const float n = std::fma(x, kLog2E, kRounder) - kRounder;
  const float r = std::fma(n, -kLn2Low, std::fma(n, -kLn2High, x));
  float q = kExp[4];
  for (int i = 3; i >= 0; --i) q = std::fma(q, r, kExp[i]);
  const float p = std::fma(r * r, q, r) + 1.0f;
  const auto exponent = static_cast<uint32_t>(static_cast<int32_t>(n)) << 23;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(p) + exponent);
}

float tanh_float(float x) {
  const float z = std::fabs(x);
  if (z < kTanhSwitch) {
    const float s = z * z;
    float q = kTanh[4];
    for (int i = 3; i >= 0; --i) q = std::fma(q, s, kTanh[i]);
    return std::copysign(std::fma(z * s, q, z), x);
  }
  return std::copysign(1.0f - 2.0f / (exp_float(z + z) + 1.0f), x);
}

float silu(float x) { return x / (1.0f + exp_float(-x)); }

float gelu_tanh(float x) {
  const float inner = x + kGeluCubic * (x * x * x);
  return 0.5f * x * (1.0f + tanh_float(kGeluScale * inner));
}

void add(float* x, const float* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] = x[i] + y[i];
}

void scale(float* x, float factor, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] = x[i] * factor;
}

// Lane i % 16 collects fma(x, x, lane); r = 1 / sqrt(sum / n + eps); out = (x r) weight.
void rms_norm(const float* x, const float* weight, float eps, float* out, int64_t n) {
  std::array<float, 16> lanes{};
  for (int64_t i = 0; i < n; ++i) {
    float& lane = lanes[static_cast<size_t>(i % 16)];
    lane = std::fma(x[i], x[i], lane);
  }
  const float mean = tree_sum(lanes) / static_cast<float>(n);
  const float r = 1.0f / std::sqrt(mean + eps);
  for (int64_t i = 0; i < n; ++i) out[i] = (x[i] * r) * weight[i];
}

void silu_mul(float* gate, const float* up, int64_t n) {
  for (int64_t i = 0; i < n; ++i) gate[i] = silu(gate[i]) * up[i];
}

void gelu_tanh_mul(float* gate, const float* up, int64_t n) {
  for (int64_t i = 0; i < n; ++i) gate[i] = gelu_tanh(gate[i]) * up[i];
}

void softcap(float* x, float cap, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] = cap * tanh_float(x[i] / cap);
}

// Each product and each sum is rounded.
void rope(float* x, int64_t num_heads, int64_t head_dim, const float* cos, const float* sin,
          int64_t num_pairs, RopeLayout layout) {
  const bool halves = layout == RopeLayout::kHalves;
  for (int64_t head = 0; head < num_heads; ++head) {
    float* vector = x + head * head_dim;
    for (int64_t i = 0; i < num_pairs; ++i) {
      float& first = vector[halves ? i : 2 * i];
      float& second = vector[halves ? i + num_pairs : 2 * i + 1];
      const float a = first, b = second;
      first = a * cos[i] - b * sin[i];
      second = b * cos[i] + a * sin[i];
    }
  }
}

}  // namespace weft::kernels::reference
