// Row-parallel sums: the reference's integers by every table, for any cut between ranks.
#include <gtest/gtest.h>

#include <limits>

#include "kernels/linear_case.h"

namespace weft::kernels {
namespace {

constexpr int64_t kCols = 768;
constexpr int64_t kRows = 40;

class LinearExact : public testing::TestWithParam<DType> {};

struct Sums {
  std::vector<int64_t> data;
  PartialSums view;
  explicit Sums(int64_t num_tokens) {
    view = {nullptr, num_tokens, kRows};
    data.assign(static_cast<size_t>(num_tokens * view.stride()), 0);
    view.data = data.data();
  }
};

Sums reference_sums(const PackedMatrix& matrix, const Activations& input) {
  Sums sums(input.num_tokens);
  reference::matmul_exact({&matrix.layout, matrix.panels.data(), input},
                          {0, matrix.layout.num_panels()}, {0, input.num_tokens}, sums.view);
  return sums;
}

TEST_P(LinearExact, EqualsTheReferenceInAnyTiles) {
  Random random(1);
  const auto rows = random_rows(GetParam(), kRows, kCols, random);
  const int64_t num_tokens = 13;
  for (const auto& [name, map] : input_maps(GetParam(), kCols)) {
    SCOPED_TRACE(name);
    const PackedMatrix matrix(GetParam(), rows, kRows, kCols, map);
    const LaidOut x(matrix.layout, random.numbers(num_tokens * map.inputs().size()), num_tokens,
                    reference::prepare);
    const Sums expected = reference_sums(matrix, x.input);
    for (const KernelTable* table : every_table()) {
      SCOPED_TRACE(table->name);
      const Matmul op{&matrix.layout, matrix.panels.data(), x.input};
      Sums whole(num_tokens), tiled(num_tokens);
      table->matmul_exact(op, {0, 3}, {0, num_tokens}, whole.view);
      EXPECT_EQ(expected.data, whole.data);
      for (int64_t panel = 0; panel < 3; ++panel) {
        table->matmul_exact(op, {panel, panel + 1}, {0, 6}, tiled.view);
        table->matmul_exact(op, {panel, panel + 1}, {6, 7}, tiled.view);
        table->matmul_exact(op, {panel, panel + 1}, {7, num_tokens}, tiled.view);
      }
      EXPECT_EQ(expected.data, tiled.data);
    }
  }
}

// Longer inputs than the kernels consume at a time, for as many tokens as make them do so.
TEST(LinearExactBlocks, EqualTheReference) {
  constexpr int64_t kLongCols = 4608, kTokens = 40;
  static_assert(kLongCols > 2 * kInputBlock && kTokens >= kFewestBlockedTokens);
  Random random(6);
  for (const DType dtype : {DType::kQ4_0, DType::kQ4_K, DType::kQ6_K, DType::kQ8_0, DType::kBF16}) {
    const auto rows = random_rows(dtype, kRows, kLongCols, random);
    for (const int64_t unit : {64, 256, 40}) {
      SCOPED_TRACE(testing::Message() << tensor::name(dtype) << ", units of " << unit);
      std::vector<Range> units;
      for (int64_t i = 1; (i + 1) * unit <= kLongCols; ++i)
        units.push_back({i * unit, (i + 1) * unit});
      const PackedMatrix matrix(dtype, rows, kRows, kLongCols, InputMap::of_units(units));
      const int64_t size = matrix.layout.inputs.inputs().size();
      std::vector<float> inputs = random.numbers(kTokens * size);
      inputs[static_cast<size_t>(3 * size + 4000)] = std::numeric_limits<float>::quiet_NaN();
      const LaidOut x(matrix.layout, inputs, kTokens, reference::prepare);
      const Sums expected = reference_sums(matrix, x.input);
      EXPECT_NE(
          expected
              .data[static_cast<size_t>(3 * expected.view.stride() + expected.view.bad_index())],
          0);
      for (const KernelTable* table : every_table()) {
        SCOPED_TRACE(table->name);
        Sums found(kTokens);
        table->matmul_exact({&matrix.layout, matrix.panels.data(), x.input}, {0, 3}, {0, kTokens},
                            found.view);
        EXPECT_EQ(expected.data, found.data);
      }
    }
  }
}

// What memory held before shows only where it is asked for.
TEST_P(LinearExact, OverwritesUnlessItAccumulates) {
  Random random(5);
  const auto rows = random_rows(GetParam(), kRows, kCols, random);
  const int64_t num_tokens = 7, before = int64_t{1} << 40;
  for (const auto& [name, map] : input_maps(GetParam(), kCols)) {
    SCOPED_TRACE(name);
    const PackedMatrix matrix(GetParam(), rows, kRows, kCols, map);
    const LaidOut x(matrix.layout, random.numbers(num_tokens * map.inputs().size()), num_tokens,
                    reference::prepare);
    const Sums expected = reference_sums(matrix, x.input);
    for (const KernelTable* table : every_table()) {
      for (const bool accumulate : {false, true}) {
        SCOPED_TRACE(testing::Message() << table->name << (accumulate ? " adds" : " overwrites"));
        Sums found(num_tokens);
        found.view.accumulate = accumulate;
        found.data.assign(found.data.size(), before);
        table->matmul_exact({&matrix.layout, matrix.panels.data(), x.input}, {0, 3},
                            {0, num_tokens}, found.view);
        for (int64_t token = 0; token < num_tokens; ++token)
          for (int64_t row = 0; row < kRows; ++row) {
            const size_t at = static_cast<size_t>(token * found.view.stride() + row);
            ASSERT_EQ(expected.data[at] + (accumulate ? before : 0), found.data[at]);
          }
      }
    }
  }
}

TEST_P(LinearExact, RanksAddUpToOneRank) {
  Random random(2);
  const auto rows = random_rows(GetParam(), kRows, kCols, random);
  const int64_t num_tokens = 5;
  for (const int64_t unit : {40, 64, 80, 128}) {
    SCOPED_TRACE(unit);
    std::vector<Range> units;
    for (int64_t begin = 0; begin + unit <= kCols; begin += unit)
      units.push_back({begin, begin + unit});
    const int64_t num_inputs = units.back().end;
    const auto x = random.numbers(num_tokens * num_inputs);
    const auto sums_of = [&](const KernelTable& table, const std::vector<Range>& own) {
      const PackedMatrix matrix(GetParam(), rows, kRows, kCols, InputMap::of_units(own));
      const Range inputs = matrix.layout.inputs.inputs();
      std::vector<float> share;
      for (int64_t t = 0; t < num_tokens; ++t) {
        for (int64_t i = inputs.begin; i < inputs.end; ++i) {
          share.push_back(x[static_cast<size_t>(t * num_inputs + i)]);
        }
      }
      const LaidOut laid(matrix.layout, share, num_tokens, table.prepare);
      Sums sums(num_tokens);
      table.matmul_exact({&matrix.layout, matrix.panels.data(), laid.input}, {0, 3},
                         {0, num_tokens}, sums.view);
      return sums;
    };
    for (const KernelTable* table : every_table()) {
      SCOPED_TRACE(table->name);
      const Sums one = sums_of(*table, units);
      for (size_t cut = 1; cut < units.size(); ++cut) {
        const auto at = units.begin() + static_cast<std::ptrdiff_t>(cut);
        Sums first = sums_of(*table, {units.begin(), at});
        const Sums second = sums_of(*table, {at, units.end()});
        const int64_t* parts[] = {first.data.data(), second.data.data()};
        table->add_int64(first.data.data(), parts, 2, static_cast<int64_t>(first.data.size()));
        ASSERT_EQ(one.data, first.data) << "cut before unit " << cut;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(EveryType, LinearExact, testing::ValuesIn(every_dtype()),
                         [](const auto& type) { return std::string(tensor::name(type.param)); });

TEST(LinearExactFaults, CountsBadUnitsAndLeavesOtherTokensAlone) {
  Random random(3);
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kQ4_1, DType::kQ6_K}) {
    SCOPED_TRACE(tensor::name(dtype));
    const auto rows = random_rows(dtype, kRows, kCols, random);
    std::vector<Range> units;
    for (int64_t i = 0; i < kCols; i += 128) units.push_back({i, i + 128});
    const PackedMatrix matrix(dtype, rows, kRows, kCols, InputMap::of_units(units));
    const int64_t num_tokens = 7;
    auto x = random.numbers(num_tokens * kCols);
    x[0 * kCols + 5] = std::numeric_limits<float>::quiet_NaN();   // unit 0
    x[2 * kCols + 300] = std::numeric_limits<float>::infinity();  // unit 2
    for (int64_t i = 128; i < 256; ++i) x[static_cast<size_t>(3 * kCols + i)] *= 1e12f;
    const LaidOut laid(matrix.layout, x, num_tokens, reference::prepare);
    const Sums expected = reference_sums(matrix, laid.input);
    const auto bad = [&](const Sums& sums, int64_t token) {
      return sums.data[static_cast<size_t>(token * sums.view.stride() + sums.view.bad_index())];
    };
    EXPECT_EQ(kRows, bad(expected, 0));
    EXPECT_EQ(0, bad(expected, 1));
    EXPECT_EQ(kRows, bad(expected, 2));
    EXPECT_EQ(kRows, bad(expected, 3));
    EXPECT_EQ(0, bad(expected, 6));
    for (const KernelTable* table : every_table()) {
      SCOPED_TRACE(table->name);
      Sums sums(num_tokens);
      table->matmul_exact({&matrix.layout, matrix.panels.data(), laid.input}, {0, 3},
                          {0, num_tokens}, sums.view);
      EXPECT_EQ(expected.data, sums.data);
    }
  }
}

TEST(LinearExactFaults, HoldsJustBelowTheLimit) {
  // One weight of 1 and one activation: the unit sum is the activation itself.
  const PanelLayout layout(tensor::panel_format(DType::kF32), 1, InputMap::whole(32));
  std::vector<float> row(32, 0.0f);
  row[0] = 1.0f;
  tensor::Buffer panels(layout.num_bytes(), "test panels");
  pack_panels(layout, DType::kF32, reinterpret_cast<const std::byte*>(row.data()), 128, 32, {0, 1},
              panels.data());
  const float below = 1048575.9375f;
  const std::vector<float> values = {below,    -below,     1048576.0f,  -1048576.0f,
                                     0x1p-31f, 0x1.8p-30f, -0x1.8p-30f, 0x1.000002p-31f};
  const int64_t num_tokens = static_cast<int64_t>(values.size());
  std::vector<float> x(static_cast<size_t>(num_tokens) * 32, 0.0f);
  for (size_t t = 0; t < values.size(); ++t) x[t * 32] = values[t];
  for (const KernelTable* table : every_table()) {
    SCOPED_TRACE(table->name);
    const LaidOut laid(layout, x, num_tokens, table->prepare);
    PartialSums view{nullptr, num_tokens, 1};
    std::vector<int64_t> data(static_cast<size_t>(num_tokens * view.stride()), 0);
    view.data = data.data();
    table->matmul_exact({&layout, panels.data(), laid.input}, {0, 1}, {0, num_tokens}, view);
    const auto sum = [&](int64_t t) { return data[static_cast<size_t>(t * view.stride())]; };
    const auto bad = [&](int64_t t) {
      return data[static_cast<size_t>(t * view.stride() + view.bad_index())];
    };
    const int64_t largest = static_cast<int64_t>(1048575.9375 * 1073741824.0);
    EXPECT_EQ(largest, sum(0));
    EXPECT_EQ(-largest, sum(1));
    EXPECT_EQ(0, bad(0) + bad(1));
    EXPECT_EQ(0, sum(2));
    EXPECT_EQ(1, bad(2));
    EXPECT_EQ(1, bad(3));
    EXPECT_EQ(0, sum(4));  // half: to even
    EXPECT_EQ(2, sum(5));  // one and a half: to even
    EXPECT_EQ(-2, sum(6));
    EXPECT_EQ(1, sum(7));  // just above half
  }
}

TEST(LinearFinish, AddsPartsOnceRounded) {
  Random random(4);
  for (const int64_t num_rows : {1, 16, 17, 40}) {
    const PartialSums shape{nullptr, 1, num_rows};
    std::vector<std::vector<int64_t>> parts(3);
    const int64_t* pointers[3];
    for (size_t p = 0; p < 3; ++p) {
      for (int64_t i = 0; i < shape.stride(); ++i) {
        parts[p].push_back((random.below(int64_t{1} << 31) << 28) * (random.below(2) * 2 - 1) +
                           random.below(int64_t{1} << 28));
      }
      pointers[p] = parts[p].data();
    }
    const auto bias = random.numbers(num_rows);
    for (const bool with_bias : {false, true}) {
      const float* b = with_bias ? bias.data() : nullptr;
      std::vector<float> want(static_cast<size_t>(num_rows) + 3, 5.0f), found = want;
      const int64_t bad = reference::finish_exact(pointers, 3, num_rows, b, want.data());
      for (const KernelTable* table : every_table()) {
        SCOPED_TRACE(table->name);
        EXPECT_EQ(bad, table->finish_exact(pointers, 3, num_rows, b, found.data()));
        EXPECT_TRUE(same_bits(want, found));
      }
    }
  }
}

TEST(LinearFinish, AddsIntegersThatMayAlias) {
  Random random(5);
  for (const int64_t count : {1, 15, 16, 49}) {
    std::vector<int64_t> a, b;
    for (int64_t i = 0; i < count; ++i) {
      a.push_back(random.below(1000) - 500);
      b.push_back(random.below(1000) << 40);
    }
    std::vector<int64_t> want(a.size());
    for (size_t i = 0; i < a.size(); ++i) want[i] = a[i] + b[i];
    for (const KernelTable* table : every_table()) {
      SCOPED_TRACE(table->name);
      auto sum = a;
      const int64_t* parts[] = {sum.data(), b.data()};
      table->add_int64(sum.data(), parts, 2, count);
      EXPECT_EQ(want, sum);
    }
  }
}

}  // namespace
}  // namespace weft::kernels
