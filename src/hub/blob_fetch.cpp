#include "hub/blob_fetch.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "base/error.h"
#include "base/sha256.h"

namespace weft::hub {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxRelocations = 8;  // addresses that a hub signs expire

// git's name of a blob: the SHA-1 of "blob <size>\0" and its bytes.
class GitHash {
 public:
  explicit GitHash(int64_t num_bytes) : context_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
    WEFT_CHECK_EQ(EVP_DigestInit_ex(context_.get(), EVP_sha1(), nullptr), 1);
    const std::string head = fmt::format("blob {}", num_bytes);
    EVP_DigestUpdate(context_.get(), head.c_str(), head.size() + 1);
  }
  void add(std::span<const std::byte> data) {
    EVP_DigestUpdate(context_.get(), data.data(), data.size());
  }
  std::string finish() {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    EVP_DigestFinal_ex(context_.get(), digest, &size);
    std::string text;
    for (unsigned i = 0; i < size; ++i) text += fmt::format("{:02x}", digest[i]);
    return text;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

// The file as it grows: every byte is hashed as it is written.
class GrowingFile {
 public:
  GrowingFile(fs::path path, const RemoteFile& expected)
      : path_(std::move(path)),
        expected_(expected),
        file_(open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)),
        git_(expected.num_bytes) {
    if (file_ < 0) refuse_write(errno);
  }
  ~GrowingFile() { close(file_); }
  GrowingFile(const GrowingFile&) = delete;
  GrowingFile& operator=(const GrowingFile&) = delete;

  // Takes over what an earlier try left; returns its bytes.
  int64_t take_over(const std::atomic<bool>& stop) {
    std::string piece(size_t{1} << 20, '\0');
    for (;;) {
      if (stop.load()) throw Stopped{};
      const ssize_t count = pread(file_, piece.data(), piece.size(), static_cast<off_t>(size_));
      if (count <= 0) break;
      hash({piece.data(), static_cast<size_t>(count)});
      size_ += count;
      if (size_ > expected_.num_bytes) break;
    }
    if (size_ <= expected_.num_bytes) return size_;
    clear();  // of something else
    return 0;
  }

  void clear() {
    if (ftruncate(file_, 0) != 0) refuse_write(errno);
    size_ = 0;
    sha256_ = std::make_unique<Sha256>();
    git_ = GitHash(expected_.num_bytes);
  }

  void append(std::span<const char> piece) {
    hash(piece);
    while (!piece.empty()) {
      const ssize_t count = pwrite(file_, piece.data(), piece.size(), static_cast<off_t>(size_));
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) refuse_write(count < 0 ? errno : ENOSPC);
      size_ += count;
      piece = piece.subspan(static_cast<size_t>(count));
    }
  }

  int64_t size() const { return size_; }

  // Whether the bytes are those that the hub names; then on the disk, too.
  bool is_right() {
    if (size_ != expected_.num_bytes) return false;
    if (!expected_.sha256.empty()) {
      if (sha256_->finish() != expected_.sha256) return false;
    } else if (!expected_.git_sha1.empty() && git_.finish() != expected_.git_sha1) {
      return false;
    }
    if (fsync(file_) != 0) refuse_write(errno);
    return true;
  }

 private:
  void hash(std::span<const char> piece) {
    const auto bytes = std::as_bytes(piece);
    if (!expected_.sha256.empty()) sha256_->add(bytes);
    if (!expected_.git_sha1.empty()) git_.add(bytes);
  }

  [[noreturn]] void refuse_write(int code) const {
    const bool full = code == ENOSPC || code == EDQUOT || code == EFBIG;
    throw Error(ErrorKind::kModel,
                fmt::format("cannot write {} to {}", expected_.name, path_.parent_path().string()),
                full ? fmt::format("the disk is full or its quota used up ({})", strerror(code))
                     : strerror(code),
                full ? "free some, or set HF_HUB_CACHE to a larger disk; what has come is kept"
                     : "set HF_HUB_CACHE or HF_HOME to a folder that can be written");
  }

