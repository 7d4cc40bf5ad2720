#include "cli/answer_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace weft::cli {
namespace {

using nlohmann::json;

std::string text_at(const json& object, const json::json_pointer& place) {
  const auto found = object.contains(place) ? object.at(place) : json();
  return found.is_string() ? found.get<std::string>() : "";
}

// Whether a line without its end may be the beginning of an answer: what was written of one, or the
// zeros that a file system leaves where the machine itself went down.
bool may_be_torn(std::string_view text) {
  return text.starts_with(kAnswerStart) || kAnswerStart.starts_with(text) ||
         text.find_first_not_of('\0') == std::string_view::npos;
}

}  // namespace

AnswerFile::AnswerFile(const std::string& path, bool overwrite) : path_(path) {
  open_file(overwrite);
  try {
    read_known();
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

AnswerFile::~AnswerFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void AnswerFile::open_file(bool overwrite) {
  const auto refuse = [&](const char* what, std::string_view why, const char* mend = "") {
    if (descriptor_ >= 0) ::close(descriptor_);
    throw Error(ErrorKind::kUsage, fmt::format("{} {}", path_, what), why, mend);
  };
  descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (descriptor_ < 0)
    refuse("cannot be written", std::strerror(errno),
           errno == ENOENT ? "make the folder first, or name another file with --out" : "");
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode))
    refuse("is no file", "a stopped run goes on with it, which needs a file",
           "leave --out out: answers then go to standard output");
  // Held until the program ends, however that comes.
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    refuse("is being written by another run", "", "wait for it, or name another file with --out");
  if (overwrite && ::ftruncate(descriptor_, 0) != 0)
    refuse("cannot be written", std::strerror(errno));
}

void AnswerFile::read_known() {
  std::ifstream in(path_, std::ios::binary);
  std::string text;
  int64_t whole = 0;
  for (int64_t number = 1; std::getline(in, text); ++number) {
    if (!in.eof() && take_line(text, number)) {
      whole += static_cast<int64_t>(text.size()) + 1;
    } else if (in.eof() && may_be_torn(text)) {
      dropped_torn_line_ = true;
    } else {
      throw Error(ErrorKind::kUsage, fmt::format("line {} of {} is no answer", number, path_),
                  "a run goes on only with what a run has written",
                  "--overwrite starts anew, --out FILE elsewhere");
    }
  }
  if (dropped_torn_line_ && ::ftruncate(descriptor_, whole) != 0)
    throw Error(ErrorKind::kUsage, fmt::format("{} cannot be written", path_),
                std::strerror(errno));
}

bool AnswerFile::take_line(std::string_view text, int64_t number) {
  const json line = json::parse(text, nullptr, false);
  if (!line.is_object()) return false;
  const std::string custom_id = text_at(line, json::json_pointer("/custom_id"));
  if (custom_id.empty()) return false;
  Known known{text_at(line, json::json_pointer("/id")),
              text_at(line, json::json_pointer("/response/body/model")),
              text_at(line, json::json_pointer("/response/body/system_fingerprint")),
              line.contains("error") && !line["error"].is_null()};
  if (!known_.emplace(custom_id, std::move(known)).second)
    throw Error(ErrorKind::kUsage,
                fmt::format("line {} of {} answers '{}' a second time", number, path_, custom_id),
                "", "delete one of the two lines, or start anew with --overwrite");
  return true;
}

void AnswerFile::write(std::string_view line) {
  const std::string whole = std::string(line) + "\n";
  if (out_ != nullptr) {
    *out_ << whole << std::flush;
    if (!*out_)
      throw Error(ErrorKind::kUsage, "standard output could not be written", "",
                  "see to the file or pipe that it goes to, or name one with --out");
    return;
  }
  for (size_t done = 0; done < whole.size();) {
    const ssize_t count = ::write(descriptor_, whole.data() + done, whole.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0)
      throw Error(ErrorKind::kUsage, fmt::format("{} could not be written", path_),
                  std::strerror(errno), "make room; the same command goes on where this one ended");
    done += static_cast<size_t>(count);
  }
}

}  // namespace weft::cli
