// Activations laid out by every table have the bytes of the reference.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/activation_tables.h"
#include "kernels/linear_case.h"

namespace weft::kernels {
namespace {

constexpr int64_t kCols = 768;

// group: of all tokens.
bool is_outlier(const Activations& a, int64_t group) {
  const int64_t token = group / a.num_groups, g = group % a.num_groups;
  return (a.outliers[token * a.outlier_bytes() + g / 8] >> g % 8 & 1) != 0;
}

// The same bytes, except that a NaN is only asked to be one.
void expect_same_group(const Int8Term& want, const Int8Term& found, int64_t g) {
  ASSERT_EQ(0, std::memcmp(want.codes + 32 * g, found.codes + 32 * g, 32)) << "group " << g;
  ASSERT_EQ(0, std::memcmp(want.minus_sums + 2 * g, found.minus_sums + 2 * g, 8)) << "group " << g;
  ASSERT_EQ(bits_of(want.scales[g]), bits_of(found.scales[g])) << "group " << g;
  ASSERT_EQ(bits_of(want.scaled_sums[g]), bits_of(found.scaled_sums[g])) << "group " << g;
}

void expect_same(const Activations& want, const Activations& found) {
  const int64_t groups = want.num_tokens * want.num_groups;
  if (want.type != ActivationType::kInt8) {
    const int64_t size = want.type == ActivationType::kBF16 ? 2 : 4;
    EXPECT_EQ(0, std::memcmp(want.values, found.values, static_cast<size_t>(groups * 32 * size)));
    return;
  }
  ASSERT_EQ(want.outliers == nullptr, found.outliers == nullptr);
  for (int64_t g = 0; g < groups; ++g) {
    expect_same_group(want.first, found.first, g);
    if (want.outliers == nullptr) continue;
    ASSERT_EQ(is_outlier(want, g), is_outlier(found, g)) << "group " << g;
    if (is_outlier(want, g)) expect_same_group(want.error, found.error, g);
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

// Some groups at a time, and nothing of the others touched.
TEST(LinearPrepare, LaysGroupsOutSingly) {
  Random random(3);
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kQ8_0}) {
    for (const auto& [name, map] : input_maps(dtype, kCols)) {
      if (map.is_whole()) continue;
      SCOPED_TRACE(name);
      const PanelLayout layout(tensor::panel_format(dtype), 16, map);
      const auto x = random.numbers(2 * map.inputs().size(), 3.0f);
      const LaidOut want(layout, x, 2, reference::prepare);
      for (const KernelTable* table : every_table()) {
        const auto singly = [&](const InputMap& whole, const float* token_x, const Activations& out,
                                int64_t token, Range groups) {
          for (int64_t g = groups.end; g > groups.begin; --g)
            table->prepare(whole, token_x, out, token, {g - 1, g});
        };
        expect_same(want.input, LaidOut(layout, x, 2, singly).input);
        const auto units = [&](const InputMap& whole, const float* token_x, const Activations& out,
                               int64_t token, Range) {
          for (int64_t unit = 0; unit < whole.num_units(); ++unit)
            table->prepare(whole, token_x, out, token, whole.groups_of({unit, unit + 1}));
        };
        expect_same(want.input, LaidOut(layout, x, 2, units).input);
      }
    }
  }
}

// Memory for a copy, every byte 0x5a.
LaidOut nothing_like(const PanelLayout& layout, const std::vector<float>& x, int64_t num_tokens) {
  return {layout, x, num_tokens, [](auto&&...) {}};
}

TEST(LinearPrepare, CopiesTokens) {
  Random random(4);
  constexpr int64_t kTokens = 5;
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kQ8_0}) {
    for (const auto& [name, map] : input_maps(dtype, kCols)) {
      SCOPED_TRACE(name);
      const PanelLayout layout(tensor::panel_format(dtype), 16, map);
      const auto x =
          with_outliers(random.numbers(kTokens * map.inputs().size(), 3.0f), map.inputs().size());
      const LaidOut want(layout, x, kTokens, reference::prepare);
      const LaidOut in_parts = nothing_like(layout, x, kTokens);
      for (const Range tokens : {Range{3, 5}, Range{0, 1}, Range{1, 1}, Range{1, 3}})
        copy_tokens(want.input, in_parts.input, tokens);
      expect_same(want.input, in_parts.input);

      const LaidOut one = nothing_like(layout, x, kTokens);
      copy_tokens(want.input, one.input, {2, 3});
      ActivationTable tables[kMaxActivationTables], whole[kMaxActivationTables];
      const int num_tables = activation_tables(one.input, tables);
      ASSERT_EQ(activation_tables(want.input, whole), num_tables);
      const LaidOut by_table = nothing_like(layout, x, kTokens);
      ActivationTable targets[kMaxActivationTables];
      activation_tables(by_table.input, targets);
      for (int i = 0; i < num_tables; ++i) {
        ASSERT_EQ(tables[i].row_bytes, whole[i].row_bytes);
        const int64_t row = tables[i].row_bytes;
        for (int64_t at = 0; at < kTokens * row; ++at) {
          if (at / row != 2) {
            ASSERT_EQ(tables[i].rows[at], std::byte{0x5a}) << "table " << i;
          }
        }
        std::memcpy(targets[i].rows, whole[i].rows, static_cast<size_t>(kTokens * row));
      }
      expect_same(want.input, by_table.input);
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
  const int8_t* codes = laid.input.first.codes;
  EXPECT_EQ(-127, codes[0]);
  EXPECT_EQ(0, codes[16]);
  EXPECT_EQ(119, codes[31]);  // 15 * 127 / 16 = 119.06
  EXPECT_EQ(16.0f / 127.0f, laid.input.first.scales[0]);
  int sum = 0, all = 0;
  for (int i = 0; i < 32; ++i) (i < 16 ? sum : all) += codes[i];
  all += sum;
  EXPECT_EQ(-sum, laid.input.first.minus_sums[0]);
  EXPECT_EQ(-all, laid.input.first.minus_sums[1]);
  EXPECT_EQ(16.0f / 127.0f * static_cast<float>(all), laid.input.first.scaled_sums[0]);
  EXPECT_EQ(0.0f, laid.input.first.scales[1]);
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
    const float scale = laid.input.first.scales[group], fine = laid.input.error.scales[group];
    EXPECT_LT(fine, scale / 200.0f);
    const int8_t* codes = laid.input.first.codes + 32 * group;
    for (int i = 0; i < 32; ++i) {
      const float both = scale * static_cast<float>(codes[i]) +
                         fine * static_cast<float>(laid.input.error.codes[32 * group + i]);
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
    const int64_t bytes = activation_bytes(type, 3, whole);
    EXPECT_EQ(0, bytes % 64);
    if (type != ActivationType::kInt8) {
      EXPECT_EQ(memory, a.values);
      EXPECT_EQ(nullptr, a.first.codes);
      EXPECT_EQ(nullptr, a.outliers);
      continue;
    }
    const auto at = [&](const void* p) { return static_cast<const std::byte*>(p) - memory; };
    struct Part {
      const void* begin;
      int64_t bytes;
    };
    std::vector<Part> parts;
    for (const Int8Term& term : {a.first, a.error}) {
      parts.push_back({term.codes, 3 * 5 * 32});
      parts.push_back({term.scales, 3 * 5 * 4});
      parts.push_back({term.scaled_sums, 3 * 5 * 4});
      parts.push_back({term.minus_sums, 3 * 5 * 8});
    }
    parts.push_back({a.outliers, 3});
    int64_t end = 0;
    for (const Part& part : parts) {
      EXPECT_GE(at(part.begin), end);
      EXPECT_EQ(0, at(part.begin) % 64);
      end = at(part.begin) + part.bytes;
    }
    EXPECT_GE(bytes, end);
  }
}

}  // namespace
}  // namespace weft::kernels
