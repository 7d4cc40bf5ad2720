// A packed model (weft pack): the panels of every rank of one split, mapped as they are, and a
// small ordinary checkpoint with the rest (metadata, tokenizer, tensors of one row).
//
// As a Checkpoint it has the metadata and tensors of the model that was packed, but the matrices
// have no bytes (RawTensor::data is null): what remains of them is in the panel files.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/mapped_file.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/packed_manifest.h"
#include "checkpoint/panel_table.h"

namespace weft::checkpoint {

// One rank's panels. Thread-safe to read.
class PanelFile {
 public:
  // Maps the file and checks it against its mark in the manifest.
  PanelFile(const std::filesystem::path& path, const Manifest::FileMark& mark);

  const std::filesystem::path& path() const { return file_.path(); }
  int64_t size() const { return file_.size(); }
  const std::vector<PanelEntry>& entries() const { return table_.entries; }
  // The panels of this part, or Error(kModel) saying what the file holds instead. `wanted` states
  // no place.
  const std::byte* panels(const PanelEntry& wanted) const;
  // Whether the entry's panels have the sum that the table says. Reads all of them; on_bytes hears
  // of every piece and may return false, which ends the reading (and the answer is true).
  bool is_intact(const PanelEntry& entry, const std::function<bool(int64_t)>& on_bytes) const;

 private:
  MappedFile file_;
  PanelTable table_;
  std::unordered_map<std::string_view, const PanelEntry*> entry_of_;  // by tensor
};

struct PackedModel {
  Manifest manifest;
  std::vector<PanelFile> ranks;
};

// Whether the folder holds a packed model.
bool is_packed_folder(const std::filesystem::path& folder);
std::unique_ptr<Checkpoint> open_packed(const std::filesystem::path& folder);

}  // namespace weft::checkpoint
