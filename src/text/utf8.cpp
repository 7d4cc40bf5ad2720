#include "text/utf8.h"

#include <algorithm>
#include <cstdint>

namespace weft::text {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

enum class Status { kCharacter, kBroken, kCutOff };

struct Step {
  size_t length;  // of the character, or of the longest part of one
  Status status;
};

// The character at the start of `bytes`, which is not empty (table 3-7 of the Unicode standard:
// the second byte's range excludes overlong forms, surrogates and values above U+10FFFF).
Step first_character(std::string_view bytes) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(bytes[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return {1, Status::kCharacter};
  if (lead < 0xC2 || lead > 0xF4) return {1, Status::kBroken};
  const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  const uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (size_t i = 1; i < length; ++i) {
    if (i == bytes.size()) return {i, Status::kCutOff};
    const bool fits = i == 1 ? byte(i) >= low && byte(i) <= high : (byte(i) & 0xC0) == 0x80;
    if (!fits) return {i, Status::kBroken};
  }
  return {length, Status::kCharacter};
}

}  // namespace

bool is_valid_utf8(std::string_view bytes) {
  while (!bytes.empty()) {
    const Step step = first_character(bytes);
    if (step.status != Status::kCharacter) return false;
    bytes.remove_prefix(step.length);
  }
  return true;
}

std::string to_valid_utf8(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  while (!bytes.empty()) {
    const Step step = first_character(bytes);
    text += step.status == Status::kCharacter ? bytes.substr(0, step.length) : kReplacement;
    bytes.remove_prefix(step.length);
  }
  return text;
}

size_t incomplete_tail_bytes(std::string_view bytes) {
  for (size_t length = 1; length <= std::min<size_t>(3, bytes.size()); ++length) {
    const std::string_view tail = bytes.substr(bytes.size() - length);
    const bool continues = (static_cast<uint8_t>(tail.front()) & 0xC0) == 0x80;
    if (continues) continue;
    const Step step = first_character(tail);
    return step.status == Status::kCutOff && step.length == length ? length : 0;
  }
  return 0;
}

}  // namespace weft::text
