#include "checkpoint/packed_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <random>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "checkpoint/mapped_checkpoint.h"
#include "checkpoint/packed_checkpoint.h"
#include "checkpoint/refuse.h"
#include "checkpoint/vectors_file.h"

namespace weft::checkpoint {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void refuse_write(const fs::path& path, int error) {
  const bool full = error == ENOSPC || error == EDQUOT;
  throw Error(ErrorKind::kModel, fmt::format("cannot write {}", path.string()),
              std::strerror(error),
              full ? "free some room, or name a folder on a larger disk with -o"
                   : "name a folder that can be written with -o");
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

std::string sha256_of(std::string_view text) {
  Sha256 sum;
  sum.add(bytes_of(text));
  return sum.finish();
}

fs::path parent_of(const fs::path& folder) {
  return folder.has_parent_path() ? folder.parent_path() : fs::path(".");
}

// A name that nothing has yet. (mkdtemp's folder would be closed to all others, and the umask is
// asked for by changing it alone.)
fs::path make_staging(const fs::path& folder) {
  constexpr int kTries = 100;
  std::random_device random;
  for (int i = 0; i < kTries; ++i) {
    const std::string name = fmt::format("{}.partial-{:06x}", folder.string(), random() & 0xffffff);
    if (::mkdir(name.c_str(), 0777) == 0) return name;
    if (errno != EEXIST) break;
  }
  refuse_write(folder, errno);
}

// After this the folder's entries survive a loss of power. Not every file system can: no error.
void sync_folder(const fs::path& folder) {
  const int file = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file < 0) return;
  ::fsync(file);
  ::close(file);
}

// Gives `staging` the name `folder`. What has that name now, where it may be replaced, gets the
// staging's in the same moment.
void exchange(const fs::path& staging, const fs::path& folder, bool replace) {
  const auto renamed = [&](unsigned flags) {
    return ::renameat2(AT_FDCWD, staging.c_str(), AT_FDCWD, folder.c_str(), flags) == 0;
  };
  constexpr int kTries = 10;  // it may come and go while we look
  for (int i = 0; i < kTries; ++i) {
    if (renamed(RENAME_NOREPLACE)) return;
    if (errno == EEXIST && !replace) refuse_write(folder, errno);
    if (errno == EEXIST && renamed(RENAME_EXCHANGE)) return;
    if (errno != ENOENT) break;
  }
  if (errno != EINVAL && errno != ENOSYS) refuse_write(folder, errno);
  // A file system that knows no such flags: whoever looks between two steps finds nothing.
  const fs::path old = staging.string() + ".old";
  const bool replaces = is_there(folder);
  if (replaces && !replace) refuse_write(folder, EEXIST);
  if (replaces && ::rename(folder.c_str(), old.c_str()) != 0) refuse_write(folder, errno);
  if (::rename(staging.c_str(), folder.c_str()) != 0) {
    const int error = errno;
    if (replaces) ::rename(old.c_str(), folder.c_str());
    refuse_write(folder, error);
  }
  if (replaces) ::rename(old.c_str(), staging.c_str());
}

// Names that a packed folder's own files have.
bool is_own_file(const fs::directory_entry& entry) {
  std::error_code error;
  if (entry.is_directory(error) || error) return false;
  const std::string name = entry.path().filename().string();
  return name == kManifestName || name == vectors_file_name(FileFormat::kGguf) ||
         name == vectors_file_name(FileFormat::kSafetensors) ||
         (name.starts_with("rank-") && name.ends_with(".panels")) ||
         std::find(std::begin(kSideFiles), std::end(kSideFiles), name) != std::end(kSideFiles);
}

// The first entry of the folder that is no packed model's; empty where there is none.
std::string foreign_entry(const fs::path& folder) {
  std::error_code error;
  fs::directory_iterator entry(folder, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    if (!is_own_file(*entry)) return entry->path().filename().string();
  }
  return error ? error.message() : std::string();
}

// A link stands for what it points to.
fs::path followed(fs::path folder) {
  if (!folder.has_filename()) folder = folder.parent_path();  // "model.packed/"
  std::error_code error;
  if (!fs::is_symlink(folder, error)) return folder;
  const fs::path target = fs::canonical(folder, error);
  if (error)
    throw Error(ErrorKind::kUsage, fmt::format("{} is a link to nothing", folder.string()),
                error.message(), "remove it, or name another folder with -o");
  return target;
}

void check_room(const fs::path& folder, int64_t num_bytes) {
  std::error_code unknown;
  const fs::space_info space = fs::space(parent_of(folder), unknown);
  if (unknown || static_cast<int64_t>(space.available) >= num_bytes) return;
  throw Error(
      ErrorKind::kModel, fmt::format("not enough room to write {}", folder.string()),
      fmt::format("the panels take {:.1f} MB, {:.1f} MB are free",
                  static_cast<double>(num_bytes) / 1e6, static_cast<double>(space.available) / 1e6),
      "free some, or name a folder on a larger disk with -o");
}

}  // namespace

