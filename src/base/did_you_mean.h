// "Did you mean": the known word that a mistyped one most likely stands for.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace weft {

// Insertions, deletions, substitutions and swaps of neighbours that turn `a` into `b`.
int edit_distance(std::string_view a, std::string_view b);

// The nearest of `known`, or the shortest that `word` begins; nothing where none is near (more than
// a third of the word's letters differ). Leading dashes are not counted.
std::optional<std::string> closest_word(std::string_view word, std::span<const std::string> known);

// " (did you mean X?)", or nothing.
std::string did_you_mean(std::string_view word, std::span<const std::string> known);

// Those of `known` that affirm or deny as the option's name `word` does: --no-x and --disable-x
// deny, --no-disable-x does not. The others are no answer to "did you mean": they turn what was
// meant round.
std::vector<std::string> names_of_same_sense(std::string_view word,
                                             std::span<const std::string> known);

}  // namespace weft
