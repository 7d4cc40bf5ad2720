// The tensors of a model in file order, found by name; and the arithmetic on their sizes that no
// file can make overflow.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tensor/raw_tensor.h"

namespace weft::checkpoint {

class TensorTable {
 public:
  // Error(kModel) where the name is there already.
  void add(tensor::RawTensor tensor, std::string_view file);
  // Adds the tensors of another part of the model.
  void add_all(const TensorTable& part, std::string_view file);

  const std::vector<tensor::RawTensor>& list() const { return list_; }
  const tensor::RawTensor* find(std::string_view name) const;

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  std::vector<tensor::RawTensor> list_;
  std::unordered_map<std::string, size_t, Hash, std::equal_to<>> place_of_;
};

// Bytes of a tensor of this shape (rows first), which a file states. Error(kModel) where a
// dimension is not positive, where the blocks of the type do not divide the row, or where the
// bytes exceed int64.
int64_t checked_num_bytes(std::string_view file, std::string_view name, tensor::DType dtype,
                          const std::vector<int64_t>& shape);

// Points the tensor at data[offset, offset + its bytes). Error(kModel) where that leaves `data`.
void place(tensor::RawTensor& tensor, uint64_t offset, std::span<const std::byte> data,
           std::string_view file);

// Error(kModel) where two tensors share a byte.
void refuse_overlaps(const std::vector<tensor::RawTensor>& tensors, std::string_view file);

}  // namespace weft::checkpoint
