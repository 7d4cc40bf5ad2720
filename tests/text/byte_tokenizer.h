// A vocabulary for tests of grammars: id b is the byte b, then some longer tokens, then <|end|>.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/text.h"

namespace weft::text {

class ByteTokenizer final : public Tokenizer {
 public:
  static constexpr int32_t kEnd = 260;

  int64_t vocab_size() const override { return kEnd + 1; }
  std::vector<int32_t> encode(std::string_view text, bool, bool) const override {
    std::vector<int32_t> ids;
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  std::string piece(int32_t id, bool special) const override {
    static const std::vector<std::string> kLonger{"true", "\":", "12", "  "};
    if (id < 0 || id > kEnd) return {};
    if (id < 256) return std::string(1, static_cast<char>(id));
    if (id == kEnd) return special ? "<|end|>" : "";
    return kLonger[static_cast<size_t>(id) - 256];
  }
  std::string decode(std::span<const int32_t> ids, bool special) const override {
    std::string text;
    for (const int32_t id : ids) text += piece(id, special);
    return text;
  }
  bool is_special(int32_t id) const override { return id == kEnd; }
  std::optional<int32_t> find_token(std::string_view) const override { return std::nullopt; }
  std::string description() const override { return "bytes"; }
};

}  // namespace weft::text
