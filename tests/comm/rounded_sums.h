// Tables of sums for tests of what is rounded between processes.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/contract.h"
#include "comm/sum_coder.h"

namespace weft::comm {

inline constexpr SumWire kRoundedWires[] = {SumWire::kF32, SumWire::kBF16, SumWire::kQ8};

// A row: 70 sums, padding, a count at 80, padding.
inline constexpr int64_t kSums = 70, kCountIndex = 80, kRowLength = 88;

// Of sizes from 0 to 2^40, as seen in one row. The padding differs between the parts of a sum.
struct SumTable {
  std::vector<int64_t> words;

  SumTable(int64_t num_rows, int part) : words(static_cast<size_t>(num_rows * kRowLength)) {
    for (int64_t row = 0; row < num_rows; ++row) {
      for (int64_t i = 0; i < kRowLength; ++i) {
        const int64_t value = value_of(part, i, row);
        words[static_cast<size_t>(row * kRowLength + i)] =
            i < kSums ? value >> (24 + (row * 5 + i / 32 * 7) % 39) : value;
      }
      words[static_cast<size_t>(row * kRowLength + kCountIndex)] = (part + row) % 3;
    }
  }
  SumRows rows() { return {words, kRowLength, kSums, kCountIndex}; }
  int64_t num_rows() const { return static_cast<int64_t>(words.size()) / kRowLength; }
  int64_t at(int64_t row, int64_t i) const {
    return words[static_cast<size_t>(row * kRowLength + i)];
  }
  int64_t count(int64_t row) const { return at(row, kCountIndex); }
};

// By what comm/sum_wire.h says: parts of processes, added exactly, rounded, added exactly.
inline SumTable expected_sum(const std::vector<int>& num_local, int64_t num_rows, SumWire wire) {
  SumTable sum(num_rows, 0);
  std::fill(sum.words.begin(), sum.words.end(), 0);
  const auto add = [](SumTable& to, const SumTable& more) {
    for (size_t i = 0; i < to.words.size(); ++i)
      to.words[i] = static_cast<int64_t>(static_cast<uint64_t>(to.words[i]) +
                                         static_cast<uint64_t>(more.words[i]));
  };
  int rank = 0;
  for (const int count : num_local) {
    SumTable part = sum;
    std::fill(part.words.begin(), part.words.end(), 0);
    for (const int end = rank + count; rank < end; ++rank) add(part, SumTable(num_rows, rank));
    if (wire != SumWire::kInt64) SumCoder(part.rows(), wire).round({0, num_rows});
    add(sum, part);
  }
  return sum;
}

}  // namespace weft::comm
