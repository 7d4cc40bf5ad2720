// How the rows of a sum are made where they leave in pieces: first those of the next process, then
// of the one after it, a process's own last. So what others wait for is under way while the rest is
// made, and no two processes send to one at a time.
//
//   process 0 of 3   | 1 1 1 | 2 2 2 | 0 0 0 |      by whose rows they are
//   process 1        | 2 2 2 | 0 0 0 | 1 1 1 |
//   process 2        | 0 0 0 | 1 1 1 | 2 2 2 |
#pragma once

#include <cstdint>
#include <span>

#include "base/range.h"

namespace weft::comm {

class PieceOrder {
 public:
  // bounds: those of ProcessGroup, in elements of which a row has row_length. They stay.
  PieceOrder(std::span<const int64_t> bounds, int64_t row_length, int own, int64_t rows_per_piece)
      : bounds_(bounds), row_length_(row_length), own_(own), rows_per_piece_(rows_per_piece) {}

  int num_owners() const { return static_cast<int>(bounds_.size()) - 1; }
  // The i-th to be made, of [0, num_owners()); the last one is `own`.
  int owner(int i) const { return (own_ + 1 + i) % num_owners(); }
  Range rows_of(int owner) const {
    const auto i = static_cast<size_t>(owner);
    return {bounds_[i] / row_length_, bounds_[i + 1] / row_length_};
  }
  int64_t num_pieces(int owner) const { return ceil_div(rows_of(owner).size(), rows_per_piece_); }
  Range piece(int owner, int64_t index) const {
    const Range rows = rows_of(owner);
    const int64_t begin = rows.begin + index * rows_per_piece_;
    return rows.intersect({begin, begin + rows_per_piece_});
  }
  // visit(owner, piece) for all of them.
  template <typename Visit>
  void for_each(const Visit& visit) const {
    for (int i = 0; i < num_owners(); ++i)
      for (int64_t k = 0; k < num_pieces(owner(i)); ++k) visit(owner(i), piece(owner(i), k));
  }

 private:
  const std::span<const int64_t> bounds_;
  const int64_t row_length_;
  const int own_;
  const int64_t rows_per_piece_;
};

}  // namespace weft::comm
