// Activations laid out by every table have the bytes of the reference.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/linear_case.h"

namespace weft::kernels {
namespace {

constexpr int64_t kCols = 768;

// The same bytes, except that a NaN scale is only asked to be NaN.
void expect_same(const Activations& want, const Activations& found) {
  const int64_t groups = want.num_tokens * want.num_groups;
  const int64_t size = want.type == ActivationType::kInt8   ? 1
                       : want.type == ActivationType::kBF16 ? 2
                                                            : 4;
  EXPECT_EQ(0, std::memcmp(want.values, found.values, static_cast<size_t>(groups * 32 * size)));
  if (want.type != ActivationType::kInt8) return;
  EXPECT_EQ(0, std::memcmp(want.sums, found.sums, static_cast<size_t>(groups) * 8));
  for (int64_t g = 0; g < groups; ++g) {
    ASSERT_EQ(bits_of(want.scales[g]), bits_of(found.scales[g])) << "group " << g;
  }
}

void expect_every_table_agrees(const PanelLayout& layout, const std::vector<float>& x,
                               int64_t num_tokens) {
  const LaidOut want(layout, x, num_tokens, reference::prepare);
  for (const KernelTable* table : every_table()) {
    SCOPED_TRACE(table->name);
    const LaidOut found(layout, x, num_tokens, table->prepare);
    expect_same(want.input, found.input);
  }
}

TEST(LinearPrepare, EqualsTheReference) {
  Random random(1);
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kQ8_0}) {
    for (const auto& [name, map] : input_maps(dtype, kCols)) {
      SCOPED_TRACE(name);
      const PanelLayout layout(tensor::panel_format(dtype), 16, map);
      expect_every_table_agrees(layout, random.numbers(3 * map.inputs().size(), 3.0f), 3);
    }
  }
}

TEST(LinearPrepare, AgreesOnExtremes) {
  Random random(2);
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const DType dtype : {DType::kBF16, DType::kQ8_0}) {
    const PanelLayout layout(tensor::panel_format(dtype), 16, InputMap::whole(kCols));
    auto x = random.numbers(kCols);
    const auto group = [&](size_t g, float factor) {
      for (size_t i = 32 * g; i < 32 * g + 32; ++i) x[i] *= factor;
    };
    group(0, 0.0f);
    group(1, 1e-39f);  // denormal
    group(2, 1e-37f);  // normal, but below the smallest group
    group(3, 1e-30f);  // just above it
    group(4, 1e37f);
    x[5 * 32 + 7] = kInfinity;
    x[6 * 32 + 31] = -kInfinity;
    x[7 * 32 + 16] = std::numeric_limits<float>::quiet_NaN();
    x[8 * 32] = 127.5f;  // ties round to even
    for (size_t i = 1; i < 32; ++i) x[9 * 32 + i] = static_cast<float>(i) + 0.5f;
    x[9 * 32] = 127.0f;
    expect_every_table_agrees(layout, x, 1);
  }
}

TEST(LinearPrepare, QuantisesAsWritten) {
  const PanelLayout layout(tensor::panel_format(DType::kQ8_0), 16, InputMap::whole(64));
  std::vector<float> x(64, 0.0f);
  for (size_t i = 0; i < 32; ++i) x[i] = static_cast<float>(i) - 16.0f;  // largest 16
  const LaidOut laid(layout, x, 1, reference::prepare);
  const auto* codes = static_cast<const int8_t*>(laid.input.values);
  EXPECT_EQ(-127, codes[0]);
  EXPECT_EQ(0, codes[16]);
  EXPECT_EQ(119, codes[31]);  // 15 * 127 / 16 = 119.06
  EXPECT_EQ(16.0f / 127.0f, laid.input.scales[0]);
  int sum = 0;
  for (int i = 0; i < 16; ++i) sum += codes[i];
  EXPECT_EQ(sum, laid.input.sums[0]);
  EXPECT_EQ(0.0f, laid.input.scales[1]);
  EXPECT_EQ(0, codes[40]);
}

TEST(LinearPrepare, FindsWhatEightBitsLost) {
  Random random(3);
  for (const int64_t num_inputs : {32, 200, 768}) {
    const PanelLayout layout(tensor::panel_format(DType::kQ8_0), 16, InputMap::whole(num_inputs));
    auto x = random.numbers(num_inputs);
    std::fill(x.begin(), x.begin() + 32, 0.0f);
    const LaidOut laid(layout, x, 1, reference::prepare);
    const auto size = static_cast<size_t>(num_inputs);
    std::vector<float> want(size);
    reference::prepare_error(layout.inputs, x.data(), laid.input, 0, want.data());
    for (const KernelTable* table : every_table()) {
      SCOPED_TRACE(table->name);
      std::vector<float> found(size, 5.0f);
      table->prepare_error(layout.inputs, x.data(), laid.input, 0, found.data());
      EXPECT_TRUE(same_bits(want, found));
    }
    for (size_t i = 0; i < size; ++i) {
      // Half a step of the group's scale, and nothing where the group is zero.
      ASSERT_LE(std::fabs(want[i]), 0.5001f * laid.input.scales[i / 32]) << i;
    }
  }
}

TEST(LinearPrepare, FindsWhatBf16Lost) {
  Random random(4);
  for (const int64_t num_inputs : {32, 200, 768}) {
    const PanelLayout layout(tensor::panel_format(DType::kBF16), 16, InputMap::whole(num_inputs));
    const auto x = random.numbers(num_inputs);
    const LaidOut laid(layout, x, 1, reference::prepare);
    const auto size = static_cast<size_t>(num_inputs);
    std::vector<float> want(size);
    reference::prepare_error(layout.inputs, x.data(), laid.input, 0, want.data());
    for (const KernelTable* table : every_table()) {
      SCOPED_TRACE(table->name);
      std::vector<float> found(size, 5.0f);
      table->prepare_error(layout.inputs, x.data(), laid.input, 0, found.data());
      EXPECT_TRUE(same_bits(want, found));
    }
    float largest = 0.0f;
    for (size_t i = 0; i < size; ++i) {
      // Half a unit of the last of 8 bits.
      ASSERT_LE(std::fabs(want[i]), 0x1p-8f * std::fabs(x[i])) << i;
      largest = std::max(largest, std::fabs(want[i]));
    }
    EXPECT_GT(largest, 0.0f);
  }
}

TEST(LinearPrepare, PlacesPartsApartAndAligned) {
  for (const ActivationType type :
       {ActivationType::kF32, ActivationType::kBF16, ActivationType::kInt8}) {
    alignas(64) static std::byte memory[64];
    const Activations a = place_activations(type, 3, 5, memory);
    EXPECT_EQ(memory, a.values);
    const int64_t bytes = activation_bytes(type, 3, 5);
    EXPECT_EQ(0, bytes % 64);
    if (type != ActivationType::kInt8) {
      EXPECT_EQ(nullptr, a.scales);
      continue;
    }
    const auto at = [&](const void* p) { return static_cast<const std::byte*>(p) - memory; };
    EXPECT_GE(at(a.scales), 3 * 5 * 32);
    EXPECT_GE(at(a.sums) - at(a.scales), 3 * 5 * 4);
    EXPECT_GE(bytes - at(a.sums), 3 * 5 * 8);
    EXPECT_EQ(0, at(a.scales) % 64);
    EXPECT_EQ(0, at(a.sums) % 64);
  }
}

}  // namespace
}  // namespace weft::kernels
