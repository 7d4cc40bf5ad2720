#include "checkpoint/packed_manifest.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "checkpoint/panel_table.h"
#include "checkpoint/refuse.h"
#include "checkpoint/tensor_table.h"
#include "tensor/panel.h"

namespace weft::checkpoint {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kFormatName = "weft packed model";
constexpr size_t kMaxManifestBytes = size_t{1} << 26;  // matrices of 1,024 layers and a rank each
constexpr size_t kMaxRanks = 65536;                    // 64 a stage, 1,024 layers
constexpr size_t kMaxTextBytes = 8192;
constexpr size_t kMaxDims = 4;
constexpr int64_t kMaxNumber = int64_t{1} << 60;
constexpr std::string_view kAgain = "pack the model again: weft pack MODEL";

// One object of the manifest, whose members are asked for by name and kind.
class Object {
 public:
  Object(const Json& json, std::string name, std::string_view file)
      : json_(json), name_(std::move(name)), file_(file) {
    if (!json.is_object()) refuse(file, fmt::format("{} is no object", name_), kDamaged, kAgain);
  }

  int64_t integer(const char* key, int64_t low, int64_t high) const {
    const Json& value = member(key);
    // A number past 2^63 is unsigned to the parser.
    const bool fits =
        value.is_number_integer() &&
        !(value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(kMaxNumber));
    const int64_t number = fits ? value.get<int64_t>() : -1;
    if (!fits || number < low || number > high)
      refuse(file_, fmt::format("{} is no number from {} to {}", path(key), low, high), kDamaged,
             kAgain);
    return number;
  }
  std::string text(const char* key) const {
    const Json& value = member(key);
    if (!value.is_string() || value.get_ref<const std::string&>().size() > kMaxTextBytes)
      refuse(file_, fmt::format("{} is no text of at most {} bytes", path(key), kMaxTextBytes),
             kDamaged, kAgain);
    return value.get<std::string>();
  }
  std::string sha256(const char* key) const {
    std::string value = text(key);
    if (!is_sha256(value))
      refuse(file_, fmt::format("{} is no SHA-256 sum", path(key)), kDamaged, kAgain);
    return value;
  }
  const Json& list(const char* key, size_t most) const {
    const Json& value = member(key);
    if (!value.is_array() || value.empty() || value.size() > most)
      refuse(file_, fmt::format("{} is no list of 1 to {}", path(key), most), kDamaged, kAgain);
    return value;
  }
  Object object(const char* key) const { return Object(member(key), path(key), file_); }

 private:
  std::string path(const char* key) const { return fmt::format("{}.{}", name_, key); }
  const Json& member(const char* key) const {
    const auto found = json_.find(key);
    if (found == json_.end())
      refuse(file_, fmt::format("{} has no \"{}\"", name_, key), kDamaged, kAgain);
    return *found;
  }

  const Json& json_;
  std::string name_;
  std::string_view file_;
};

void check_versions(const Object& root, std::string_view file) {
  if (root.text("format") != kFormatName)
    refuse(file, fmt::format("does not call itself a \"{}\"", kFormatName),
           "it is no manifest of a packed model");
  const int64_t format = root.integer("format_version", 0, kMaxNumber);
  if (format != kPackedFormatVersion)
    refuse_version(file, "the packed format", static_cast<uint64_t>(format), kPackedFormatVersion);
  const int64_t layout = root.integer("panel_layout_version", 0, kMaxNumber);
  if (layout != tensor::kPanelLayoutVersion)
    refuse_version(file, "the panel layout", static_cast<uint64_t>(layout),
                   tensor::kPanelLayoutVersion);
}

tensor::RawTensor read_matrix(const Object& object, std::string_view file) {
  tensor::RawTensor matrix;
  matrix.name = object.text("name");
  const std::string type = object.text("type");
  std::optional<tensor::DType> dtype;
  for (int i = 0; i < tensor::kNumDTypes; ++i) {
    if (tensor::name(static_cast<tensor::DType>(i)) == type) dtype = static_cast<tensor::DType>(i);
  }
  if (!dtype)
    refuse(file, fmt::format("matrix {} has the type {}", shown(matrix.name), shown(type)),
           kDamaged, kAgain);
  matrix.dtype = *dtype;
  for (const Json& size : object.list("shape", kMaxDims)) {
    const bool fits = size.is_number_unsigned() && size.get<uint64_t>() >= 1 &&
                      size.get<uint64_t>() <= uint64_t{1} << 40;
    if (!fits)
      refuse(file, fmt::format("matrix {} has a size that is no number", shown(matrix.name)),
             kDamaged, kAgain);
    matrix.shape.push_back(size.get<int64_t>());
  }
  static_cast<void>(checked_num_bytes(file, matrix.name, matrix.dtype, matrix.shape));
  return matrix;
}

Manifest::FileMark read_file(const Object& object, const char* sum_key, int64_t least_bytes = 1) {
  return {object.integer("bytes", least_bytes, kMaxNumber), object.sha256(sum_key)};
}

Json file_json(const Manifest::FileMark& file, const char* sum_key) {
  return {{"bytes", file.num_bytes}, {sum_key, file.sha256}};
}

// A text that is shown to people, whatever it may do to their terminals.
std::string without_controls(std::string text) {
  for (char& c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) c = '?';
  }
  return text;
}

