// A half-open range [begin, end) of int64 indices: heads, rows, units, tokens, layers.
#pragma once

#include <algorithm>
#include <cstdint>

namespace weft {

struct Range {
  int64_t begin = 0;
  int64_t end = 0;

  constexpr int64_t size() const { return end - begin; }
  constexpr bool empty() const { return end <= begin; }
  constexpr bool contains(int64_t i) const { return i >= begin && i < end; }
  constexpr Range intersect(Range other) const {
    const int64_t b = std::max(begin, other.begin);
    return {b, std::max(b, std::min(end, other.end))};
  }
  friend constexpr bool operator==(const Range&, const Range&) = default;
};

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

// The i-th of n nearly equal parts of `whole`; the first (size % n) parts hold one more.
constexpr Range equal_part(Range whole, int64_t i, int64_t n) {
  const int64_t base = whole.size() / n, extra = whole.size() % n;
  const int64_t begin = whole.begin + i * base + std::min(i, extra);
  return {begin, begin + base + (i < extra ? 1 : 0)};
}

}  // namespace weft
