// One safetensors file's bytes → tensors, and the index of a model cut into several files.
//
//   u64 header bytes, header: {"name": {"dtype": "BF16", "shape": [rows, cols],
//                                       "data_offsets": [begin, end]}, ..., "__metadata__": {...}}
//   data; offsets count from here and cover it without gaps
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "checkpoint/tensor_table.h"

namespace weft::checkpoint {

// Tensors in BF16, F16 and F32; their bytes are borrowed from `bytes`, which begins at a multiple
// of 8. Error(kModel) for anything else; `file` is the name for errors.
TensorTable parse_safetensors(std::span<const std::byte> bytes, std::string_view file);

// Tensor name → file name of a model.safetensors.index.json. The file names are plain: no folder,
// ending with ".safetensors".
std::map<std::string, std::string, std::less<>> parse_safetensors_index(
    std::span<const std::byte> bytes, std::string_view file);

}  // namespace weft::checkpoint
