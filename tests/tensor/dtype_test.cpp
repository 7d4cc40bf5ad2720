#include "tensor/dtype.h"

#include <gtest/gtest.h>

#include <set>

#include "tensor/raw_tensor.h"

namespace weft::tensor {
namespace {

TEST(DType, EveryTypeIsFoundByItsGgmlId) {
  std::set<uint32_t> ids;
  for (int i = 0; i < kNumDTypes; ++i) {
    const auto dtype = static_cast<DType>(i);
    EXPECT_EQ(info(dtype).dtype, dtype);
    EXPECT_EQ(dtype_from_ggml(info(dtype).ggml_id), dtype) << name(dtype);
    ids.insert(info(dtype).ggml_id);
  }
  EXPECT_EQ(ids.size(), static_cast<size_t>(kNumDTypes));
}

TEST(DType, TypesWithoutKernelsAreUnknown) {
  for (const uint32_t id : {4u, 5u, 9u, 15u, 16u, 24u, 31u, 40u, 41u, 0xFFFFFFFFu}) {
    EXPECT_EQ(dtype_from_ggml(id), std::nullopt) << id;
  }
}

TEST(DType, BytesOfARow) {
  EXPECT_EQ(row_bytes(DType::kF32, 3), 12);
  EXPECT_EQ(row_bytes(DType::kF16, 3), 6);
  EXPECT_EQ(row_bytes(DType::kBF16, 5), 10);
  EXPECT_EQ(row_bytes(DType::kQ4_0, 64), 36);
  EXPECT_EQ(row_bytes(DType::kQ4_1, 576), 18 * 20);
  EXPECT_EQ(row_bytes(DType::kQ5_0, 32), 22);
  EXPECT_EQ(row_bytes(DType::kQ5_1, 32), 24);
  EXPECT_EQ(row_bytes(DType::kQ8_0, 640), 20 * 34);
  EXPECT_EQ(row_bytes(DType::kQ2_K, 256), 84);
  EXPECT_EQ(row_bytes(DType::kQ3_K, 256), 110);
  EXPECT_EQ(row_bytes(DType::kQ4_K, 512), 288);
  EXPECT_EQ(row_bytes(DType::kQ5_K, 256), 176);
  EXPECT_EQ(row_bytes(DType::kQ6_K, 2048), 8 * 210);
  EXPECT_EQ(row_bytes(DType::kIQ4_NL, 32), 18);
  EXPECT_EQ(row_bytes(DType::kIQ4_XS, 256), 136);
  EXPECT_EQ(row_bytes(DType::kMXFP4, 96), 51);
  EXPECT_EQ(row_bytes(DType::kQ4_K, 0), 0);
}

TEST(DTypeDeathTest, ARowThatItsBlocksDoNotDivideIsABug) {
  EXPECT_DEATH(row_bytes(DType::kQ4_K, 288), "288 Q4_K");
  EXPECT_DEATH(row_bytes(DType::kQ8_0, 31), "31 Q8_0");
}

TEST(RawTensor, RowsComeFirstAndColumnsLast) {
  RawTensor experts;
  experts.dtype = DType::kQ4_0;
  experts.shape = {8, 6, 64};
  EXPECT_EQ(experts.num_cols(), 64);
  EXPECT_EQ(experts.num_rows(), 48);
  EXPECT_EQ(experts.row_stride_bytes(), 36);
  EXPECT_EQ(experts.num_bytes(), 48 * 36);

  RawTensor scalar;
  EXPECT_EQ(scalar.num_bytes(), 4);
}

}  // namespace
}  // namespace weft::tensor