  const fs::path path_;
  const RemoteFile& expected_;
  int file_;
  int64_t size_ = 0;
  std::unique_ptr<Sha256> sha256_ = std::make_unique<Sha256>();
  GitHash git_;
};

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

int64_t size_of(const fs::path& path) {
  std::error_code absent;
  const auto size = fs::file_size(path, absent);
  return absent ? 0 : static_cast<int64_t>(size);
}

class BlobFetch {
 public:
  BlobFetch(HttpClient& client, const ModelName& name, const std::string& commit,
            const RemoteBlob& blob, const Settings& settings,
            const std::function<void(int64_t)>& on_bytes)
      : client_(client),
        name_(name),
        commit_(commit),
        blob_(blob),
        settings_(settings),
        on_bytes_(on_bytes) {}

  // Until the file has all its bytes.
  void fill(GrowingFile& file) {
    for (int relocations = 0; file.size() < blob_.file.num_bytes;) {
      const int64_t before = file.size();
      const int status = receive(file);
      if (status == 0) continue;
      // An address that was signed an hour ago is refused; a new one goes on.
      if (file.size() > before) relocations = 0;
      if (++relocations > kMaxRelocations || !relocate()) {
        Response refusal;
        refusal.status = status;
        refuse(refusal, blob_.file.name, name_, settings_);
      }
    }
  }

 private:
  int receive(GrowingFile& file) {
    const auto sink = [&](std::span<const char> piece) {
      file.append(piece);
      on_bytes_(static_cast<int64_t>(piece.size()));
    };
    try {
      return client_.get_range(blob_.location, file.size(), blob_.file.num_bytes, sink).status;
    } catch (const TransportError& error) {
      refuse(error, blob_.file.name, settings_);
    }
  }

  // Whether the hub names another address than the one that was refused.
  bool relocate() {
    const RemoteBlob again = locate(client_, name_, commit_, blob_.file, settings_);
    const bool differs = again.location != blob_.location && again.etag == blob_.etag;
    blob_.location = again.location;
    return differs;
  }

  HttpClient& client_;
  const ModelName& name_;
  const std::string& commit_;
  RemoteBlob blob_;
  const Settings& settings_;
  const std::function<void(int64_t)>& on_bytes_;
};

}  // namespace

void fetch_blob(HttpClient& client, const RepoCache& cache, const ModelName& name,
                const std::string& commit, const RemoteBlob& blob, const Settings& settings,
                const Watch& watch, const std::function<void(int64_t num_bytes)>& on_bytes) {
  const fs::path target = cache.blob(blob.etag), growing = cache.incomplete(blob.etag);
  const BlobLock lock(cache.lock(blob.etag), blob.file.name, watch,
                      [&] { return size_of(growing); });
  if (is_there(target) && size_of(target) == blob.file.num_bytes) {
    on_bytes(blob.file.num_bytes);
    return cache.link(commit, blob.file.name, blob.etag);
  }
  BlobFetch fetch(client, name, commit, blob, settings, on_bytes);
  {
    GrowingFile file(growing, blob.file);
    const int64_t taken_over = file.take_over(watch.stop);
    on_bytes(taken_over);
    fetch.fill(file);
    bool right = file.is_right();
    if (!right && taken_over > 0) {  // what lay there may have been another's
      watch.says << blob.file.name << ": what was fetched before is damaged; fetching it again"
                 << std::endl;
      on_bytes(-file.size());
      file.clear();
      fetch.fill(file);
      right = file.is_right();
    }
    if (!right) {
      std::error_code ignored;
      fs::remove(growing, ignored);
      throw Error(ErrorKind::kModel, fmt::format("{} arrived damaged", blob.file.name),
                  fmt::format("its hash is not the one that {} names", settings.endpoint),
                  "run the same command again; a proxy or mirror may have changed it");
    }
  }
  std::error_code error;
  fs::rename(growing, target, error);
  if (error) {
    throw Error(ErrorKind::kModel, fmt::format("cannot write {}", target.string()),
                error.message());
  }
  cache.link(commit, blob.file.name, blob.etag);
}

}  // namespace weft::hub
