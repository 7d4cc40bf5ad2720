// The name under which an engine's answers can be had again: other weights or arithmetic, another
// name.
#pragma once

#include <string>

#include "checkpoint/file_digests.h"
#include "engine/engine.h"

namespace weft::fleet {

// "fp_" and 16 hexadecimal digits, of every byte of the model's files and of the numerics
// (engine/numerics.h). Of a folder all files count whose names say that they are a model's, of a
// split file all parts. Names of files do not count. A large file is read whole once, and known
// again while it stays as it is (checkpoint/file_digests.h).
// Error(kModel) where a file cannot be read.
std::string fingerprint(const std::string& model_path, const std::string& numerics,
                        checkpoint::FileDigests& digests);
// Of what these options load, with what this user's runs remember.
std::string fingerprint(const engine::EngineOptions& options);

}  // namespace weft::fleet