// Plain writes, all of whose errors are seen: a mapping would end the program with SIGBUS where
// the disk is full.
class PackedWriter::OutputFile {
 public:
  explicit OutputFile(fs::path path)
      : path_(std::move(path)),
        file_(::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)) {
    if (file_ < 0) refuse_write(path_, errno);
  }
  ~OutputFile() {
    if (file_ >= 0) ::close(file_);
  }
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  int64_t position() const { return position_; }
  void append(std::span<const std::byte> bytes) { position_ += write_at(bytes, position_); }
  void overwrite_head(std::span<const std::byte> bytes) { write_at(bytes, 0); }
  // After this the bytes survive a loss of power.
  void close() {
    if (::fsync(file_) != 0) refuse_write(path_, errno);
    if (::close(std::exchange(file_, -1)) != 0) refuse_write(path_, errno);
  }

 private:
  int64_t write_at(std::span<const std::byte> bytes, int64_t position) {
    size_t done = 0;
    while (done < bytes.size()) {
      const ssize_t written = ::pwrite(file_, bytes.data() + done, bytes.size() - done,
                                       static_cast<off_t>(position) + static_cast<off_t>(done));
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) refuse_write(path_, written < 0 ? errno : ENOSPC);
      done += static_cast<size_t>(written);
    }
    return static_cast<int64_t>(done);
  }

  fs::path path_;
  int file_;
  int64_t position_ = 0;
};

void check_packed_target(const fs::path& folder, bool replace) {
  if (!is_there(folder)) return;
  if (!fs::is_directory(folder) || !is_packed_folder(folder))
    throw Error(ErrorKind::kUsage, fmt::format("{} is there already", folder.string()),
                "it is no packed model, and nothing else is ever replaced",
                "name another folder with -o");
  const std::string foreign = foreign_entry(folder);
  if (!foreign.empty())
    throw Error(
        ErrorKind::kUsage, fmt::format("{} is there already", folder.string()),
        fmt::format("beside a packed model it holds {}, which would be lost", shown(foreign)),
        "move that away, or name another folder with -o");
  if (!replace)
    throw Error(ErrorKind::kUsage, fmt::format("{} is there already", folder.string()),
                "it holds a packed model",
                "replace it with --force, or name another folder with -o");
}

PackedWriter::PackedWriter(fs::path folder, bool replace, int64_t num_bytes)
    : folder_(followed(std::move(folder))), replace_(replace) {
  check_packed_target(folder_, replace_);
  check_room(folder_, num_bytes);
  staging_ = make_staging(folder_);
}

PackedWriter::~PackedWriter() {
  file_.reset();
  std::error_code ignored;
  if (!staging_.empty()) fs::remove_all(staging_, ignored);
}

void PackedWriter::write_rest(const Checkpoint& source,
                              const std::vector<const tensor::RawTensor*>& vectors) {
  const auto write = [&](const std::string& name, std::string_view text) {
    OutputFile file(staging_ / name);
    file.append(bytes_of(text));
    file.close();
  };
  const std::string text = vectors_file(source, vectors);
  write(vectors_file_name(source.format()), text);
  vectors_ = {static_cast<int64_t>(text.size()), sha256_of(text)};
  for (const std::string_view name : kSideFiles) {
    const auto side = source.side_file(name);
    if (!side) continue;
    write(std::string(name), *side);
    side_files_.push_back(
        {std::string(name), {static_cast<int64_t>(side->size()), sha256_of(*side)}});
  }
}

void PackedWriter::begin_rank(std::vector<PanelEntry> entries) {
  WEFT_CHECK(file_ == nullptr, "a rank is being written");
  place_entries(entries);
  entries_ = std::move(entries);
  entry_ = 0;
  sum_ = std::make_unique<Sha256>();
  file_ =
      std::make_unique<OutputFile>(staging_ / panel_file_name(static_cast<int64_t>(ranks_.size())));
  file_->append(bytes_of(panel_table_bytes(entries_)));  // its sums are filled in at the end
}

void PackedWriter::append(std::span<const std::byte> panels) {
  WEFT_CHECK_LT(entry_, entries_.size());
  PanelEntry& entry = entries_[entry_];
  const auto size = static_cast<int64_t>(panels.size());
  WEFT_CHECK_LE(file_->position() + size, entry.bytes.end);
  sum_->add(panels);
  file_->append(panels);
  if (file_->position() == entry.bytes.end) end_entry();
}

void PackedWriter::end_entry() {
  entries_[entry_++].sha256 = sum_->finish();
  sum_ = std::make_unique<Sha256>();
  pad_to(round_up(file_->position(), kPanelFileAlignment));
}

void PackedWriter::pad_to(int64_t offset) {
  static constexpr std::byte kZeros[kPanelFileAlignment] = {};
  WEFT_CHECK_LE(offset - file_->position(), kPanelFileAlignment);
  file_->append(std::span(kZeros).first(static_cast<size_t>(offset - file_->position())));
}

void PackedWriter::end_rank() {
  WEFT_CHECK_EQ(entry_, entries_.size());
  const std::string head = panel_table_bytes(entries_);
  file_->overwrite_head(bytes_of(head));
  const int64_t num_bytes = file_->position();
  file_->close();
  file_.reset();
  ranks_.push_back({num_bytes, sha256_of(std::string_view(head).substr(
                                   0, static_cast<size_t>(panel_table_size(entries_))))});
}

void PackedWriter::finish(Manifest manifest) {
  manifest.vectors = vectors_;
  manifest.side_files = side_files_;
  manifest.ranks = ranks_;
  {
    OutputFile file(staging_ / kManifestName);
    file.append(bytes_of(manifest_text(manifest)));
    file.close();
  }
  check_packed_target(folder_, replace_);  // may have come while this one was written
  sync_folder(staging_);
  exchange(staging_, folder_, replace_);
  const fs::path replaced = std::exchange(staging_, {});
  sync_folder(parent_of(folder_));
  std::error_code ignored;
  if (foreign_entry(replaced).empty()) fs::remove_all(replaced, ignored);
}

}  // namespace weft::checkpoint
