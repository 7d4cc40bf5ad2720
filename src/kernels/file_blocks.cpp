#include "kernels/file_blocks.h"

#include "kernels/file_blocks.inl.h"

namespace weft::kernels {

FileGroup read_group(tensor::DType file_type, const std::byte* row, int64_t block) {
  const tensor::DTypeInfo& type = tensor::info(file_type);
  const int64_t offset = block * tensor::kGroupInputs / type.block_elements * type.block_bytes;
  FileGroup group{};
  with_quantized_type(
      file_type, [&]<tensor::DType kType>() { read_group_as<kType>(row + offset, block, group); });
  return group;
}

}  // namespace weft::kernels
