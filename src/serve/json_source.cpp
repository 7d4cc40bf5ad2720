#include "serve/json_source.h"

#include <charconv>
#include <cstdint>

namespace weft::serve {
namespace {

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

// Whether a key, as it is written, is this name. A letter may be written as \u0061.
bool is_named(std::string_view key, std::string_view name) {
  for (const char c : name) {
    const bool is_code = key.size() >= 6 && key.starts_with("\\u");
    unsigned code = key.empty() ? 0 : static_cast<unsigned char>(key[0]);
    if (is_code) std::from_chars(key.data() + 2, key.data() + 6, code, 16);
    if (code != static_cast<unsigned char>(c)) return false;
    key.remove_prefix(is_code ? 6 : 1);
  }
  return key.empty();
}

// A place in a valid text. What is behind its end is never read, so a text that is not valid gives
// nonsense and no more.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  bool at_end() const { return at_ >= text_.size(); }
  char peek() const { return at_end() ? '\0' : text_[at_]; }
  void skip_blanks() {
    while (!at_end() && is_blank(text_[at_])) ++at_;
  }
  // Past one of these, with the blanks around it.
  void skip(char expected) {
    skip_blanks();
    if (peek() == expected) ++at_;
    skip_blanks();
  }
  // The text of a string as it is written, without its quotes.
  std::string_view take_string() {
    const size_t begin = ++at_;
    while (!at_end() && text_[at_] != '"') at_ += text_[at_] == '\\' ? 2 : 1;
    const std::string_view inner = text_.substr(begin, at_ < text_.size() ? at_ - begin : 0);
    ++at_;
    return inner;
  }
  std::string_view take_value() {
    const size_t begin = at_;
    int64_t depth = 0;
    while (!at_end()) {
      const char c = text_[at_];
      if (c == '"') {
        take_string();
      } else if (c == '{' || c == '[') {
        ++depth, ++at_;
      } else if (depth == 0 && (c == ',' || c == '}' || is_blank(c))) {
        break;
      } else {
        if (c == '}' || c == ']') --depth;
        ++at_;
      }
      const bool is_closed = c == '"' || c == '}' || c == ']';
      if (depth == 0 && is_closed) break;
    }
    return begin < text_.size() ? text_.substr(begin, at_ - begin) : std::string_view();
  }

 private:
  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

std::string_view json_source(std::string_view object, std::string_view name) {
  // A byte order mark is no part of the text, to parsers either.
  if (object.starts_with("\xEF\xBB\xBF")) object.remove_prefix(3);
  Scanner scanner(object);
  std::string_view found;
  scanner.skip('{');
  while (scanner.peek() == '"') {
    const std::string_view key = scanner.take_string();
    scanner.skip(':');
    const std::string_view value = scanner.take_value();
    if (is_named(key, name)) found = value;
    scanner.skip(',');
  }
  return found;
}

}  // namespace weft::serve
