// Prompts of the tests of prefixes.
#pragma once

#include <cstdint>
#include <numeric>
#include <vector>

namespace weft::cache {

using Tokens = std::vector<int32_t>;

// Tokens first, first + 1, ...
inline Tokens run_of(int32_t first, int64_t count) {
  Tokens tokens(static_cast<size_t>(count));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

inline Tokens joined(Tokens a, const Tokens& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

}  // namespace weft::cache
