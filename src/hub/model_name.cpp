#include "hub/model_name.h"

#include <algorithm>

namespace weft::hub {
namespace {

constexpr size_t kMaxWord = 96;  // the hub's own limit of a name

bool is_letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// One part of a path: letters, digits, dots, dashes and underscores; not only dots.
bool is_word(std::string_view word, size_t max_size) {
  const auto allowed = [](char c) {
    return is_letter_or_digit(c) || c == '.' || c == '-' || c == '_';
  };
  return !word.empty() && word.size() <= max_size && std::ranges::all_of(word, allowed) &&
         word != "." && word != "..";
}

bool is_repo(std::string_view repo) {
  const size_t slash = repo.find('/');
  if (slash == std::string_view::npos) return false;
  const std::string_view user = repo.substr(0, slash), name = repo.substr(slash + 1);
  // "--" and ".." have a meaning in the cache's folder names and in the hub's own rules.
  const bool plain =
      repo.find("--") == std::string_view::npos && repo.find("..") == std::string_view::npos;
  return plain && is_word(user, kMaxWord) && is_word(name, kMaxWord) &&
         is_letter_or_digit(user.front());
}

bool is_revision(std::string_view revision) {
  if (revision.size() > 2 * kMaxWord || revision.starts_with('.')) return false;
  for (size_t begin = 0; begin <= revision.size();) {
    const size_t end = std::min(revision.find('/', begin), revision.size());
    if (!is_word(revision.substr(begin, end - begin), kMaxWord)) return false;
    begin = end + 1;
  }
  return true;
}

}  // namespace

std::string ModelName::text() const {
  return repo + (revision == "main" ? "" : "@" + revision) + (quant.empty() ? "" : ":" + quant);
}

std::optional<ModelName> parse_model_name(std::string_view typed) {
  ModelName name;
  if (const size_t colon = typed.rfind(':'); colon != std::string_view::npos) {
    name.quant = typed.substr(colon + 1);
    typed = typed.substr(0, colon);
    if (!is_safe_file_name(name.quant)) return std::nullopt;
  }
  if (const size_t at = typed.find('@'); at != std::string_view::npos) {
    name.revision = typed.substr(at + 1);
    typed = typed.substr(0, at);
    if (!is_revision(name.revision)) return std::nullopt;
  }
  if (!is_repo(typed)) return std::nullopt;
  name.repo = typed;
  return name;
}

bool is_hex(std::string_view text, size_t num_digits) {
  const auto digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  return text.size() == num_digits && std::ranges::all_of(text, digit);
}

bool is_commit(std::string_view revision) { return is_hex(revision, 40); }

bool is_safe_file_name(std::string_view name) {
  constexpr size_t kMaxName = 1024, kMaxPart = 255;
  if (name.empty() || name.size() > kMaxName) return false;
  for (const char c : name) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f || c == '\\' || c == ':') return false;
  }
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('/', begin), name.size());
    const std::string_view part = name.substr(begin, end - begin);
    if (part.empty() || part.size() > kMaxPart || part == "." || part == "..") return false;
    begin = end + 1;
  }
  return true;
}

bool is_safe_etag(std::string_view etag) {
  return is_word(etag, 128) && etag.front() != '.' && !etag.ends_with(".incomplete");
}

}  // namespace weft::hub
