#include "tensor/dtype.h"

#include <array>

#include "base/error.h"

namespace weft::tensor {
namespace {

// In the order of the enum.
constexpr std::array<DTypeInfo, kNumDTypes> kTable = {{
    {DType::kF32, "F32", 0, 1, 4},
    {DType::kF16, "F16", 1, 1, 2},
    {DType::kBF16, "BF16", 30, 1, 2},
    {DType::kQ4_0, "Q4_0", 2, 32, 18},
    {DType::kQ4_1, "Q4_1", 3, 32, 20},
    {DType::kQ5_0, "Q5_0", 6, 32, 22},
    {DType::kQ5_1, "Q5_1", 7, 32, 24},
    {DType::kQ8_0, "Q8_0", 8, 32, 34},
    {DType::kQ2_K, "Q2_K", 10, 256, 84},
    {DType::kQ3_K, "Q3_K", 11, 256, 110},
    {DType::kQ4_K, "Q4_K", 12, 256, 144},
    {DType::kQ5_K, "Q5_K", 13, 256, 176},
    {DType::kQ6_K, "Q6_K", 14, 256, 210},
    {DType::kIQ4_NL, "IQ4_NL", 20, 32, 18},
    {DType::kIQ4_XS, "IQ4_XS", 23, 256, 136},
    {DType::kMXFP4, "MXFP4", 39, 32, 17},
}};

constexpr bool table_follows_enum() {
  for (size_t i = 0; i < kTable.size(); ++i) {
    if (static_cast<size_t>(kTable[i].dtype) != i) return false;
  }
  return true;
}
static_assert(table_follows_enum());

}  // namespace

const DTypeInfo& info(DType dtype) {
  const auto index = static_cast<size_t>(dtype);
  WEFT_CHECK_LT(index, kTable.size());
  return kTable[index];
}

std::optional<DType> dtype_from_ggml(uint32_t ggml_id) {
  for (const DTypeInfo& entry : kTable) {
    if (entry.ggml_id == ggml_id) return entry.dtype;
  }
  return std::nullopt;
}

int64_t row_bytes(DType dtype, int64_t num_elements) {
  const DTypeInfo& entry = info(dtype);
  WEFT_CHECK_LE(0, num_elements);
  WEFT_CHECK(num_elements % entry.block_elements == 0, "a row of {} {} elements", num_elements,
             entry.name);
  return num_elements / entry.block_elements * entry.block_bytes;
}

}  // namespace weft::tensor