// A split is numbers; its texts come back in messages.
std::string split_text(const Object& split, const char* key, std::string_view file) {
  std::string text = split.text(key);
  if (text.find_first_not_of("0123456789.,@+-eE \t") != std::string::npos)
    refuse(file, fmt::format("split.{} is no list of numbers", key), kDamaged, kAgain);
  return text;
}

std::optional<std::vector<Manifest::SideFile>> read_side_files(const Json& root,
                                                               std::string_view file) {
  const auto found = root.find("side_files");
  if (found == root.end()) return std::nullopt;
  if (!found->is_array() || found->size() > std::size(kSideFiles))
    refuse(file, fmt::format("side_files is no list of at most {}", std::size(kSideFiles)),
           kDamaged, kAgain);
  std::vector<Manifest::SideFile> list;
  for (const Json& entry : *found) {
    const Object object(entry, "a side file", file);
    const std::string name = object.text("name");
    if (std::find(std::begin(kSideFiles), std::end(kSideFiles), name) == std::end(kSideFiles))
      refuse(file, fmt::format("the side file {} is not known", shown(name)), kDamaged, kAgain);
    list.push_back({name, read_file(object, "sha256", 0)});
  }
  return list;
}

std::string_view container_name(FileFormat container) {
  return container == FileFormat::kGguf ? "gguf" : "safetensors";
}

}  // namespace

std::string vectors_file_name(FileFormat container) {
  return fmt::format("vectors.{}", container_name(container));
}

std::string panel_file_name(int64_t rank) { return fmt::format("rank-{:04}.panels", rank); }

Manifest parse_manifest(std::span<const std::byte> bytes, std::string_view file) {
  if (bytes.size() > kMaxManifestBytes)
    refuse(file, fmt::format("is {} bytes long, more than {}", bytes.size(), kMaxManifestBytes));
  const auto* text = reinterpret_cast<const char*>(bytes.data());
  const Json json = Json::parse(text, text + bytes.size(), nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) refuse(file, "is not JSON", kDamaged, kAgain);
  const Object root(json, "the manifest", file);
  check_versions(root, file);

  Manifest manifest;
  manifest.model = without_controls(root.text("model"));
  manifest.source = without_controls(root.text("source"));
  const std::string container = root.text("container");
  if (container != "gguf" && container != "safetensors")
    refuse(file, fmt::format("the container {} is not known", shown(container)), kDamaged, kAgain);
  manifest.container = container == "gguf" ? FileFormat::kGguf : FileFormat::kSafetensors;
  const Object split = root.object("split");
  manifest.split = {split.integer("tensor_parallel_size", 0, kMaxRanks),
                    split_text(split, "pipeline_parallel", file),
                    split_text(split, "tp_weights", file), split_text(split, "stages", file)};
  manifest.vectors = read_file(root.object("vectors"), "sha256");
  manifest.side_files = read_side_files(json, file);
  for (const Json& matrix : root.list("matrices", kMaxManifestBytes))
    manifest.matrices.push_back(read_matrix(Object(matrix, "a matrix", file), file));
  for (const Json& rank : root.list("ranks", kMaxRanks))
    manifest.ranks.push_back(read_file(Object(rank, "a rank", file), "table_sha256"));
  return manifest;
}

std::string manifest_text(const Manifest& manifest) {
  Json matrices = Json::array(), ranks = Json::array(), side_files = Json::array();
  for (const Manifest::SideFile& side :
       manifest.side_files.value_or(std::vector<Manifest::SideFile>{}))
    side_files.push_back(
        {{"name", side.name}, {"bytes", side.mark.num_bytes}, {"sha256", side.mark.sha256}});
  for (const tensor::RawTensor& matrix : manifest.matrices)
    matrices.push_back(
        {{"name", matrix.name}, {"type", tensor::name(matrix.dtype)}, {"shape", matrix.shape}});
  for (const Manifest::FileMark& rank : manifest.ranks)
    ranks.push_back(file_json(rank, "table_sha256"));
  const PackedSplit& split = manifest.split;
  const Json json = {{"format", kFormatName},
                     {"format_version", kPackedFormatVersion},
                     {"panel_layout_version", tensor::kPanelLayoutVersion},
                     {"model", manifest.model.substr(0, kMaxTextBytes / 4)},
                     {"source", manifest.source},
                     {"container", container_name(manifest.container)},
                     {"split",
                      {{"tensor_parallel_size", split.tensor_parallel_size},
                       {"pipeline_parallel", split.pipeline_parallel},
                       {"tp_weights", split.tp_weights},
                       {"stages", split.stages}}},
                     {"vectors", file_json(manifest.vectors, "sha256")},
                     {"side_files", std::move(side_files)},
                     {"matrices", std::move(matrices)},
                     {"ranks", std::move(ranks)}};
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace weft::checkpoint
