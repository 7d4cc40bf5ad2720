#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace weft::model {
namespace {

// Llama 3.1's rule: long wavelengths are stretched by the factor, short ones kept, those between
// interpolated (transformers modeling_rope_utils.py, _compute_llama3_parameters).
double llama3_scaled(double inv_freq, const RopeConfig& c) {
  const double wavelength = 2.0 * std::numbers::pi / inv_freq;
  const double original = static_cast<double>(c.original_context);
  if (wavelength < original / c.high_freq_factor) return inv_freq;
  if (wavelength > original / c.low_freq_factor) return inv_freq / c.factor;
  const double smooth =
      (original / wavelength - c.low_freq_factor) / (c.high_freq_factor - c.low_freq_factor);
  return (1.0 - smooth) * inv_freq / c.factor + smooth * inv_freq;
}

// The pair whose wavelength makes `rotations` turns over the original context.
double yarn_pair(double rotations, const RopeConfig& c) {
  return static_cast<double>(c.rotary_dim) *
         kernels::log_double(static_cast<double>(c.original_context) /
                             (rotations * 2.0 * std::numbers::pi)) /
         (2.0 * kernels::log_double(c.base));
}

void yarn(RopeFrequencies& f, const RopeConfig& c) {
  const double last = static_cast<double>(c.rotary_dim - 1);
  const double low = std::max(std::floor(yarn_pair(c.beta_fast, c)), 0.0);
  double high = std::min(std::ceil(yarn_pair(c.beta_slow, c)), last);
  if (high == low) high += 0.001;
  for (size_t i = 0; i < f.inv_freq.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    f.inv_freq[i] = f.inv_freq[i] / c.factor * ramp + f.inv_freq[i] * (1.0 - ramp);
  }
  f.magnitude =
      c.attention_factor > 0.0 ? c.attention_factor : 0.1 * kernels::log_double(c.factor) + 1.0;
}

}  // namespace

RopeFrequencies rope_frequencies(const RopeConfig& config) {
  RopeFrequencies f;
  const int64_t num_pairs = config.rotary_dim / 2;
  for (int64_t i = 0; i < num_pairs; ++i)
    f.inv_freq.push_back(kernels::rope_inv_freq(config.base, i, config.rotary_dim));
  switch (config.scaling) {
    case RopeScaling::kNone:
      break;
    case RopeScaling::kLinear:
      for (double& w : f.inv_freq) w /= config.factor;
      break;
    case RopeScaling::kLlama3:
      if (config.frequency_factors.empty())
        for (double& w : f.inv_freq) w = llama3_scaled(w, config);
      break;
    case RopeScaling::kYarn:
      yarn(f, config);
      break;
  }
  for (size_t i = 0; i < config.frequency_factors.size() && i < f.inv_freq.size(); ++i)
    f.inv_freq[i] /= config.frequency_factors[i];
  return f;
}

RopeCache::RopeCache(const RopeConfig& config, int64_t max_positions)
    : buffer_(max_positions * config.rotary_dim * static_cast<int64_t>(sizeof(float)),
              "the table of rotary positions"),
      num_pairs_(config.rotary_dim / 2),
      num_positions_(max_positions) {
  const RopeFrequencies f = rope_frequencies(config);
  kernels::rope_table(f.inv_freq, f.magnitude, max_positions, buffer_.as<float>());
}

}  // namespace weft::model
