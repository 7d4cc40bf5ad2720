// The sums of a thread group.
//
//   one shot   copy the data to the seat's scratch, step, add all the others' parts.
//              One step, (size - 1) parts read by everybody.
//   two shots  show every slice but one's own, step, add what the others show of one's own and show
//              that, step, copy the other slices.
//              Two steps, each part read once and each sum made once.
//
// The crossover is measured at the first all_reduce; sums are exact, so it never shows in a result.
#include <algorithm>
#include <cstring>

#include "comm/reduce_crossover.h"
#include "comm/show_bytes.h"
#include "comm/thread_member.h"

namespace weft::comm {

void ThreadMember::add_others(int64_t* sum, Range range) const {
  // 4 KiB of sums stay in the first-level cache while the parts stream past.
  constexpr int64_t kBlock = 512;
  // Unsigned, so that wrapping around is defined; the bits are the same.
  auto* out = reinterpret_cast<uint64_t*>(sum);
  for (int64_t begin = 0; begin < range.size(); begin += kBlock) {
    const int64_t end = std::min(begin + kBlock, range.size());
    for (int other = 0; other < size(); ++other) {
      if (other == rank_) continue;
      const auto* part =
          reinterpret_cast<const uint64_t*>(parts_[static_cast<size_t>(other)]) + range.begin;
      for (int64_t i = begin; i < end; ++i) out[i] += part[i];
    }
  }
}

void ThreadMember::all_reduce(std::span<int64_t> data, const char* phase) {
  const auto num_bytes = static_cast<int64_t>(data.size_bytes());
  if (size() == 1) return step(Verb::kAllReduce, nullptr, num_bytes, phase);
  if (two_shot_bytes_ < 0) two_shot_bytes_ = measure_crossover(phase);
  if (num_bytes < two_shot_bytes_ || data.empty()) {
    one_shot(data, phase);
  } else {
    two_shot(data, phase);
  }
}

void ThreadMember::one_shot(std::span<int64_t> data, const char* phase) {
  const auto num_bytes = static_cast<int64_t>(data.size_bytes());
  std::byte* copy = scratch(num_bytes);
  show_bytes(copy, std::as_bytes(data).data(), num_bytes);
  step(Verb::kAllReduce, copy, num_bytes, phase);
  add_others(data.data(), {0, static_cast<int64_t>(data.size())});
}

// Longer data goes piece by piece, so that what is shown of it stays small and near.
void ThreadMember::two_shot(std::span<int64_t> data, const char* phase) {
  constexpr size_t kPiece = kCopiedPartBytes / sizeof(int64_t);
  const auto num_bytes = static_cast<int64_t>(data.size_bytes());
  for (size_t begin = 0; begin == 0 || begin < data.size(); begin += kPiece)
    two_shot_piece(data.subspan(begin, std::min(kPiece, data.size() - begin)), num_bytes, phase);
}

// Lends nothing of the data itself: its owner writes it again, and would wait for every line that
// another core has read (comm/show_bytes.h).
void ThreadMember::two_shot_piece(std::span<int64_t> data, int64_t call_bytes, const char* phase) {
  constexpr int64_t kWordBytes = sizeof(int64_t), kWordsPerLine = 8;
  const Range whole{0, static_cast<int64_t>(data.size())};
  const std::byte* bytes = std::as_bytes(data).data();
  const int64_t place = round_up(ceil_div(whole.size(), size()), kWordsPerLine);
  std::byte* shown = scratch(place * size() * kWordBytes);
  for (int owner = 0; owner < size(); ++owner) {
    if (owner == rank_) continue;
    const Range part = equal_part(whole, owner, size());
    show_bytes(shown + owner * place * kWordBytes, bytes + part.begin * kWordBytes,
               part.size() * kWordBytes);
  }
  step(Verb::kAllReduce, shown, call_bytes, phase);

  const Range mine = equal_part(whole, rank_, size());
  add_others(data.data() + mine.begin, {rank_ * place, rank_ * place + mine.size()});
  const std::byte* slice = shown_copy(bytes + mine.begin * kWordBytes, mine.size() * kWordBytes);
  step(Verb::kAllReduce, slice, call_bytes, phase);

  for (int owner = 0; owner < size(); ++owner) {
    const Range part = equal_part(whole, owner, size());
    if (owner == rank_ || part.empty()) continue;
    std::memcpy(data.data() + part.begin, parts_[static_cast<size_t>(owner)],
                static_cast<size_t>(part.size() * kWordBytes));
  }
}

int64_t ThreadMember::measure_crossover(const char* phase) {
  return measure_two_shot_bytes(
      [&](std::span<int64_t> data) { one_shot(data, phase); },
      [&](std::span<int64_t> data) { two_shot(data, phase); },
      [&](std::span<std::byte> verdict) { broadcast(verdict, 0, phase); });
}

void ThreadMember::reduce_scatter(std::span<int64_t> data, int64_t row_length, const char* phase) {
  const auto num_bytes = static_cast<int64_t>(data.size_bytes());
  const Range mine = rows_of(rank_, data.size(), row_length);
  if (num_bytes <= kCopiedPartBytes) {
    std::byte* copy = scratch(num_bytes);
    show_bytes(copy, std::as_bytes(data).data(), num_bytes);
    step(Verb::kReduceScatter, copy, num_bytes, phase);
    add_others(data.data() + mine.begin, mine);
    return;
  }
  step(Verb::kReduceScatter, std::as_bytes(data).data(), num_bytes, phase);
  // In place: nobody else reads this member's own slice.
  add_others(data.data() + mine.begin, mine);
  step(Verb::kReduceScatter, nullptr, num_bytes, phase);
}

}  // namespace weft::comm
