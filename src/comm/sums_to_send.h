// Rows of sums as they leave for another process and come from one: as they are, or rounded
// (comm/sum_wire.h), in messages of a size that the transport takes at once.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/range.h"
#include "comm/sum_coder.h"
#include "tensor/buffer.h"

namespace weft::comm {

// What Open MPI hands to the system at once, its own header included, is 64 KiB over TCP. Of a
// larger message the receiver says first where it wants it, and that word waits behind all that the
// receiver itself has sent (docs/decisions/0006).
inline constexpr int64_t kMessageBytes = 60 << 10;

// Unsigned, so that wrapping around is defined; the bits are the same.
inline void add_words(std::span<int64_t> sum, const std::byte* part) {
  auto* out = reinterpret_cast<uint64_t*>(sum.data());
  const auto* in = reinterpret_cast<const uint64_t*>(part);
  for (size_t i = 0; i < sum.size(); ++i) out[i] += in[i];
}

// A message is a range of units that can be added by themselves: words, or rounded rows.
class SumsToSend {
 public:
  // codes: memory of rounded rows; grows, never shrinks.
  SumsToSend(const SumRows& rows, SumWire wire, tensor::Buffer& codes) : rows_(rows) {
    if (wire == SumWire::kInt64) return;
    coder_.emplace(rows, wire);
    const int64_t num_bytes = coder_->num_bytes({0, rows.num_rows()});
    if (codes.size() < num_bytes) codes = tensor::Buffer(num_bytes, "sums between processes");
    codes_ = codes.data();
  }

  int64_t num_bytes(Range units) const { return units.size() * unit_bytes(); }
  Range units_of(Range rows) const {
    const int64_t units = coder_ ? 1 : rows_.row_length;
    return {rows.begin * units, rows.end * units};
  }
  // visit(units) for each message of some rows.
  template <typename Visit>
  void for_each_message(Range rows, const Visit& visit) const {
    const Range all = units_of(rows);
    const int64_t step = std::max<int64_t>(1, kMessageBytes / unit_bytes());
    for (int64_t begin = all.begin; begin < all.end; begin += step)
      visit(all.intersect({begin, begin + step}));
  }
  // Rows that are whole: what other processes will add of them is what stays in them.
  void round(Range rows) const {
    if (coder_) coder_->write(rows, codes_ + rows.begin * unit_bytes());
  }
  // Of rounded rows. They stay as they are until it has left.
  std::span<const std::byte> leaving(Range units) const {
    const std::byte* const all = coder_ ? codes_ : std::as_bytes(rows_.data).data();
    return {all + units.begin * unit_bytes(), static_cast<size_t>(num_bytes(units))};
  }
  // False where what came holds a number that no sum can be.
  [[nodiscard]] bool add(Range units, const std::byte* part) const {
    if (coder_) return coder_->add(units, part);
    add_words(
        rows_.data.subspan(static_cast<size_t>(units.begin), static_cast<size_t>(units.size())),
        part);
    return true;
  }

 private:
  int64_t unit_bytes() const {
    return coder_ ? coder_->row_bytes() : static_cast<int64_t>(sizeof(int64_t));
  }

  const SumRows rows_;
  std::optional<SumCoder> coder_;  // where they are rounded
  std::byte* codes_ = nullptr;
};

}  // namespace weft::comm
