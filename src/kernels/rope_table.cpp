// Rotary position embedding (RoFormer, arXiv:2104.09864): the table of angles.
#include "base/error.h"
#include "kernels/double_math.h"
#include "kernels/kernels.h"

namespace weft::kernels {

double rope_inv_freq(double base, int64_t pair, int64_t rotary_dim) {
  const double exponent = -2.0 * static_cast<double>(pair) / static_cast<double>(rotary_dim);
  return exp_double(exponent * log_double(base));
}

// The angle is one rounded product; its sine and cosine are rounded to FP32 once, after
// `magnitude`.
void rope_table(std::span<const double> inv_freq, double magnitude, int64_t max_positions,
                float* out) {
  const auto num_pairs = static_cast<int64_t>(inv_freq.size());
  for (const double frequency : inv_freq)
    WEFT_CHECK(frequency * static_cast<double>(max_positions) <= kMaxAngle,
               "an angle of {} positions at {} is out of range", max_positions, frequency);
  for (int64_t position = 0; position < max_positions; ++position) {
    float* cos_row = out + position * 2 * num_pairs;
    float* sin_row = cos_row + num_pairs;
    for (int64_t i = 0; i < num_pairs; ++i) {
      const SinCos turn =
          sincos_double(static_cast<double>(position) * inv_freq[static_cast<size_t>(i)]);
      cos_row[i] = static_cast<float>(turn.cos * magnitude);
      sin_row[i] = static_cast<float>(turn.sin * magnitude);
    }
  }
}

}  // namespace weft::kernels
