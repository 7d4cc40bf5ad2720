#include "checkpoint/refuse.h"

#include "base/error.h"

namespace weft::checkpoint {

void refuse(std::string_view file, std::string_view what, std::string_view why,
            std::string_view mend) {
  throw Error(ErrorKind::kModel, fmt::format("{}: {}", file, what), why, mend);
}

std::string shown(std::string_view text) {
  constexpr size_t kLongest = 96;
  std::string out = "'";
  for (const char c : text.substr(0, kLongest)) {
    if (c >= 0x20 && c < 0x7f) {
      out += c;
    } else {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  out += text.size() > kLongest ? "...'" : "'";
  return out;
}

}  // namespace weft::checkpoint
