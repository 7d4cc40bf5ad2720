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

// group: of all tokens.
bool is_outlier(const Activations& a, int64_t group) {
  const int64_t token = group / a.num_groups, g = group % a.num_groups;
  return (a.outliers[token * a.outlier_bytes() + g / 8] >> g % 8 & 1) != 0;
}

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
  ASSERT_EQ(want.outliers == nullptr, found.outliers == nullptr);
  for (int64_t g = 0; g < groups && want.outliers != nullptr; ++g) {
    ASSERT_EQ(is_outlier(want, g), is_outlier(found, g)) << "group " << g;
    if (!is_outlier(want, g)) continue;
    ASSERT_EQ(0, std::memcmp(want.error_values + 32 * g, found.error_values + 32 * g, 32)) << g;
    ASSERT_EQ(0, std::memcmp(want.error_sums + 2 * g, found.error_sums + 2 * g, 8)) << g;
    ASSERT_EQ(bits_of(want.error_scales[g]), bits_of(found.error_scales[g])) << g;
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
      const auto x = random.numbers(3 * map.inputs().size(), 3.0f);
      expect_every_table_agrees(layout, x, 3);
      expect_every_table_agrees(layout, with_outliers(x, map.inputs().size()), 3);
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

TEST(LinearPrepare, OutliersStandFarAboveTheirToken) {
  Random random(3);
  for (const int64_t num_inputs : {200, 768}) {
    const PanelLayout layout(tensor::panel_format(DType::kQ8_0), 16, InputMap::whole(num_inputs));
    const auto size = static_cast<size_t>(num_inputs);
    std::vector<float> x(2 * size, 1.0f);  // the second token has none
    x[70] = -9.0f;  // 6 times the root mean square is 7.1 of 200 inputs, 6.4 of 768
    x[size - 1] = 6.2f;
    const LaidOut laid(layout, x, 2, reference::prepare);
    for (int64_t g = 0; g < 2 * layout.inputs.num_groups(); ++g)
      EXPECT_EQ(g == 70 / 32, is_outlier(laid.input, g)) << g;
    // What the first term lost of the outlier is in the second, to half a step of its scale.
    const int64_t group = 70 / 32;
    const float scale = laid.input.scales[group], fine = laid.input.error_scales[group];
    EXPECT_LT(fine, scale / 200.0f);
    const auto* codes = static_cast<const int8_t*>(laid.input.values) + 32 * group;
    for (int i = 0; i < 32; ++i) {
      const float both = scale * static_cast<float>(codes[i]) +
                         fine * static_cast<float>(laid.input.error_values[32 * group + i]);
      EXPECT_NEAR(x[static_cast<size_t>(32 * group + i)], both, 0.6f * fine) << i;
    }
  }
}

TEST(LinearPrepare, RowParallelInputsHaveNoOutliers) {
  const PanelLayout layout(tensor::panel_format(DType::kQ8_0), 16,
                           InputMap::of_units({Range{0, 256}}));
  std::vector<float> x(256, 0.01f);
  x[5] = 100.0f;
  EXPECT_EQ(nullptr, LaidOut(layout, x, 1, reference::prepare).input.outliers);
}

TEST(LinearPrepare, PlacesPartsApartAndAligned) {
  const InputMap whole = InputMap::whole(5 * 32);
  for (const ActivationType type :
       {ActivationType::kF32, ActivationType::kBF16, ActivationType::kInt8}) {
    alignas(64) static std::byte memory[64];
    const Activations a = place_activations(type, 3, whole, memory);
    EXPECT_EQ(memory, a.values);
    const int64_t bytes = activation_bytes(type, 3, whole);
    EXPECT_EQ(0, bytes % 64);
    if (type != ActivationType::kInt8) {
      EXPECT_EQ(nullptr, a.scales);
      EXPECT_EQ(nullptr, a.outliers);
      continue;
    }
    const auto at = [&](const void* p) { return static_cast<const std::byte*>(p) - memory; };
    const struct {
      const void* begin;
      int64_t bytes;
    } parts[] = {{a.values, 3 * 5 * 32},
                 {a.scales, 3 * 5 * 4},
                 {a.sums, 3 * 5 * 8},
                 {a.error_values, 3 * 5 * 32},
                 {a.error_scales, 3 * 5 * 4},
                 {a.error_sums, 3 * 5 * 8},
                 {a.outliers, 3}};
    int64_t end = 0;
    for (const auto& part : parts) {
      EXPECT_GE(at(part.begin), end);
      EXPECT_EQ(0, at(part.begin) % 64);
      end = at(part.begin) + part.bytes;
    }
    EXPECT_GE(bytes, end);
  }
}

}  // namespace
}  // namespace weft::kernels
