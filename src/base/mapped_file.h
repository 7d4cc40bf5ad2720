// A file mapped read-only: model files are looked at through this and never read whole.
//
// The pages are the kernel's page cache, shared by every rank and process on the machine. The
// size is that of the moment of opening: a file that another program cuts short while it is mapped
// ends this one with SIGBUS, as with every mapping.
// Thread rule: const, all members may be called from any thread. Movable, the bytes stay put.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

#include "base/range.h"

namespace weft {

class MappedFile {
 public:
  // Error(kModel) with the system's reason where the file cannot be opened or mapped, or is not a
  // regular file. An empty file gives an empty span.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  const std::filesystem::path& path() const { return path_; }
  int64_t size() const { return size_; }
  std::span<const std::byte> bytes() const { return {data_, static_cast<size_t>(size_)}; }

  // Hints about a byte range (clipped to the file); ignored where the kernel knows better.
  // The whole file is about to be read front to back: read ahead far.
  void advise_sequential() const;
  // These bytes are needed soon: start reading them.
  void advise_will_need(Range bytes) const;
  // These bytes are not needed again: this process's pages of them may go.
  void advise_done_with(Range bytes) const;

 private:
  void unmap();

  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  int64_t size_ = 0;
};

// Enters the pages of these bytes of a mapped file into this process's page table, reading what is
// not in the page cache: later reads do not fault. Costs 0.1 us a page and more where it is read.
void enter_pages(std::span<const std::byte> bytes);

}  // namespace weft
