// Every table's matrix product has the bits of the reference, whatever the tile.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "kernels/linear_case.h"

namespace weft::kernels {
namespace {

constexpr int64_t kCols = 768;
constexpr int64_t kRows = 40;
constexpr int64_t kTokens = 64;

class LinearMatmul : public testing::TestWithParam<DType> {};

std::vector<float> product_by(const KernelTable& table, const PackedMatrix& matrix,
                              const Activations& input, Range panels, Range tokens,
                              const float* bias = nullptr) {
  const int64_t stride = matrix.layout.num_panels() * 16;
  std::vector<float> out(static_cast<size_t>(input.num_tokens * stride), -7.0f);
  table.matmul({&matrix.layout, matrix.panels.data(), input}, panels, tokens, bias, out.data(),
               stride);
  return out;
}

std::vector<float> reference_product(const PackedMatrix& matrix, const Activations& input,
                                     const float* bias = nullptr) {
  const int64_t stride = matrix.layout.num_panels() * 16;
  std::vector<float> out(static_cast<size_t>(input.num_tokens * stride));
  reference::matmul({&matrix.layout, matrix.panels.data(), input}, {0, matrix.layout.num_panels()},
                    {0, input.num_tokens}, bias, out.data(), stride);
  return out;
}

TEST_P(LinearMatmul, EqualsTheReferenceForAnyRowsAndTokens) {
  const auto tables = every_table();
  Random random(1);
  const auto rows = random_rows(GetParam(), kRows, kCols, random);
  for (const auto& [name, map] : input_maps(GetParam(), kCols)) {
    SCOPED_TRACE(name);
    const auto x =
        with_outliers(random.numbers(kTokens * map.inputs().size()), map.inputs().size());
    const auto bias = random.numbers(kRows);
    const PackedMatrix whole(GetParam(), rows, kRows, kCols, map);
    const LaidOut all(whole.layout, x, kTokens, reference::prepare);
    // Outputs depend on their row and token alone, so one reference serves all sizes.
    const auto expected = reference_product(whole, all.input, bias.data());
    for (const int64_t num_rows : {1, 15, 17, 40}) {
      const PackedMatrix matrix(GetParam(), rows, num_rows, kCols, map);
      for (const int64_t num_tokens : {1, 2, 3, 4, 5, 6, 7, 13, 64}) {
        const LaidOut some(matrix.layout, x, num_tokens, reference::prepare);
        for (const KernelTable* table : tables) {
          SCOPED_TRACE(table->name);
          const auto out = product_by(*table, matrix, some.input, {0, matrix.layout.num_panels()},
                                      {0, num_tokens}, bias.data());
          for (int64_t t = 0; t < num_tokens; ++t) {
            for (int64_t row = 0; row < num_rows; ++row) {
              const float want = expected[static_cast<size_t>(t * 48 + row)];
              const float found =
                  out[static_cast<size_t>(t * matrix.layout.num_panels() * 16 + row)];
              ASSERT_EQ(bits_of(want), bits_of(found))
                  << num_rows << " rows, " << num_tokens << " tokens: row " << row << " token " << t
                  << ": " << want << " against " << found;
            }
          }
        }
      }
    }
  }
}

TEST_P(LinearMatmul, TilesDoNotShow) {
  Random random(2);
  const auto rows = random_rows(GetParam(), 100, kCols, random);
  const InputMap map = InputMap::whole(kCols);
  const PackedMatrix matrix(GetParam(), rows, 100, kCols, map);
  const int64_t num_tokens = 23, stride = matrix.layout.num_panels() * 16;
  const LaidOut x(matrix.layout, with_outliers(random.numbers(num_tokens * kCols), kCols),
                  num_tokens, reference::prepare);
  const auto expected = reference_product(matrix, x.input);
  for (const KernelTable* table : every_table()) {
    SCOPED_TRACE(table->name);
    for (int trial = 0; trial < 20; ++trial) {
      const Range panels{random.below(4), 4 + random.below(4)};
      const Range tokens{random.below(12), 12 + random.below(12)};
      const auto out = product_by(*table, matrix, x.input, panels, tokens);
      for (int64_t t = 0; t < num_tokens; ++t) {
        for (int64_t row = 0; row < stride; ++row) {
          const bool inside = panels.contains(row / 16) && tokens.contains(t);
          const auto at = static_cast<size_t>(t * stride + row);
          ASSERT_EQ(bits_of(inside ? expected[at] : -7.0f), bits_of(out[at]))
              << "row " << row << " token " << t << " of tile [" << panels.begin << ", "
              << panels.end << ") x [" << tokens.begin << ", " << tokens.end << ")";
        }
      }
    }
  }
}

// The packed product is the product of the file's own values: against double, with the error that
// 8-bit activations may have.
TEST_P(LinearMatmul, MeansTheFilesWeights) {
  Random random(3);
  const auto rows = random_rows(GetParam(), kRows, kCols, random);
  const PackedMatrix matrix(GetParam(), rows, kRows, kCols, InputMap::whole(kCols));
  const auto x = random.numbers(kCols);
  const LaidOut input(matrix.layout, x, 1, reference::prepare);
  const auto found = reference_product(matrix, input.input);
  const double tolerance = matrix.layout.format.quantized()                     ? 0.02
                           : matrix.layout.format.codes == tensor::Codes::kBF16 ? 0.01
                                                                                : 1e-5;
  std::vector<float> weights(static_cast<size_t>(kCols));
  for (int64_t row = 0; row < kRows; ++row) {
    decode_row(GetParam(), rows.data() + row * tensor::row_bytes(GetParam(), kCols), kCols,
               weights.data());
    double sum = 0, square = 0;
    for (size_t i = 0; i < weights.size(); ++i) {
      const double product = static_cast<double>(weights[i]) * static_cast<double>(x[i]);
      sum += product;
      square += product * product;
    }
    EXPECT_NEAR(sum, found[static_cast<size_t>(row)], tolerance * 3 * std::sqrt(square)) << row;
  }
}

TEST_P(LinearMatmul, DequantizesRowsOfThePanels) {
  Random random(4);
  const auto rows = random_rows(GetParam(), kRows, kCols, random);
  for (const auto& [name, map] : input_maps(GetParam(), kCols)) {
    SCOPED_TRACE(name);
    const PackedMatrix matrix(GetParam(), rows, kRows, kCols, map);
    const Range inputs = map.inputs();
    std::vector<float> decoded(static_cast<size_t>(kCols));
    std::vector<float> out(static_cast<size_t>(inputs.size()));
    for (int64_t row = 0; row < kRows; ++row) {
      decode_row(GetParam(), rows.data() + row * tensor::row_bytes(GetParam(), kCols), kCols,
                 decoded.data());
      for (const KernelTable* table : every_table()) {
        table->dequantize_row(matrix.layout, matrix.panels.data(), row, out.data());
        ASSERT_TRUE(same_bits({decoded.begin() + inputs.begin, decoded.begin() + inputs.end}, out));
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(EveryType, LinearMatmul, testing::ValuesIn(every_dtype()),
                         [](const auto& type) { return std::string(tensor::name(type.param)); });

// Weights and activations whose products cancel, vanish or overflow.
TEST(LinearMatmulExtremes, Bf16AndFloatsAgreeOnDenormalsAndInfinities) {
  Random random(5);
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    SCOPED_TRACE(tensor::name(dtype));
    auto rows = random_rows(dtype, 16, 64, random);
    for (size_t i = 0; i < rows.size(); i += 97) rows[i] = std::byte{0};
    // Random bits: every exponent, and some NaN and infinities.
    for (size_t i = rows.size() / 2; i < rows.size(); ++i) {
      rows[i] = static_cast<std::byte>(random.below(256));
    }
    const PackedMatrix matrix(dtype, rows, 16, 64, InputMap::whole(64));
    auto x = random.numbers(8 * 64);
    for (int64_t i = 0; i < 64; ++i) {
      x[static_cast<size_t>(i)] *= 1e-38f;
      x[static_cast<size_t>(64 + i)] *= 1e37f;
      x[static_cast<size_t>(128 + i)] = 0;
      x[static_cast<size_t>(192 + i)] *= 1e-30f;
    }
    prepare_this_thread();
    const LaidOut input(matrix.layout, x, 8, reference::prepare);
    const auto expected = reference_product(matrix, input.input);
    for (const KernelTable* table : every_table()) {
      SCOPED_TRACE(table->name);
      EXPECT_TRUE(same_bits(expected, product_by(*table, matrix, input.input, {0, 1}, {0, 8})));
    }
  }
}

// How often each panel and token is in a tile.
std::vector<int> covered(const Tiling& tiling, int64_t num_panels, int64_t num_tokens) {
  std::vector<int> times(static_cast<size_t>(num_panels * num_tokens));
  for (int64_t tile = 0; tile < tiling.num_tiles(); ++tile) {
    const Range panels = tiling.panels(tile), tokens = tiling.tokens(tile);
    EXPECT_FALSE(panels.empty());
    EXPECT_FALSE(tokens.empty());
    for (int64_t p = panels.begin; p < panels.end; ++p)
      for (int64_t t = tokens.begin; t < tokens.end; ++t)
        ++times[static_cast<size_t>(p * num_tokens + t)];
  }
  return times;
}

TEST(LinearTiling, CoversEveryPanelAndTokenOnce) {
  for (const int64_t num_rows : {1, 16, 17, 576, 49152}) {
    const PanelLayout layout(tensor::panel_format(DType::kQ4_0), num_rows, InputMap::whole(2048));
    for (const int64_t num_tokens : {1, 5, 12, 64, 512}) {
      for (const int threads : {1, 2, 3, 16}) {
        SCOPED_TRACE(testing::Message() << num_rows << " rows, " << num_tokens << " tokens, "
                                        << threads << " threads");
        const Tiling tiling = choose_tiling(layout, num_tokens, threads);
        for (const int times : covered(tiling, layout.num_panels(), num_tokens))
          ASSERT_EQ(times, 1);
      }
    }
  }
}

TEST(LinearTiling, GivesEveryThreadAsMuchToRead) {
  const PanelLayout layout(tensor::panel_format(DType::kQ4_1), 576, InputMap::whole(576));
  for (const int threads : {2, 3, 6}) {
    const Tiling tiling = choose_tiling(layout, 1, threads);
    ASSERT_EQ(tiling.num_tiles() % threads, 0);
    for (int64_t tile = 0; tile < tiling.num_tiles(); ++tile)
      EXPECT_EQ(tiling.panels(tile).size(), layout.num_panels() / tiling.num_tiles());
  }
}

}  // namespace
}  // namespace weft::kernels
