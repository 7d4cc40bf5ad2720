// Element types of tensors in files. Block layouts follow ggml's (docs/gguf.md of ggml and
// ggml-common.h): a row is a sequence of blocks of `block_elements` elements and `block_bytes`.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace weft::tensor {

enum class DType : uint8_t {
  kF32, kF16, kBF16,
  kQ4_0, kQ4_1, kQ5_0, kQ5_1, kQ8_0,
  kQ2_K, kQ3_K, kQ4_K, kQ5_K, kQ6_K,
  kIQ4_NL, kIQ4_XS, kMXFP4,
};
inline constexpr int kNumDTypes = 16;

struct DTypeInfo {
  DType dtype;
  std::string_view name;   // as llama.cpp prints it: "Q4_K"
  uint32_t ggml_id;        // ggml_type in a GGUF file
  int64_t block_elements;  // 1, 32 or 256
  int64_t block_bytes;
};

const DTypeInfo& info(DType dtype);
std::optional<DType> dtype_from_ggml(uint32_t ggml_id);
inline std::string_view name(DType dtype) { return info(dtype).name; }

// Bytes of one row of `num_elements`, a multiple of block_elements (checked).
int64_t row_bytes(DType dtype, int64_t num_elements);

}  // namespace weft::tensor
