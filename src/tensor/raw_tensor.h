// A tensor as it lies in a mapped file: a borrowed view of raw blocks, rows first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tensor/dtype.h"

namespace weft::tensor {

// shape: rows first, the contiguous dimension last, e.g. [vocab_size, hidden_size] (the reverse of
// GGUF's ne[]). Only the pages of the rows and columns that are read get touched. The bytes live
// as long as the Checkpoint that lent them. data is null for the matrices of a packed model, of
// which there are panels alone.
struct RawTensor {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  const std::byte* data = nullptr;

  int64_t num_cols() const { return shape.empty() ? 1 : shape.back(); }
  int64_t num_rows() const {
    int64_t rows = 1;
    for (size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
    return rows;
  }
  int64_t row_stride_bytes() const { return row_bytes(dtype, num_cols()); }
  int64_t num_bytes() const { return num_rows() * row_stride_bytes(); }
};

}  // namespace weft::tensor
