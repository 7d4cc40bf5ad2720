// How sums travel between processes: whole, or rounded to fewer bytes where a link is slow.
//
// The part of a process, which its ranks have added up exactly, is rounded once, also where it
// stays: rounded parts are added as int64. So all processes hold the same sum, in whatever order
// the parts arrive and by whatever way, and since a row is rounded by itself, whatever else is in
// the batch. What shows is which ranks a process runs, and that is the promise of bits given up.
//
//   kF32    float(sum), 24 bits of it                                            4 bytes
//   kBF16   the same to 8 bits                                                   2 bytes
//   kQ8     8-bit multiples of a scale that 32 sums share (BF16, rounded up)     34 bytes for 32
//
// Rejected: one more rounding of the whole sum, which would halve what a ring of many processes
// sends. Steps of few tokens wait for the message, not for its bytes, and those of many send each
// sum to the one rank that treats its token (parallel/sequence.h).
#pragma once

#include <cstdint>
#include <span>

namespace weft::comm {

enum class SumWire : uint8_t { kInt64, kF32, kBF16, kQ8 };
const char* name(SumWire wire);  // "int64", "f32", "bf16", "q8"

// Rows of sums in fixed point (kernels::PartialSums): [num_rows, row_length], of which the first
// num_sums of a row are sums and the word count_index is a count, which is never rounded. The other
// words carry nothing: where a sum is rounded they are not sent.
struct SumRows {
  std::span<int64_t> data;
  int64_t row_length = 0, num_sums = 0, count_index = 0;

  int64_t num_rows() const { return static_cast<int64_t>(data.size()) / row_length; }
};

}  // namespace weft::comm
