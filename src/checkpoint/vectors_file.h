// The small ordinary model file inside a packed model: everything of the source but its matrices.
#pragma once

#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace weft::checkpoint {

// A whole file in the source's format (GGUF v3 or safetensors) that holds these tensors of it and,
// for GGUF, all metadata but the keys of a split into parts. Integers become 64 bits wide, numbers
// F64: what a reader gets is equal.
std::string vectors_file(const Checkpoint& source,
                         const std::vector<const tensor::RawTensor*>& vectors);

}  // namespace weft::checkpoint
