#include "cli/shown_text.h"

#include <algorithm>

#include "text/utf8.h"

namespace weft::cli {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

// Bytes of the control character that `text` begins with; 0: it begins with another.
size_t control_size(std::string_view text) {
  const auto first = static_cast<unsigned char>(text.front());
  if (first < 0x20 || first == 0x7f) return 1;
  // C1: U+0080 to U+009F.
  return first == 0xc2 && static_cast<unsigned char>(text[1]) < 0xa0 ? 2 : 0;
}

}  // namespace

std::string without_controls(std::string_view text) {
  const std::string valid = text::to_valid_utf8(text);
  std::string shown;
  for (size_t i = 0; i < valid.size();) {
    const size_t size =
        valid[i] == '\n' || valid[i] == '\t' ? 0 : control_size({&valid[i], valid.size() - i});
    if (size > 0) shown += kReplacement;
    if (size == 0) shown += valid[i];
    i += std::max<size_t>(size, 1);
  }
  return shown;
}

std::string in_one_line(std::string_view text) {
  std::string line = without_controls(text);
  std::ranges::replace_if(
      line, [](char c) { return c == '\n' || c == '\t'; }, ' ');
  return line;
}

std::string shortened(std::string_view text, size_t most) {
  if (text.size() <= most) return std::string(text);
  size_t end = most - 3;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return std::string(text.substr(0, end)) + "...";
}

}  // namespace weft::cli
