// "Did you mean": the known word that a mistyped one most likely stands for.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace weft {

// Insertions, deletions, substitutions and swaps of neighbours that turn `a` into `b`.
int edit_distance(std::string_view a, std::string_view b);

// The nearest of `known`, or the shortest that `word` begins; nothing where none is near (more than
// a third of the word's letters differ). Leading dashes are not counted.
std::optional<std::string> closest_word(std::string_view word, std::span<const std::string> known);

// " (did you mean X?)", or nothing.
std::string did_you_mean(std::string_view word, std::span<const std::string> known);

}  // namespace weft
