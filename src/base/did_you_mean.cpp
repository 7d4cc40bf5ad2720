#include "base/did_you_mean.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>

namespace weft {
namespace {

std::string_view without_dashes(std::string_view word) {
  word.remove_prefix(std::min(word.find_first_not_of('-'), word.size()));
  return word;
}

// Whether a flag, variable or key of this name denies what it names.
bool denies(std::string_view name) {
  constexpr std::array<std::string_view, 3> kBeginnings = {"NO_", "DISABLE_", "ENABLE_"};
  std::string rest(without_dashes(name));
  for (char& c : rest)
    c = c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  bool denied = false;
  for (bool found = true; found;) {
    found = false;
    for (const std::string_view beginning : kBeginnings) {
      if (!rest.starts_with(beginning)) continue;
      rest.erase(0, beginning.size());
      if (beginning != "ENABLE_") denied = !denied;
      found = true;
    }
  }
  return denied;
}

}  // namespace

int edit_distance(std::string_view a, std::string_view b) {
  // Three rows of the optimal-string-alignment table are enough: a swap looks two rows back.
  std::vector<int> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = static_cast<int>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = static_cast<int>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const int substitute = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, substitute});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

std::optional<std::string> closest_word(std::string_view word, std::span<const std::string> known) {
  const std::string_view typed = without_dashes(word);
  if (typed.empty()) return std::nullopt;
  const std::string* best = nullptr;
  int best_distance = static_cast<int>(std::max<size_t>(1, typed.size() / 3)) + 1;
  for (const std::string& candidate : known) {
    const int distance = edit_distance(typed, without_dashes(candidate));
    if (distance < best_distance) {
      best_distance = distance;
      best = &candidate;
    }
  }
  if (best == nullptr && typed.size() >= 3) {
    for (const std::string& candidate : known) {
      const bool begins = without_dashes(candidate).substr(0, typed.size()) == typed;
      if (begins && (best == nullptr || candidate.size() < best->size())) best = &candidate;
    }
  }
  if (best == nullptr) return std::nullopt;
  return *best;
}

std::string did_you_mean(std::string_view word, std::span<const std::string> known) {
  const std::optional<std::string> near = closest_word(word, known);
  return near ? fmt::format(" (did you mean {}?)", *near) : std::string();
}

std::vector<std::string> names_of_same_sense(std::string_view word,
                                             std::span<const std::string> known) {
  std::vector<std::string> names;
  for (const std::string& name : known)
    if (denies(name) == denies(word)) names.push_back(name);
  return names;
}

}  // namespace weft
