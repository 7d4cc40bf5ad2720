// File blocks mean what the format's own Python package says, and packing keeps every code.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "kernels/linear_case.h"

namespace weft::kernels {
namespace {

struct Vector {
  const char* type;
  const char* blocks;
  const char* values;
};
const Vector kVectors[] = {
#include "kernels/file_block_vectors.inc"
};

std::vector<std::byte> bytes_of(const std::string& hex) {
  std::vector<std::byte> bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<std::byte>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

DType dtype_named(const std::string& name) {
  for (const DType dtype : every_dtype()) {
    if (tensor::name(dtype) == name) return dtype;
  }
  ADD_FAILURE() << name;
  return DType::kF32;
}

void dequantize_row_of(const PackedMatrix& matrix, int64_t row, std::vector<float>& out) {
  table_for(Isa::kPortable)->dequantize_row(matrix.layout, matrix.panels.data(), row, out.data());
}

TEST(Pack, DecodesEveryTypeToTheBit) {
  EXPECT_EQ(static_cast<size_t>(tensor::kNumDTypes), std::size(kVectors));
  for (const Vector& vector : kVectors) {
    SCOPED_TRACE(vector.type);
    const auto blocks = bytes_of(vector.blocks), raw = bytes_of(vector.values);
    std::vector<float> want(raw.size() / 4);
    std::memcpy(want.data(), raw.data(), raw.size());
    std::vector<float> found(want.size());
    const DType dtype = dtype_named(vector.type);
    ASSERT_EQ(blocks.size(),
              static_cast<size_t>(tensor::row_bytes(dtype, static_cast<int64_t>(want.size()))));
    decode_row(dtype, blocks.data(), static_cast<int64_t>(want.size()), found.data());
    EXPECT_TRUE(same_bits(want, found));
  }
}

TEST(Pack, PanelsByPartsEqualPanelsAtOnce) {
  Random random(1);
  const int64_t num_rows = 70, num_cols = 512;
  for (const DType dtype : every_dtype()) {
    SCOPED_TRACE(tensor::name(dtype));
    const auto rows = random_rows(dtype, num_rows, num_cols, random);
    const PackedMatrix whole(dtype, rows, num_rows, num_cols, InputMap::whole(num_cols));
    tensor::Buffer parts(whole.layout.num_bytes(), "test panels");
    std::memset(parts.data(), 0xa5, static_cast<size_t>(parts.size()));
    for (const Range panels : {Range{3, 5}, Range{0, 1}, Range{1, 3}}) {
      pack_panels(whole.layout, dtype, rows.data(), tensor::row_bytes(dtype, num_cols), num_cols,
                  panels, parts.data());
    }
    EXPECT_EQ(0, std::memcmp(whole.panels.data(), parts.data(),
                             static_cast<size_t>(whole.layout.num_bytes())));
  }
}

// Repacking moves many weights at once; the look-up reads them one by one. Memory that is not
// zeroed beforehand, rows that end inside a group, units that begin and end inside one, and a last
// panel that is not full.
TEST(Pack, EveryWeightIsInItsPlace) {
  Random random(3);
  constexpr int64_t kRows = 43, kPaddedRows = 48;
  for (const DType dtype : every_dtype()) {
    const int64_t num_cols = tensor::info(dtype).block_elements == 1 ? 1000 : 1024;
    const auto rows = random_rows(dtype, kRows, num_cols, random);
    const int64_t stride = tensor::row_bytes(dtype, num_cols);
    for (const InputMap& map :
         {InputMap::whole(num_cols), InputMap::of_units({{40, 80}, {80, 400}}),
          InputMap::of_units({{920, 960}, {960, 1000}})}) {
      SCOPED_TRACE(fmt::format("{} from input {}", tensor::name(dtype), map.inputs().begin));
      const PanelLayout layout(tensor::panel_format(dtype), kRows, map);
      tensor::Buffer panels(layout.num_bytes(), "test panels");
      std::memset(panels.data(), 0xa5, static_cast<size_t>(panels.size()));
      pack_panels(layout, dtype, rows.data(), stride, num_cols, {0, layout.num_panels()},
                  panels.data());
      std::vector<float> all(static_cast<size_t>(num_cols));
      std::vector<float> found(static_cast<size_t>(map.inputs().size()));
      for (int64_t row = 0; row < kPaddedRows; ++row) {
        table_for(Isa::kPortable)->dequantize_row(layout, panels.data(), row, found.data());
        if (row >= kRows) {
          for (const float x : found) ASSERT_EQ(x, 0.0f) << "row " << row;
          continue;
        }
        decode_row(dtype, rows.data() + row * stride, num_cols, all.data());
        const std::vector<float> want(all.begin() + map.inputs().begin,
                                      all.begin() + map.inputs().end);
        ASSERT_TRUE(same_bits(want, found)) << "row " << row;
      }
    }
  }
}

TEST(Pack, MissingRowsAreZero) {
  Random random(2);
  for (const DType dtype : every_dtype()) {
    SCOPED_TRACE(tensor::name(dtype));
    const auto rows = random_rows(dtype, 16, 256, random);
    const PackedMatrix few(dtype, rows, 5, 256, InputMap::whole(256));
    std::vector<float> out(256, 1.0f);
    dequantize_row_of(few, 9, out);
    for (const float x : out) ASSERT_EQ(0.0f, x);
    dequantize_row_of(few, 4, out);
    bool any = false;
    for (const float x : out) any = any || x != 0.0f;
    EXPECT_TRUE(any);
  }
}

TEST(Pack, DecodesDenormalsAndExtremesOfHalves) {
  const uint16_t halves[] = {0x0000, 0x8000, 0x0001, 0x83ff, 0x0400, 0x7bff, 0x7c00, 0xfc00};
  float out[8];
  decode_row(DType::kF16, reinterpret_cast<const std::byte*>(halves), 8, out);
  EXPECT_EQ(0x1p-24f, out[2]);
  EXPECT_EQ(-0x1.ff8p-15f, out[3]);
  EXPECT_EQ(0x1p-14f, out[4]);
  EXPECT_EQ(65504.0f, out[5]);
  EXPECT_TRUE(std::isinf(out[6]) && out[6] > 0);
  EXPECT_TRUE(std::isinf(out[7]) && out[7] < 0);
  EXPECT_TRUE(std::signbit(out[1]) && out[1] == 0.0f);
}

}  // namespace
}  // namespace weft::kernels
