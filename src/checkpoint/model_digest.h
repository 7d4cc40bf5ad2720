// The files of a model on a disk, without opening it; and what tells two models' files apart.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/file_digests.h"

namespace weft::checkpoint {

// Of a folder all files whose names say that they are a model's, sorted; of a split file all parts;
// otherwise the file itself. Error(kModel) where a folder cannot be read.
std::vector<std::filesystem::path> files_of_model(const std::filesystem::path& model);

struct ModelDigest {
  int64_t num_files = 0, num_bytes = 0;
  std::string digest;  // 64 hexadecimal digits

  friend bool operator==(const ModelDigest&, const ModelDigest&) = default;
};

// Of the files, in order (names do not count, the json files beside one .safetensors file do): all
// of small files, the beginning of large ones, where the metadata are, and 4 KiB at 256 places to
// the end. Reads some 17 MiB, so two models that differ in a few weights alone may have the same.
ModelDigest sampled_digest(const std::filesystem::path& model);
// Of every byte.
ModelDigest whole_digest(const std::filesystem::path& model, FileDigests& digests);

}  // namespace weft::checkpoint
