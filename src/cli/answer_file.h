// The answers of a file of requests, a line each, in a file that a stopped run goes on with.
//
// A line is written in one piece as its request ends, so that whatever stops the program leaves
// whole lines and at most one torn one, the last, which is dropped and done again. Requests whose
// answer is there, failed ones included, are not done again: delete a line to have it done.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <string_view>
#include <unordered_map>

namespace weft::cli {

// How every line of answers begins (cli/answer_line.h).
inline constexpr std::string_view kAnswerStart = R"({"id":"weft-)";

class AnswerFile {
 public:
  struct Known {
    std::string request_id, model, fingerprint;
    bool failed = false;
  };

  // Opens or makes the file and reads what it holds; overwrite: forgets it. Error(kUsage) where it
  // cannot be written, is being written by another run, holds what is no answer, or two answers of
  // one custom_id.
  AnswerFile(const std::string& path, bool overwrite);
  // Into `out` instead, which must outlive this.
  explicit AnswerFile(std::ostream& out) : out_(&out) {}
  ~AnswerFile();
  AnswerFile(const AnswerFile&) = delete;
  AnswerFile& operator=(const AnswerFile&) = delete;

  const std::string& path() const { return path_; }
  bool is_file() const { return descriptor_ >= 0; }
  // What was there, by custom_id.
  const std::unordered_map<std::string, Known>& known() const { return known_; }
  bool dropped_torn_line() const { return dropped_torn_line_; }

  // line: without a line feed. On its way to the disk when this returns. Error(kUsage) where it
  // cannot be written.
  void write(std::string_view line);

 private:
  void open_file(bool overwrite);
  void read_known();
  // False where the line is no answer.
  bool take_line(std::string_view text, int64_t number);

  std::string path_;
  int descriptor_ = -1;
  std::ostream* out_ = nullptr;
  std::unordered_map<std::string, Known> known_;
  bool dropped_torn_line_ = false;
};

}  // namespace weft::cli
