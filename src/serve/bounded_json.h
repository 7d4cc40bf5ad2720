// JSON of texts that come from outside, within bounds that are counted before anything is built: a
// text costs time in proportion to its bytes, and memory in a small multiple of them.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string_view>

namespace weft::serve {

// Deeper objects and lists are refused: what writes JSON again is recursive.
inline constexpr int kMaxJsonDepth = 64;

// Objects that keep the order of their keys compare a new key with all before it.
inline constexpr int kMaxObjectKeys = 4096;       // of one object
inline constexpr int kMaxJsonKeys = 1 << 16;      // of all objects
inline constexpr int kMaxJsonCompares = 1 << 24;  // of keys with keys: two objects of 4096
// Objects and lists take 50 to 150 bytes for two that are written, texts 64 for three.
inline constexpr int kMaxJsonContainers = 100'000;
inline constexpr int kMaxJsonTexts = 1 << 18;
inline constexpr int kMaxJsonValues = 1 << 22;  // 16 bytes each: as many ids as a body has room for

// What was read so far, where several texts count together.
struct JsonCount {
  int64_t containers = 0, texts = 0, values = 0, keys = 0, compares = 0;
};

// place: "line 12", "the body". RequestError where the text is no JSON, is beyond the bounds or
// holds a number that is out of range; it names param, where that is not empty.
nlohmann::json parse_json(std::string_view text, std::string_view place,
                          std::string_view param = {});
// The same, keys in the order of their author. count: what was read before, and with this text.
nlohmann::ordered_json parse_ordered_json(std::string_view text, std::string_view place,
                                          JsonCount* count = nullptr);

}  // namespace weft::serve
