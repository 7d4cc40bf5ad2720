#include "hub/cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <ostream>
#include <thread>

#include "base/error.h"

namespace weft::hub {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::minutes kPatience{10};
constexpr std::string_view kListings = ".weft";

std::string folder_name(const std::string& repo) {
  std::string name = "models--" + repo;
  name.replace(name.find('/'), 1, "--");
  return name;
}

[[noreturn]] void refuse_folder(const fs::path& path, const std::string& why) {
  throw Error(ErrorKind::kModel, fmt::format("cannot write to {}", path.string()), why,
              "set HF_HUB_CACHE or HF_HOME to a folder that can be written");
}

void make_folder(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) refuse_folder(path, error.message());
}

// By a rename, so that nobody reads a part of it.
void write_whole(const fs::path& path, std::string_view text) {
  make_folder(path.parent_path());
  const fs::path draft = path.string() + fmt::format(".{}.draft", getpid());
  std::ofstream file(draft, std::ios::binary);
  file << text;
  file.close();
  std::error_code error;
  if (file) fs::rename(draft, path, error);
  if (!file || error) refuse_folder(path, error ? error.message() : "the file cannot be written");
}

}  // namespace

RepoCache::RepoCache(fs::path cache, const std::string& repo)
    : folder_(cache / folder_name(repo)), locks_(cache / ".locks" / folder_name(repo)) {}

std::optional<std::string> RepoCache::commit_of(const std::string& revision) const {
  std::error_code ignored;
  if (is_commit(revision)) {
    return fs::is_directory(snapshot(revision), ignored) ? std::optional(revision) : std::nullopt;
  }
  std::ifstream file(folder_ / "refs" / revision);
  std::string commit;
  file >> commit;
  return is_commit(commit) ? std::optional(commit) : std::nullopt;
}

fs::path RepoCache::snapshot(const std::string& commit) const {
  return folder_ / "snapshots" / commit;
}
fs::path RepoCache::blob(const std::string& etag) const { return folder_ / "blobs" / etag; }
fs::path RepoCache::incomplete(const std::string& etag) const {
  return folder_ / "blobs" / (etag + ".incomplete");
}
fs::path RepoCache::lock(const std::string& etag) const { return locks_ / (etag + ".lock"); }

std::vector<std::string> RepoCache::files_of(const std::string& commit) const {
  std::vector<std::string> names;
  const fs::path root = snapshot(commit);
  std::error_code error;
  fs::recursive_directory_iterator at(root, error), end;
  for (; !error && at != end; at.increment(error)) {
    std::error_code gone;  // a link whose blob was removed is no file
    if (at->is_regular_file(gone)) names.push_back(at->path().lexically_relative(root).string());
  }
  std::ranges::sort(names);
  return names;
}

std::optional<std::vector<std::string>> RepoCache::listing_of(const std::string& commit) const {
  std::ifstream file(folder_ / kListings / commit, std::ios::binary);
  if (!file) return std::nullopt;
  std::vector<std::string> names;
  for (std::string name; std::getline(file, name);) {
    if (is_safe_file_name(name)) names.push_back(name);
  }
  return names;
}

void RepoCache::make_folders() const {
  for (const fs::path& folder :
       {folder_ / "blobs", folder_ / "snapshots", folder_ / "refs", locks_})
    make_folder(folder);
}

void RepoCache::link(const std::string& commit, const std::string& name,
                     const std::string& etag) const {
  const fs::path path = snapshot(commit) / name;
  make_folder(path.parent_path());
  fs::path target = "../../blobs";
  for (const char c : name) {
    if (c == '/') target = ".." / target;
  }
  target /= etag;
  std::error_code error;
  if (fs::read_symlink(path, error) == target) return;
  // Another process may be at the same: the link appears by a rename, whoever is last.
  const fs::path draft = path.string() + fmt::format(".{}.link", getpid());
  fs::remove(draft, error);
  fs::create_symlink(target, draft, error);
  if (error) {  // a file system without links: the file itself lies in the snapshot
    fs::rename(blob(etag), path, error);
    if (error) refuse_folder(path, error.message());
    return;
  }
  fs::rename(draft, path, error);
  if (error) refuse_folder(path, error.message());
}

void RepoCache::set_commit(const std::string& revision, const std::string& commit) const {
  if (!is_commit(revision)) write_whole(folder_ / "refs" / revision, commit);
}

void RepoCache::set_listing(const std::string& commit,
                            const std::vector<std::string>& names) const {
  write_whole(folder_ / kListings / commit, fmt::format("{}\n", fmt::join(names, "\n")));
}

BlobLock::BlobLock(const fs::path& path, const std::string& file_name, const Watch& watch,
                   const std::function<int64_t()>& size_of_other)
    : file_(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
  if (file_ < 0) refuse_folder(path, std::strerror(errno));
  using Clock = std::chrono::steady_clock;
  auto last_change = Clock::now();
  int64_t size = -1;
  bool told = false;
  while (flock(file_, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) return;  // no locks here: doubled work at worst
    if (!told)
      watch.says << "another process is fetching " << file_name << "; waiting" << std::endl;
    told = true;
    if (const int64_t now = size_of_other(); now != size) {
      size = now;
      last_change = Clock::now();
    }
    const bool hopeless = Clock::now() - last_change > kPatience;
    if (hopeless || watch.stop.load()) {
      close(file_);
      if (!hopeless) throw Stopped{};
      throw Error(ErrorKind::kModel,
                  fmt::format("another process holds {} and fetches nothing", path.string()),
                  "no byte came for ten minutes", "end it, then run the same command again");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

BlobLock::~BlobLock() { close(file_); }

}  // namespace weft::hub
