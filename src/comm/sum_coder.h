// Rows of sums as they travel rounded (comm/sum_wire.h).
//
//   a row:  count, int64 | num_sums codes (kQ8: of each 32 the scale, then a byte each)
//
// Codes are little-endian, as every machine of a job is.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/range.h"
#include "comm/sum_wire.h"

namespace weft::comm {

class SumCoder {
 public:
  // wire: not kInt64, which needs no coder.
  SumCoder(const SumRows& rows, SumWire wire);

  int64_t row_bytes() const { return row_bytes_; }
  int64_t num_bytes(Range rows) const { return rows.size() * row_bytes_; }

  // Writes rows as they travel, and leaves in them what whoever reads that will add.
  void write(Range rows, std::byte* out) const;
  // What `write` leaves.
  void round(Range rows) const;
  // Adds what came. False where it holds a number that no sum can be; what was added is then
  // undefined.
  [[nodiscard]] bool add(Range rows, const std::byte* in) const;

 private:
  int64_t* row(int64_t index) const { return rows_.data.data() + index * rows_.row_length; }

  const SumRows rows_;
  const SumWire wire_;
  int64_t row_bytes_;
};

}  // namespace weft::comm
