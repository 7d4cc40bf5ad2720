#include "serve/sse_reader.h"

namespace weft::serve {

void SseReader::feed(std::span<const char> bytes, const OnData& on_data) {
  for (const char c : bytes) {
    const bool second_of_pair = c == '\n' && after_cr_;
    after_cr_ = c == '\r';
    if (second_of_pair) continue;
    if (c == '\n' || c == '\r') {
      end_line(on_data);
    } else {
      line_ += c;
    }
  }
}

void SseReader::end_line(const OnData& on_data) {
  if (line_.empty()) {
    if (has_data_) on_data(data_);
    data_.clear();
    has_data_ = false;
    return;
  }
  constexpr std::string_view kField = "data";
  std::string_view line = line_;
  // Comments begin with a colon; of the other fields nobody here asks.
  if (line.starts_with(kField) && (line.size() == kField.size() || line[kField.size()] == ':')) {
    line.remove_prefix(kField.size());
    if (line.starts_with(':')) line.remove_prefix(1);
    if (line.starts_with(' ')) line.remove_prefix(1);
    if (has_data_) data_ += '\n';
    data_ += line;
    has_data_ = true;
  }
  line_.clear();
}

}  // namespace weft::serve
