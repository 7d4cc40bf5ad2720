// The name under which an engine's answers can be had again: other weights or arithmetic, another
// name.
#pragma once

#include <string>

#include "kernels/kernels.h"

namespace weft::fleet {

// "fp_" and 16 hexadecimal digits, of the model's files and the numerics (engine/numerics.h). Of a
// folder all files count whose names say that they are a model's, of a split file all parts. A file
// counts with its length and its bytes: all of them up to 16 MiB; of a longer one the first 8 MiB,
// which hold what its header says of every tensor, the last MiB, and 64 KiB at each of 64 places
// between, so that it takes milliseconds. Who changes a large file elsewhere and keeps its length
// is not found out. Names of files do not count.
// Error(kModel) where a file cannot be read.
std::string fingerprint(const std::string& model_path, kernels::KvType cache);

}  // namespace weft::fleet
