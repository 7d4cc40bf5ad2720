#include "base/digest.h"

#include <span>

#include "base/sha256.h"

namespace weft {
namespace {

void add_text(std::string_view text, Sha256* sum) { sum->add(std::as_bytes(std::span(text))); }

}  // namespace

uint64_t Digest::number() const { return std::stoull(hex.substr(0, 16), nullptr, 16); }

Digest digest_of(std::string_view text) {
  Sha256 sum;
  add_text(text, &sum);
  return {sum.finish()};
}

Digest digest_of(std::initializer_list<std::string_view> texts) {
  Sha256 sum;
  for (const std::string_view text : texts) {
    add_text(std::to_string(text.size()) + ":", &sum);
    add_text(text, &sum);
  }
  return {sum.finish()};
}

}  // namespace weft
