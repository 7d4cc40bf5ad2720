// What the tests of cuts share: random weights and every way to cut a small number.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

namespace weft::parallel {

// Times within this of each other count as equal.
inline constexpr double kTolerance = 1e-9;

class Dice {
 public:
  explicit Dice(uint32_t seed) : engine_(seed) {}
  int64_t roll(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(engine_() % static_cast<uint64_t>(high - low + 1));
  }
  // Equal weights half of the time, else small integers or tenths.
  std::vector<double> weights(int64_t num_ranks) {
    const int64_t kind = roll(0, 3);
    std::vector<double> weights;
    for (int64_t r = 0; r < num_ranks; ++r)
      weights.push_back(kind <= 1   ? 1.0
                        : kind == 2 ? static_cast<double>(roll(1, 4))
                                    : static_cast<double>(roll(1, 30)) / 10.0);
    return weights;
  }

 private:
  std::mt19937_64 engine_;
};

inline std::vector<double> ones(int64_t n) {
  return std::vector<double>(static_cast<size_t>(n), 1.0);
}

// Calls visit(counts) for every way to write `total` as an ordered sum of `parts` terms >= 0.
template <typename Visit>
void each_composition(int64_t total, size_t parts, std::vector<int64_t>& counts,
                      const Visit& visit) {
  if (counts.size() + 1 == parts) {
    counts.push_back(total);
    visit(counts);
    counts.pop_back();
    return;
  }
  for (int64_t first = 0; first <= total; ++first) {
    counts.push_back(first);
    each_composition(total - first, parts, counts, visit);
    counts.pop_back();
  }
}

}  // namespace weft::parallel
