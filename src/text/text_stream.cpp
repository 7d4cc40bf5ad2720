#include <algorithm>
#include <utility>

#include "text/text.h"
#include "text/utf8.h"

namespace weft::text {

// Knuth, Morris and Pratt: `fallback[n]` is the longest proper prefix of the stop string that the
// first n + 1 characters end with, so a byte costs a constant on average, whatever came before.
TextStream::StopString::StopString(std::string stop)
    : text(std::move(stop)), fallback(text.size(), 0) {
  for (size_t i = 1, length = 0; i < text.size(); ++i) {
    while (length > 0 && text[i] != text[length]) length = fallback[length - 1];
    if (text[i] == text[length]) ++length;
    fallback[i] = length;
  }
}

bool TextStream::StopString::advance(char byte) {
  while (matched > 0 && text[matched] != byte) matched = fallback[matched - 1];
  if (text[matched] == byte) ++matched;
  return matched == text.size();
}

TextStream::TextStream(const Tokenizer& tokenizer, TextStreamOptions options)
    : tokenizer_(tokenizer), options_(std::move(options)) {
  for (std::string& stop : options_.stop_strings) {
    if (!stop.empty()) stop_strings_.emplace_back(to_valid_utf8(stop));
  }
  options_.stop_strings.clear();
}

std::string TextStream::push(int32_t id, bool may_stop) {
  if (stopped_) return {};
  std::string piece = tokenizer_.piece(id, /*special=*/!options_.skip_special_tokens);
  if (at_start_ && !piece.empty()) {
    at_start_ = false;
    const bool strips = options_.strip_leading_space && tokenizer_.strips_leading_space();
    if (strips && piece.front() == ' ') piece.erase(0, 1);
  }
  incomplete_ += piece;
  const size_t complete = incomplete_.size() - incomplete_tail_bytes(incomplete_);
  std::string text = to_valid_utf8(std::string_view(incomplete_).substr(0, complete));
  incomplete_.erase(0, complete);
  return release(text, may_stop);
}

std::string TextStream::finish() {
  if (stopped_) return {};
  std::string text = release(to_valid_utf8(std::exchange(incomplete_, {})), true);
  if (!stopped_) text += std::exchange(held_, {});
  return text;
}

// Adds complete characters and returns what no stop string can claim any more.
std::string TextStream::release(std::string_view text, bool may_stop) {
  if (!may_stop) {
    for (StopString& stop : stop_strings_) stop.matched = 0;
    held_ += text;
    return std::exchange(held_, {});
  }
  for (const char byte : text) {
    held_ += byte;
    const StopString* longest = nullptr;  // of the stop strings that end here
    for (StopString& stop : stop_strings_) {
      if (stop.advance(byte) && (longest == nullptr || stop.text.size() > longest->text.size()))
        longest = &stop;
    }
    if (longest != nullptr) {
      stopped_ = true;
      stopped_by_ = longest->text;
      if (!options_.emit_stop_string) held_.resize(held_.size() - longest->text.size());
      return std::exchange(held_, {});
    }
  }
  size_t keep = 0;
  for (const StopString& stop : stop_strings_) keep = std::max(keep, stop.matched);
  std::string certain = held_.substr(0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  return certain;
}

}  // namespace weft::text
