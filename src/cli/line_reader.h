// A line that someone types at the terminal, with editing and history (libedit).
#pragma once

#include <memory>
#include <string>

namespace weft::cli {

struct TypedLine {
  enum class Kind { kText, kInterrupt, kEnd };  // a line; Ctrl-C; Ctrl-D or a closed terminal
  Kind kind = Kind::kText;
  std::string text;  // without the line feed
};

// Of standard input and output; both must be a terminal. One in a process.
class LineReader {
 public:
  LineReader();
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  TypedLine read(const std::string& prompt);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace weft::cli
