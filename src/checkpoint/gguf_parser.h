// One GGUF file's bytes → metadata and tensors. GGUF v2 and v3, little-endian, as ggml's
// docs/gguf.md describes them:
//
//   "GGUF", u32 version, u64 num_tensors, u64 num_values,
//   num_values x  { string key, u32 type, value }       string = u64 length, bytes
//                                                       array  = u32 type, u64 count, elements
//   num_tensors x { string name, u32 num_dims, u64 ne[num_dims], u32 type, u64 offset }
//   zeros up to a multiple of general.alignment (32 where absent)
//   data; offsets count from here and are multiples of the alignment
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "checkpoint/checkpoint.h"
#include "checkpoint/tensor_table.h"

namespace weft::checkpoint {

using ValueMap = std::map<std::string, Value, std::less<>>;

struct GgufContents {
  ValueMap values;
  TensorTable tensors;  // their bytes are borrowed from the span that was parsed
};

// Error(kModel) for anything that the format or this engine does not allow. `file` is the name
// for errors. `bytes` begins at a multiple of the file's alignment (a mapping's page does).
GgufContents parse_gguf(std::span<const std::byte> bytes, std::string_view file);

}  // namespace weft::checkpoint
