// Writes a packed model: into a folder beside its place, NAME.partial-XXXXXX, which gets its name
// in one step when it is whole and on the disk; one that is replaced is there until then. If
// anything fails or the writer is destroyed before, nothing is left behind; a process that is
// killed leaves the partial folder, which no command takes for a model. What is written may be read
// by whom the process's umask lets. Where the place is a symbolic link, what it points to is
// replaced.
//
//   PackedWriter writer("model.packed", /*replace=*/false);
//   writer.write_rest(source, vectors);                 metadata, tokenizer, tensors of one row
//   for each rank:
//     writer.begin_rank(entries);                       sizes of the panels are known
//     for each entry: writer.append(bytes); ...         in order, in any pieces
//     writer.end_rank();
//   writer.finish(manifest);
//
// Thread rule: one thread.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/sha256.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/packed_manifest.h"
#include "checkpoint/panel_table.h"

namespace weft::checkpoint {

// Error(kUsage) where a packed model cannot go there: something is there already that is no packed
// model, or holds other files too, or `replace` is not set. Called by the writer; here for a check
// before long work.
void check_packed_target(const std::filesystem::path& folder, bool replace);

class PackedWriter {
 public:
  // num_bytes: of all panels; Error(kModel) where the disk has no such room, or the folder cannot
  // be made.
  PackedWriter(std::filesystem::path folder, bool replace, int64_t num_bytes);
  ~PackedWriter();
  PackedWriter(const PackedWriter&) = delete;
  PackedWriter& operator=(const PackedWriter&) = delete;

  void write_rest(const Checkpoint& source, const std::vector<const tensor::RawTensor*>& vectors);
  void begin_rank(std::vector<PanelEntry> entries);
  void append(std::span<const std::byte> panels);
  void end_rank();
  // Completes the manifest with the files' marks, writes it and puts the folder in its place.
  void finish(Manifest manifest);

 private:
  class OutputFile;

  void pad_to(int64_t offset);
  void end_entry();

  std::filesystem::path folder_, staging_;
  bool replace_;
  Manifest::FileMark vectors_;
  std::vector<Manifest::SideFile> side_files_;
  std::vector<Manifest::FileMark> ranks_;
  // Of the rank being written.
  std::unique_ptr<OutputFile> file_;
  std::vector<PanelEntry> entries_;
  size_t entry_ = 0;
  std::unique_ptr<Sha256> sum_;  // of the entry being written
};

}  // namespace weft::checkpoint
