#include "checkpoint/tensor_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "checkpoint/refuse.h"

namespace weft::checkpoint {

using tensor::RawTensor;

void TensorTable::add(RawTensor tensor, std::string_view file) {
  if (!place_of_.emplace(tensor.name, list_.size()).second) {
    refuse(file, fmt::format("tensor {} is there twice", shown(tensor.name)), kDamaged);
  }
  list_.push_back(std::move(tensor));
}

void TensorTable::add_all(const TensorTable& part, std::string_view file) {
  for (const RawTensor& tensor : part.list()) add(tensor, file);
}

const RawTensor* TensorTable::find(std::string_view name) const {
  const auto found = place_of_.find(name);
  return found == place_of_.end() ? nullptr : &list_[found->second];
}

int64_t checked_num_bytes(std::string_view file, std::string_view name, tensor::DType dtype,
                          const std::vector<int64_t>& shape) {
  const tensor::DTypeInfo& type = tensor::info(dtype);
  const int64_t num_cols = shape.empty() ? 1 : shape.back();
  for (const int64_t size : shape) {
    if (size < 1) {
      refuse(file, fmt::format("tensor {} has a dimension of {} elements", shown(name), size),
             kDamaged);
    }
  }
  if (num_cols % type.block_elements != 0) {
    refuse(file, fmt::format("tensor {} has rows of {} elements, not a multiple of {}'s {}",
                             shown(name), num_cols, type.name, type.block_elements));
  }
  int64_t num_bytes = num_cols / type.block_elements;
  bool overflow = __builtin_mul_overflow(num_bytes, type.block_bytes, &num_bytes);
  for (size_t i = 0; i + 1 < shape.size(); ++i) {
    overflow = overflow || __builtin_mul_overflow(num_bytes, shape[i], &num_bytes);
  }
  if (overflow) {
    refuse(file, fmt::format("tensor {} has more bytes than 64 bits can count", shown(name)),
           kDamaged);
  }
  return num_bytes;
}

void place(RawTensor& tensor, uint64_t offset, std::span<const std::byte> data,
           std::string_view file) {
  const auto num_bytes =
      static_cast<uint64_t>(checked_num_bytes(file, tensor.name, tensor.dtype, tensor.shape));
  if (offset > data.size() || num_bytes > data.size() - offset) {
    refuse(file,
           fmt::format("tensor {} takes {} bytes from byte {} of the data, which has {}",
                       shown(tensor.name), num_bytes, offset, data.size()),
           kDamaged, kFetchAgain);
  }
  tensor.data = data.data() + offset;
}

void refuse_overlaps(const std::vector<RawTensor>& tensors, std::string_view file) {
  std::vector<const RawTensor*> by_place;
  by_place.reserve(tensors.size());
  for (const RawTensor& tensor : tensors) by_place.push_back(&tensor);
  std::sort(by_place.begin(), by_place.end(),
            [](const RawTensor* a, const RawTensor* b) { return std::less<>{}(a->data, b->data); });
  for (size_t i = 1; i < by_place.size(); ++i) {
    const RawTensor &before = *by_place[i - 1], &after = *by_place[i];
    const int64_t room = after.data - before.data;
    if (before.num_bytes() > room) {
      refuse(file,
             fmt::format("tensors {} and {} overlap: the first takes {} bytes, the second begins "
                         "{} bytes after it",
                         shown(before.name), shown(after.name), before.num_bytes(), room),
             kDamaged);
    }
  }
}

}  // namespace weft::checkpoint
