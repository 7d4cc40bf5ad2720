#include "checkpoint/file_digests.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "base/cache_folder.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/log.h"
#include "base/sha256.h"

namespace weft::checkpoint {
namespace {

namespace fs = std::filesystem;

// Past this many a memory's bandwidth is used up.
constexpr size_t kMostThreads = 32;
constexpr size_t kReadBytes = 256 << 10;  // stays in a core's cache between read and sum
constexpr int64_t kWorthALine = int64_t{4} << 30;

class OpenFile {
 public:
  explicit OpenFile(const fs::path& path)
      : path_(path), fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (fd_ < 0) fail(std::strerror(errno));
  }
  ~OpenFile() { close(fd_); }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  struct stat status() const {
    struct stat status {};
    if (fstat(fd_, &status) != 0) fail(std::strerror(errno));
    if (!S_ISREG(status.st_mode)) fail("it is no file");
    return status;
  }
  void read(int64_t offset, std::span<std::byte> out) const {
    while (!out.empty()) {
      const ssize_t got = pread(fd_, out.data(), out.size(), offset);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail(std::strerror(errno));
      if (got == 0) fail("it became shorter while it was read");
      out = out.subspan(static_cast<size_t>(got));
      offset += got;
    }
  }
  [[noreturn]] void fail(const char* why) const {
    throw Error(ErrorKind::kModel, fmt::format("cannot read {}", path_.string()), why,
                "check the path and its permissions");
  }

 private:
  const fs::path& path_;
  const int fd_;
};

int64_t ns(const timespec& time) { return time.tv_sec * 1'000'000'000 + time.tv_nsec; }

// A file as it is now; also the time of its last change of state, which nobody can set.
std::string key_of(const struct stat& status) {
  return fmt::format("{} {} {} {} {}", status.st_dev, status.st_ino, status.st_size,
                     ns(status.st_mtim), ns(status.st_ctim));
}

bool is_settled(const struct stat& status, int64_t settled_ns) {
  const int64_t now = std::chrono::duration_cast<std::chrono::nanoseconds>(
                          std::chrono::system_clock::now().time_since_epoch())
                          .count();
  return std::max(ns(status.st_mtim), ns(status.st_ctim)) < now - settled_ns;
}

std::string digest_of_piece(const OpenFile& file, int64_t begin, int64_t end,
                            std::vector<std::byte>& buffer) {
  Sha256 sum;
  for (int64_t at = begin; at < end; at += static_cast<int64_t>(kReadBytes)) {
    const auto part = std::span(buffer).first(std::min(kReadBytes, static_cast<size_t>(end - at)));
    file.read(at, part);
    sum.add(part);
  }
  return sum.finish();
}

// Pieces are handed out in order, so that a disk reads forward.
std::vector<std::string> digests_of_pieces(const OpenFile& file, int64_t length) {
  constexpr int64_t kPiece = FileDigests::kPieceBytes;
  std::vector<std::string> digests(static_cast<size_t>((length + kPiece - 1) / kPiece));
  std::atomic<size_t> next{0};
  std::mutex mutex;
  std::optional<Error> error;
  const auto work = [&] {
    try {
      std::vector<std::byte> buffer(kReadBytes);
      for (size_t i = next++; i < digests.size(); i = next++) {
        const int64_t begin = static_cast<int64_t>(i) * kPiece;
        digests[i] = digest_of_piece(file, begin, std::min(length, begin + kPiece), buffer);
      }
    } catch (const Error& e) {
      const std::lock_guard lock(mutex);
      error = e;
      next = digests.size();
    }
  };
  {
    std::vector<std::jthread> others;
    const size_t num_threads = std::min({usable_cpus().size(), kMostThreads, digests.size()});
    for (size_t i = 1; i < num_threads; ++i) others.emplace_back(work);
    work();
  }
  if (error) throw Error(*error);
  return digests;
}

}  // namespace

FileDigests FileDigests::of_user() { return FileDigests(cache_folder(process_environment())); }

std::string FileDigests::digest(const fs::path& path) {
  const OpenFile file(path);
  const struct stat before = file.status();
  const std::string key = key_of(before);
  const bool may_remember = !folder_.empty() && before.st_size >= kRememberedBytes;
  const fs::path line_file =
      folder_ / "digests" / fmt::format("{:x}-{:x}", before.st_dev, before.st_ino);
  if (may_remember)
    if (std::string known = remembered(line_file, key); !known.empty()) return known;
  const bool was_settled = is_settled(before, settled_ns_);
  if (before.st_size >= kWorthALine)
    log_info("reading {} once ({:.1f} GB), for the fingerprint of its answers",
             path.filename().string(), static_cast<double>(before.st_size) / 1e9);
  Sha256 sum;
  for (const std::string& piece : digests_of_pieces(file, before.st_size))
    sum.add(std::as_bytes(std::span(piece)));
  std::string digest = sum.finish();
  num_bytes_read_ += before.st_size;
  if (key_of(file.status()) != key) file.fail("it changed while it was read");
  if (may_remember && was_settled) remember(line_file, key + " " + digest + "\n");
  return digest;
}

std::string FileDigests::remembered(const fs::path& line_file, const std::string& key) const {
  constexpr size_t kDigits = 64;
  std::ifstream in(line_file);
  std::string line;
  if (!std::getline(in, line) || line.size() != key.size() + 1 + kDigits) return {};
  const std::string digest = line.substr(key.size() + 1);
  const bool is_whole = digest.find_first_not_of("0123456789abcdef") == std::string::npos;
  return line.starts_with(key + " ") && is_whole ? digest : "";
}

// Whole or not at all, whoever else writes it. A folder that cannot be written costs the reading.
void FileDigests::remember(const fs::path& line_file, const std::string& line) const {
  std::error_code error;
  fs::create_directories(line_file.parent_path(), error);
  const fs::path draft = line_file.string() + fmt::format(".{}", getpid());
  std::ofstream out(draft);
  out << line << std::flush;
  const bool is_written = out.good();
  out.close();
  if (is_written) fs::rename(draft, line_file, error);
  if (!is_written || error) fs::remove(draft, error);
}

}  // namespace weft::checkpoint
