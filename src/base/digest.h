// A text as a number that hardly any other text has: the beginning of its SHA-256.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

namespace weft {

struct Digest {
  std::string hex;  // 64 digits
  uint64_t number() const;
};
Digest digest_of(std::string_view text);
// Of several texts, each with its length: "ab" + "c" differs from "a" + "bc".
Digest digest_of(std::initializer_list<std::string_view> texts);

}  // namespace weft
