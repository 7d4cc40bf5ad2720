#include "checkpoint/packed_checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/sha256.h"
#include "checkpoint/mapped_checkpoint.h"
#include "checkpoint/refuse.h"

namespace weft::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMixed =
    "files of different packed models were mixed, or one is damaged";
constexpr std::string_view kAgain = "pack the model again: weft pack MODEL";

std::string sha256_of(std::span<const std::byte> bytes) {
  Sha256 sum;
  sum.add(bytes);
  return sum.finish();
}

// The size and the sum of (the beginning of) a file that the manifest marks.
void check_mark(const MappedFile& file, std::span<const std::byte> summed,
                const Manifest::FileMark& mark) {
  if (file.size() != mark.num_bytes)
    refuse(file.path().string(),
           fmt::format("is {} bytes long, {} says {}", file.size(), kManifestName, mark.num_bytes),
           "the file is cut short, or of another packed model", kAgain);
  if (sha256_of(summed) != mark.sha256)
    refuse(file.path().string(), fmt::format("is not the file that {} names", kManifestName),
           kMixed, kAgain);
}

// Whatever a part is of, in words.
std::string described(const PanelEntry& entry) {
  return fmt::format("rows {} to {} and inputs {} to {} ({} units, {}, {} bytes)", entry.rows.begin,
                     entry.rows.end, entry.inputs.begin, entry.inputs.end, entry.num_units,
                     tensor::name(entry.dtype), entry.bytes.size());
}

class PackedCheckpoint final : public Checkpoint {
 public:
  PackedCheckpoint(fs::path manifest_path, PackedModel packed, std::unique_ptr<Checkpoint> rest)
      : path_(std::move(manifest_path)), packed_(std::move(packed)), rest_(std::move(rest)) {
    const std::string file = path_.string();
    for (const tensor::RawTensor& matrix : packed_.manifest.matrices) tensors_.add(matrix, file);
    for (const tensor::RawTensor& vector : rest_->tensors()) tensors_.add(vector, file);
  }

  FileFormat format() const override { return rest_->format(); }
  const fs::path& path() const override { return path_; }
  int64_t file_bytes() const override {
    int64_t sum = rest_->file_bytes();
    for (const PanelFile& rank : packed_.ranks) sum += rank.size();
    return sum;
  }
  const std::vector<tensor::RawTensor>& tensors() const override { return tensors_.list(); }
  const tensor::RawTensor* find(std::string_view name) const override {
    return tensors_.find(name);
  }
  const Value* find_value(std::string_view key) const override { return rest_->find_value(key); }
  std::vector<std::string> keys() const override { return rest_->keys(); }
  std::optional<std::string> side_file(std::string_view name) const override {
    const auto& listed = packed_.manifest.side_files;
    const auto is_it = [&](const Manifest::SideFile& side) { return side.name == name; };
    if (listed && std::none_of(listed->begin(), listed->end(), is_it)) return std::nullopt;
    return rest_->side_file(name);
  }
  const PackedModel* packed() const override { return &packed_; }

 private:
  fs::path path_;
  PackedModel packed_;
  std::unique_ptr<Checkpoint> rest_;
  TensorTable tensors_;
};

// Missing files are said in the words of the folder, not of the system.
fs::path require_file(const fs::path& folder, const std::string& name) {
  const fs::path path = folder / name;
  if (!is_there(path))
    refuse(folder.string(), fmt::format("lacks {}, which {} names", name, kManifestName),
           "the folder was copied in part, or a file was removed", kAgain);
  return path;
}

}  // namespace

PanelFile::PanelFile(const fs::path& path, const Manifest::FileMark& mark) : file_(path) {
  table_ = parse_panel_table(file_.bytes(), path.string());
  check_mark(file_, file_.bytes().first(static_cast<size_t>(table_.table_bytes)), mark);
  for (const PanelEntry& entry : table_.entries) entry_of_.emplace(entry.tensor, &entry);
}

const std::byte* PanelFile::panels(const PanelEntry& wanted) const {
  const auto found = entry_of_.find(wanted.tensor);
  if (found == entry_of_.end())
    refuse(path().string(), fmt::format("holds no panels of {}", shown(wanted.tensor)),
           "its split, or the cut that this version of weft makes of it, is another", kAgain);
  const PanelEntry& entry = *found->second;
  if (!entry.same_part(wanted))
    refuse(path().string(),
           fmt::format("of {} holds {}, not {}", shown(wanted.tensor), described(entry),
                       described(wanted)),
           "its split, or the cut that this version of weft makes of it, is another", kAgain);
  return file_.bytes().data() + entry.bytes.begin;
}

bool PanelFile::is_intact(const PanelEntry& entry,
                          const std::function<bool(int64_t)>& on_bytes) const {
  constexpr int64_t kPieceBytes = int64_t{4} << 20;
  Sha256 sum;
  for (int64_t begin = entry.bytes.begin; begin < entry.bytes.end; begin += kPieceBytes) {
    const Range piece{begin, std::min(entry.bytes.end, begin + kPieceBytes)};
    file_.advise_will_need({piece.begin, piece.end + kPieceBytes});
    sum.add(
        file_.bytes().subspan(static_cast<size_t>(piece.begin), static_cast<size_t>(piece.size())));
    if (!on_bytes(piece.size())) return true;
  }
  return sum.finish() == entry.sha256;
}

bool is_packed_folder(const fs::path& folder) { return is_there(folder / kManifestName); }

std::unique_ptr<Checkpoint> open_packed(const fs::path& folder) {
  const fs::path manifest_path = folder / kManifestName;
  PackedModel packed;
  packed.manifest = parse_manifest(MappedFile(manifest_path).bytes(), manifest_path.string());
  const Manifest& manifest = packed.manifest;

  const fs::path rest = require_file(folder, vectors_file_name(manifest.container));
  {
    const MappedFile file(rest);
    check_mark(file, file.bytes(), manifest.vectors);
  }
  for (const Manifest::SideFile& side :
       manifest.side_files.value_or(std::vector<Manifest::SideFile>{})) {
    const MappedFile file(require_file(folder, side.name));
    check_mark(file, file.bytes(), side.mark);
  }
  packed.ranks.reserve(manifest.ranks.size());
  for (size_t r = 0; r < manifest.ranks.size(); ++r) {
    const fs::path path = require_file(folder, panel_file_name(static_cast<int64_t>(r)));
    packed.ranks.emplace_back(path, manifest.ranks[r]);
  }
  auto vectors = manifest.container == FileFormat::kGguf ? open_gguf(rest) : open_safetensors(rest);
  return std::make_unique<PackedCheckpoint>(manifest_path, std::move(packed), std::move(vectors));
}

}  // namespace weft::checkpoint
