// One repository's part of the cache folder (hub.h has its layout).
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "hub/hub.h"

namespace weft::hub {

class RepoCache {
 public:
  RepoCache(std::filesystem::path cache, const std::string& repo);

  // The commit that a branch or tag had when it was last fetched, or the commit itself.
  std::optional<std::string> commit_of(const std::string& revision) const;
  std::filesystem::path snapshot(const std::string& commit) const;
  std::filesystem::path blob(const std::string& etag) const;
  std::filesystem::path incomplete(const std::string& etag) const;
  std::filesystem::path lock(const std::string& etag) const;

  // Names of the files of a snapshot whose bytes are there.
  std::vector<std::string> files_of(const std::string& commit) const;

  // Names of all files that the hub listed of a commit, as set_listing kept them. Nothing where
  // another program fetched it.
  std::optional<std::vector<std::string>> listing_of(const std::string& commit) const;

  // Error(kModel) where the folders cannot be written.
  void make_folders() const;
  // snapshots/<commit>/<name> → the blob. The name was checked (is_safe_file_name).
  void link(const std::string& commit, const std::string& name, const std::string& etag) const;
  void set_commit(const std::string& revision, const std::string& commit) const;
  // names: each is_safe_file_name.
  void set_listing(const std::string& commit, const std::vector<std::string>& names) const;

 private:
  std::filesystem::path folder_, locks_;
};

// Held by one process at a time, by flock as huggingface_hub's is: the system releases it even if
// the process dies. Waits for another holder as long as `size_of_other` changes at least every ten
// minutes, and says so once. Throws Stopped, Error(kModel).
class BlobLock {
 public:
  BlobLock(const std::filesystem::path& path, const std::string& file_name, const Watch& watch,
           const std::function<int64_t()>& size_of_other);
  ~BlobLock();
  BlobLock(const BlobLock&) = delete;
  BlobLock& operator=(const BlobLock&) = delete;

 private:
  int file_;
};

}  // namespace weft::hub
