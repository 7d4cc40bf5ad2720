#include <fmt/format.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/mapped_checkpoint.h"
#include "checkpoint/refuse.h"
#include "checkpoint/safetensors_parser.h"

namespace weft::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kExtension = ".safetensors";
constexpr std::string_view kIndexName = "model.safetensors.index.json";

// Adds the file's tensors, which must include those that an index places in it.
void add_file(ModelParts& parts, const fs::path& path,
              const std::vector<std::string>& indexed_tensors = {}) {
  const std::string file = path.string();
  parts.files.emplace_back(path);
  const TensorTable tensors = parse_safetensors(parts.files.back().bytes(), file);
  for (const std::string& tensor : indexed_tensors) {
    if (tensors.find(tensor) == nullptr) {
      refuse(file, fmt::format("lacks tensor {}, which the index places in it", shown(tensor)),
             "the index and the file are of different models, or one is damaged", kFetchAgain);
    }
  }
  parts.tensors.add_all(tensors, file);
}

void add_indexed_files(ModelParts& parts, const fs::path& index_path) {
  const MappedFile index(index_path);
  const std::string file = index_path.string();
  std::map<std::string, std::vector<std::string>> tensors_of;  // file name → tensors
  for (const auto& [tensor, name] : parse_safetensors_index(index.bytes(), file)) {
    tensors_of[name].push_back(tensor);
  }
  for (const auto& [name, tensors] : tensors_of) {
    const fs::path path = index_path.parent_path() / name;
    if (!is_there(path)) {
      refuse(file, fmt::format("names {}, which is not beside it", shown(name)),
             "a model of several files needs all of them in one folder", "fetch the missing file");
    }
    add_file(parts, path, tensors);
  }
}

}  // namespace

std::unique_ptr<Checkpoint> open_safetensors(const fs::path& path) {
  ModelParts parts;
  parts.format = FileFormat::kSafetensors;
  parts.path = path;
  parts.side_folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  const std::optional<PartName> part = parse_part_name(path.filename().string(), kExtension);
  if (part && part->count > 1) {
    parts.path = parts.side_folder / kIndexName;
    if (!is_there(parts.path)) {
      refuse(path.string(),
             fmt::format("is part {} of {}, {} is not beside it", part->number, part->count,
                         kIndexName),
             "the index says which file holds which tensor", "fetch the whole folder");
    }
  }
  if (parts.path.extension() == ".json") {
    add_indexed_files(parts, parts.path);
  } else {
    add_file(parts, parts.path);
  }
  return std::make_unique<MappedCheckpoint>(std::move(parts));
}

}  // namespace weft::checkpoint
