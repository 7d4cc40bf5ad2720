#include "cli/request_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <unordered_map>

#include "base/counted.h"
#include "base/error.h"

namespace weft::cli {
namespace {

constexpr size_t kShownMistakes = 8;
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";  // that some editors put first

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

}  // namespace

RequestFile::RequestFile(const std::string& path, LineDefaults defaults,
                         std::istream& standard_input)
    : path_(path == "-" ? "standard input" : path), defaults_(std::move(defaults)) {
  open(path, standard_input);
  index();
  if (num_mistakes_ > 0) {
    const auto more = num_mistakes_ - static_cast<int64_t>(mistakes_.size());
    throw Error(ErrorKind::kUsage,
                fmt::format("{}: {}{}", path_, fmt::join(mistakes_, "\n  "),
                            more > 0 ? fmt::format("\n  and {} more", counted(more, "line")) : ""),
                "", "mend these lines, or leave them out: nothing was computed yet");
  }
  if (entries_.empty())
    throw Error(ErrorKind::kUsage, fmt::format("{} holds no request", path_), "",
                R"(write one a line: {"prompt": "..."}, or an OpenAI batch request)");
  check_ids();
}

void RequestFile::open(const std::string& path, std::istream& standard_input) {
  if (path == "-") {
    spooled_.emplace(standard_input);
    in_.open(spooled_->path(), std::ios::binary);
    WEFT_CHECK(in_.is_open(), "{} is gone", spooled_->path());
    return;
  }
  struct stat status {};
  if (::stat(path_.c_str(), &status) != 0)
    throw Error(ErrorKind::kUsage, fmt::format("{} cannot be read", path_), std::strerror(errno));
  if (!S_ISREG(status.st_mode))
    throw Error(ErrorKind::kUsage, fmt::format("{} is no file", path_),
                "its lines are read twice: checked first, answered later",
                "write the requests into a file, or give --file - and the pipe as standard input");
  in_.open(path_, std::ios::binary);
  if (!in_)
    throw Error(ErrorKind::kUsage, fmt::format("{} cannot be read", path_), std::strerror(errno));
}

// The next line without its line feed; false at the end. Of a line that is too long no more is kept
// than shows that it is.
bool RequestFile::next_line(std::string* text) {
  text->clear();
  std::streambuf& source = *in_.rdbuf();
  for (int c = source.sbumpc(); c != EOF; c = source.sbumpc()) {
    if (c == '\n') return true;
    if (static_cast<int64_t>(text->size()) <= kMaxLineBytes) text->push_back(static_cast<char>(c));
  }
  return !text->empty();
}

void RequestFile::index() {
  std::string text;
  int64_t number = 0;
  for (int64_t offset = in_.tellg(); next_line(&text); offset = in_.tellg()) {
    if (++number > kMaxLines)
      throw Error(ErrorKind::kUsage, fmt::format("{} has more than {} lines", path_, kMaxLines), "",
                  "cut it into several files");
    if (number == 1 && text.starts_with(kByteOrderMark)) {
      text.erase(0, kByteOrderMark.size());
      offset += static_cast<int64_t>(kByteOrderMark.size());
    }
    if (!is_blank(text)) check_line(text, number, offset);
  }
}

void RequestFile::check_line(const std::string& text, int64_t number, int64_t offset) {
  try {
    const auto num_bytes = static_cast<int64_t>(text.size());
    if (num_bytes > kMaxLineBytes)
      throw Error(ErrorKind::kUsage,
                  fmt::format("line {} is longer than {} MiB", number, kMaxLineBytes >> 20));
    RequestLine line = parse_request_line(text, number, defaults_);
    any_streams_ = any_streams_ || line.streams;
    entries_.push_back(
        {number, offset, num_bytes, std::move(line.custom_id), std::move(line.request_id)});
  } catch (const Error& error) {
    if (++num_mistakes_ > static_cast<int64_t>(kShownMistakes)) return;
    mistakes_.push_back(error.summary() + (error.why().empty() ? "" : " (" + error.why() + ")"));
  }
}

void RequestFile::check_ids() const {
  std::unordered_map<std::string_view, int64_t> line_of;
  line_of.reserve(entries_.size());
  for (const Entry& entry : entries_) {
    const auto [first, is_new] = line_of.emplace(entry.custom_id, entry.number);
    if (!is_new)
      throw Error(ErrorKind::kUsage,
                  fmt::format("{}: lines {} and {} have one custom_id, '{}'", path_, first->second,
                              entry.number, entry.custom_id),
                  "answers are told apart by it", "give each line its own");
  }
}

RequestLine RequestFile::read(const Entry& entry) {
  std::string text(static_cast<size_t>(entry.num_bytes), '\0');
  in_.clear();
  in_.seekg(entry.offset);
  in_.read(text.data(), entry.num_bytes);
  const auto changed = [&](std::string_view why) {
    return Error(ErrorKind::kUsage,
                 fmt::format("line {} of {} is not what it was at the start", entry.number, path_),
                 why, "leave the file alone while it is answered");
  };
  if (in_.gcount() != entry.num_bytes) throw changed("the file ends before it");
  try {
    RequestLine line = parse_request_line(text, entry.number, defaults_);
    if (line.request_id == entry.request_id) return line;
  } catch (const Error& error) {
    throw changed(error.summary());
  }
  throw changed("");
}

}  // namespace weft::cli
