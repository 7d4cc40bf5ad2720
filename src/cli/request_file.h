// A file of requests, a line each (cli/request_line.h), that may be larger than the memory: all of
// it is checked at once, before a model is loaded, and each line is read again when its turn comes.
#pragma once

#include <cstdint>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "cli/request_line.h"
#include "cli/spooled_input.h"

namespace weft::cli {

inline constexpr int64_t kMaxLineBytes = int64_t{16} << 20;
inline constexpr int64_t kMaxLines = 10'000'000;

class RequestFile {
 public:
  // What is kept of a line.
  struct Entry {
    int64_t number = 0;  // from 1
    int64_t offset = 0, num_bytes = 0;
    std::string custom_id, request_id;
  };

  // Checks every line; blank ones do not count. Error(kUsage) that shows the first mistakes, each
  // with its line and field: two lines of one custom_id, a line that is too long, or a file that
  // is no file (lines are read twice, which a pipe does not allow), or that holds no request.
  // path: "-" stands for `standard_input`, which is read to its end.
  RequestFile(const std::string& path, LineDefaults defaults, std::istream& standard_input);

  // As it is called in messages.
  const std::string& path() const { return path_; }
  const std::vector<Entry>& entries() const { return entries_; }
  bool any_streams() const { return any_streams_; }
  // Error(kUsage) where the file is not what it was.
  RequestLine read(const Entry& entry);

 private:
  void open(const std::string& path, std::istream& standard_input);
  bool next_line(std::string* text);
  void index();
  void check_line(const std::string& text, int64_t number, int64_t offset);
  void check_ids() const;

  std::string path_;
  std::optional<SpooledInput> spooled_;
  LineDefaults defaults_;
  std::ifstream in_;
  std::vector<Entry> entries_;
  std::vector<std::string> mistakes_;
  int64_t num_mistakes_ = 0;
  bool any_streams_ = false;
};

}  // namespace weft::cli
