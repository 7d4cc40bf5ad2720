#include "checkpoint/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>

#include "base/error.h"
#include "checkpoint/mapped_checkpoint.h"
#include "checkpoint/packed_checkpoint.h"
#include "checkpoint/refuse.h"

namespace weft::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kIndexSuffix = ".safetensors.index.json";

bool is_index(const fs::path& path) { return path.filename().string().ends_with(kIndexSuffix); }

// A file that does not begin a model: a later part of a split GGUF.
bool is_later_part(const fs::path& path) {
  const auto part = parse_part_name(path.filename().string(), ".gguf");
  return part && part->number > 1;
}

std::vector<fs::path> files_in(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  fs::directory_iterator entry(folder, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    std::error_code unknown;  // a broken link is no file
    if (entry->is_regular_file(unknown)) files.push_back(entry->path());
  }
  if (error) refuse(folder.string(), "the folder cannot be read", error.message());
  std::sort(files.begin(), files.end());
  return files;
}

// The files of a folder that each open a model. An index speaks for all .safetensors files beside
// it; without one "model.safetensors" does, as in transformers.
std::vector<fs::path> models_in(const fs::path& folder) {
  std::vector<fs::path> models, safetensors, indices;
  for (const fs::path& file : files_in(folder)) {
    if (file.extension() == ".gguf" && !is_later_part(file)) models.push_back(file);
    if (file.extension() == ".safetensors") safetensors.push_back(file);
    if (is_index(file)) indices.push_back(file);
  }
  const fs::path usual = folder / "model.safetensors";
  if (!indices.empty()) {
    safetensors = indices;
  } else if (std::find(safetensors.begin(), safetensors.end(), usual) != safetensors.end()) {
    safetensors = {usual};
  }
  models.insert(models.end(), safetensors.begin(), safetensors.end());
  return models;
}

fs::path only_model_in(const fs::path& folder) {
  const std::vector<fs::path> models = models_in(folder);
  if (models.size() == 1) return models.front();
  if (models.empty()) {
    refuse(folder.string(), "holds no model", "there is no .gguf and no .safetensors file in it");
  }
  constexpr size_t kMostListed = 8;
  std::string names;
  for (size_t i = 0; i < std::min(models.size(), kMostListed); ++i) {
    names += (i > 0 ? ", " : "") + models[i].filename().string();
  }
  if (models.size() > kMostListed) names += ", ...";
  refuse(folder.string(), fmt::format("holds {} models", models.size()), names,
         "name one of these files");
}

}  // namespace

const tensor::RawTensor& Checkpoint::require(std::string_view name) const {
  const tensor::RawTensor* tensor = find(name);
  if (tensor == nullptr) {
    refuse(path().string(), fmt::format("has no tensor {}", shown(name)),
           "the model's family needs it; the file is incomplete or of another family");
  }
  return *tensor;
}

std::unique_ptr<Checkpoint> Checkpoint::open(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) {
    refuse(path.string(), "there is no such file or folder", error ? error.message() : "",
           "check the path, or fetch a model with weft pull");
  }
  if (fs::is_directory(status) && is_packed_folder(path)) return open_packed(path);
  if (path.filename() == kManifestName) return open_packed(path.parent_path());
  const fs::path file = fs::is_directory(status) ? only_model_in(path) : path;
  if (file.extension() == ".safetensors" || is_index(file)) return open_safetensors(file);
  if (file.extension() == ".gguf") return open_gguf(file);
  refuse(file.string(), "is neither a .gguf nor a .safetensors file");
}

}  // namespace weft::checkpoint
