// Digests of whole files, made at memory speed and remembered between runs: a model is read once.
//
// A digest is SHA-256 over the SHA-256 of each piece of 8 MiB, so that all processors have a part.
// What is remembered of a file of 16 MiB or more is a line in a file of its own beside the others:
// device, inode, size, times of its last changes, digest. As git's index does it: a line counts
// only while all of them are as they were, and is written only for a file that had been left alone
// for some seconds when its reading began, for a clock's tick may hide a change within it. Not
// found out: bytes that a disk or a person changes beneath the file system.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>

namespace weft::checkpoint {

class FileDigests {
 public:
  static constexpr int64_t kPieceBytes = 8 << 20, kRememberedBytes = 16 << 20;
  static constexpr int64_t kSettledNs = 5'000'000'000;

  // Where digests are remembered; nowhere where it is empty, or cannot be written. settled_ns: how
  // long a file has to have been left alone.
  explicit FileDigests(std::filesystem::path folder, int64_t settled_ns = kSettledNs)
      : folder_(std::move(folder)), settled_ns_(settled_ns) {}
  // Of this user (base/cache_folder.h).
  static FileDigests of_user();

  // 64 hexadecimal digits. Error(kModel) where the file cannot be read, or changes meanwhile.
  std::string digest(const std::filesystem::path& file);

  int64_t num_bytes_read() const { return num_bytes_read_; }

 private:
  std::string remembered(const std::filesystem::path& line_file, const std::string& key) const;
  void remember(const std::filesystem::path& line_file, const std::string& line) const;

  std::filesystem::path folder_;
  int64_t settled_ns_;
  int64_t num_bytes_read_ = 0;
};

}  // namespace weft::checkpoint
