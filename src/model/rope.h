// Rotary frequencies with the scalings that models are trained or extended with.
#pragma once

#include <vector>

#include "model/config.h"
#include "tensor/buffer.h"

namespace weft::model {

struct RopeFrequencies {
  std::vector<double> inv_freq;  // [rotary_dim / 2]
  double magnitude = 1.0;        // multiplies cos and sin (YaRN)
};
RopeFrequencies rope_frequencies(const RopeConfig& config);

// The table of all positions [0, max_positions), and its owner.
class RopeCache {
 public:
  RopeCache(const RopeConfig& config, int64_t max_positions);
  kernels::RopeTable table() const { return {buffer_.as<float>(), num_pairs_}; }
  int64_t num_positions() const { return num_positions_; }

 private:
  tensor::Buffer buffer_;
  int64_t num_pairs_ = 0, num_positions_ = 0;
};

}  // namespace weft::model
