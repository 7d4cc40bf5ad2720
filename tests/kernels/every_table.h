// What the tests of the kernels share: every table that this processor can run, bits to compare
// (all NaN count as one: their payloads are the processor's), random numbers.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "base/thread_team.h"
#include "kernels/kernels.h"

namespace weft::kernels {

inline std::vector<const KernelTable*> every_table() {
  prepare_this_thread();
  std::vector<const KernelTable*> tables;
  for (const Isa isa : {Isa::kPortable, Isa::kAvx2, Isa::kAvx512, Isa::kNeon})
    if (const KernelTable* table = table_for(isa)) tables.push_back(table);
  return tables;
}

inline uint32_t bits_of(float x) {
  return std::isnan(x) ? 0x7fc00000u : std::bit_cast<uint32_t>(x);
}

// Fails at the first number whose bits differ.
inline testing::AssertionResult same_bits(const std::vector<float>& expected,
                                          const std::vector<float>& actual) {
  if (expected.size() != actual.size()) return testing::AssertionFailure() << "sizes differ";
  for (size_t i = 0; i < expected.size(); ++i)
    if (bits_of(expected[i]) != bits_of(actual[i]))
      return testing::AssertionFailure()
             << "element " << i << " of " << expected.size() << ": " << std::hexfloat << expected[i]
             << " expected, " << actual[i] << " found";
  return testing::AssertionSuccess();
}

// Gaussian numbers from a seed.
class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  float number(float spread = 1.0f) { return spread * normal_(engine_); }
  int64_t below(int64_t bound) {
    return static_cast<int64_t>(engine_() % static_cast<uint64_t>(bound));
  }
  std::vector<float> numbers(int64_t count, float spread = 1.0f) {
    std::vector<float> all(static_cast<size_t>(count));
    for (float& x : all) x = number(spread);
    return all;
  }

 private:
  std::mt19937 engine_;
  std::normal_distribution<float> normal_;
};

}  // namespace weft::kernels
