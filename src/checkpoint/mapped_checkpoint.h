// The one implementation of Checkpoint: mapped files, their tensors, their metadata. The two
// formats differ in how it is filled.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf_parser.h"
#include "checkpoint/tensor_table.h"

namespace weft::checkpoint {

struct ModelParts {
  FileFormat format = FileFormat::kGguf;
  std::filesystem::path path;         // the first file, or the index
  std::filesystem::path side_folder;  // empty: the format has no side files
  std::vector<MappedFile> files;
  TensorTable tensors;
  ValueMap values;
};

class MappedCheckpoint final : public Checkpoint {
 public:
  explicit MappedCheckpoint(ModelParts parts) : parts_(std::move(parts)) {}

  FileFormat format() const override { return parts_.format; }
  const std::filesystem::path& path() const override { return parts_.path; }
  int64_t file_bytes() const override;
  const std::vector<tensor::RawTensor>& tensors() const override { return parts_.tensors.list(); }
  const tensor::RawTensor* find(std::string_view name) const override {
    return parts_.tensors.find(name);
  }
  const Value* find_value(std::string_view key) const override;
  std::vector<std::string> keys() const override;
  std::optional<std::string> side_file(std::string_view name) const override;

 private:
  ModelParts parts_;
};

// A .gguf file; where its metadata says that it is the first of a split, the others beside it too.
std::unique_ptr<Checkpoint> open_gguf(const std::filesystem::path& path);

// A .safetensors file, or a *.safetensors.index.json with the files that it names beside it.
std::unique_ptr<Checkpoint> open_safetensors(const std::filesystem::path& path);

// Whether the path names something that can be looked at.
bool is_there(const std::filesystem::path& path);

// Where `file_name` ends with "-00002-of-00005<extension>": the part before it, 2 and 5.
struct PartName {
  std::string stem;
  int64_t number = 0;
  int64_t count = 0;
};
std::optional<PartName> parse_part_name(std::string_view file_name, std::string_view extension);

}  // namespace weft::checkpoint
