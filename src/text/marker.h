// Finds one string in a text that comes byte by byte, by Knuth, Morris and Pratt: a byte costs a
// constant on average, whatever came before.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace weft::text {

class Marker {
 public:
  explicit Marker(std::string text) : text_(std::move(text)), fallback_(text_.size(), 0) {
    for (size_t i = 1, length = 0; i < text_.size(); ++i) {
      while (length > 0 && text_[i] != text_[length]) length = fallback_[length - 1];
      if (text_[i] == text_[length]) ++length;
      fallback_[i] = length;
    }
  }

  // True where the string is complete; the next byte begins anew. An empty one is never found.
  bool advance(char byte) {
    if (text_.empty()) return false;
    while (matched_ > 0 && text_[matched_] != byte) matched_ = fallback_[matched_ - 1];
    if (text_[matched_] == byte) ++matched_;
    if (matched_ < text_.size()) return false;
    matched_ = 0;
    return true;
  }
  void reset() { matched_ = 0; }
  // So many bytes of it are the end of what was seen.
  size_t matched() const { return matched_; }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
  std::vector<size_t> fallback_;
  size_t matched_ = 0;
};

}  // namespace weft::text
