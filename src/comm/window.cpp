#include "comm/window.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/pause.h"
#include "comm/show_bytes.h"

namespace weft::comm {
namespace {

constexpr int64_t kPageBytes = 4096;
constexpr int64_t kWordBytes = sizeof(int64_t);
constexpr int64_t kWordsPerLine = 8;

// Between two looks at whether the job has failed: nobody else ends a sleep for that.
constexpr int64_t kLongestSleepNs = 20'000'000;

// Rounds of one piece each; a verb of no bytes takes one too.
int64_t num_rounds(int64_t length, int64_t piece) {
  return std::max<int64_t>(ceil_div(length, piece), 1);
}

// The piece `round` of the block [begin, end).
Range piece_of(int64_t begin, int64_t end, int64_t round, int64_t piece) {
  const int64_t from = std::min(begin + round * piece, end);
  return {from, std::min(from + piece, end)};
}

// Words of a side for each member: whole cache lines, since a line is not to be of two members.
int64_t share_of_side(int size) {
  return Window::kSideBytes / kWordBytes / size / kWordsPerLine * kWordsPerLine;
}

int64_t longest_block(Window::Bounds bounds) {
  int64_t longest = 0;
  for (size_t i = 0; i + 1 < bounds.size(); ++i)
    longest = std::max(longest, bounds[i + 1] - bounds[i]);
  return longest;
}

void copy_bytes(std::byte* to, const std::byte* from, int64_t num_bytes) {
  if (num_bytes > 0) std::memcpy(to, from, static_cast<size_t>(num_bytes));
}

// Unsigned, so that wrapping around is defined; the bits are the same.
void add_words(int64_t* sum, const std::byte* part, int64_t count) {
  auto* out = reinterpret_cast<uint64_t*>(sum);
  const auto* in = reinterpret_cast<const uint64_t*>(part);
  for (int64_t i = 0; i < count; ++i) out[i] += in[i];
}

}  // namespace

int64_t Window::num_bytes(int size) {
  const auto head = static_cast<int64_t>(sizeof(Gate) + static_cast<size_t>(size) * sizeof(Seat));
  return round_up(head, kPageBytes) + int64_t{size} * 2 * kSideBytes;
}

Window::Window(JobPart& part, std::vector<int> processes, int index, std::byte* memory,
               std::chrono::milliseconds deadline)
    : part_(part),
      processes_(std::move(processes)),
      index_(index),
      deadline_(deadline),
      gate_(reinterpret_cast<Gate*>(memory)),
      seats_(reinterpret_cast<Seat*>(memory + sizeof(Gate))),
      sides_(memory + num_bytes(size()) - int64_t{size()} * 2 * kSideBytes),
      bounds_(processes_.size() + 1),
      byte_bounds_(processes_.size() + 1) {}

// ---- Steps

int Window::first_missing(uint32_t target, int from) const {
  while (from < size() &&
         WaitWord::reached(seat(from).arrivals.load(std::memory_order_seq_cst), target))
    ++from;
  return from;
}

void Window::step(const Call& call) {
  part_.throw_if_failed();
  part_.enter(call.phase);
  Seat& mine = seat(index_);
  mine.shown[side_index()] = {call.verb, call.num_bytes};
  const uint32_t target = mine.arrivals.fetch_add(1, std::memory_order_seq_cst) + 1;
  wait_for_all(target, call);
  check_same_call(call);
  ++num_steps_;
}

void Window::wait_for_all(uint32_t target, const Call& call) {
  int missing = first_missing(target, 0);
  // Only the last to arrive comes here at once; nobody else can know that the gate may open.
  if (missing == size()) return gate_->word.open();
  const auto all_are_here = [&] {
    missing = first_missing(target, missing);
    return missing == size();
  };
  // A clock read costs as much as several pauses.
  constexpr int kPausesPerClockRead = 16;
  const int64_t begin = now_ns();
  while (now_ns() - begin < patience_.spin_ns()) {
    for (int i = 0; i < kPausesPerClockRead; ++i) {
      pause_cpu();
      if (all_are_here()) return patience_.remember(now_ns() - begin);
    }
  }
  const int64_t deadline_ns = std::chrono::nanoseconds(deadline_).count();
  bool is_late = false;
  gate_->word.announce();
  while (true) {
    const uint32_t seen = gate_->word.load();
    if (all_are_here() || part_.family()->aborted()) break;
    const int64_t left = deadline_ns - (now_ns() - begin);
    is_late = left <= 0;
    if (is_late) break;
    gate_->word.sleep(seen, std::min(left, kLongestSleepNs));
  }
  gate_->word.forget();
  patience_.remember(now_ns() - begin);
  if (is_late) fail_silent(target, call);
  part_.throw_if_failed();
}

void Window::fail_silent(uint32_t target, const Call& call) {
  std::string silent;
  for (int member = first_missing(target, 0); member < size();
       member = first_missing(target, member + 1))
    silent += fmt::format("{}{}", silent.empty() ? "" : ", ",
                          part_.name(processes_[static_cast<size_t>(member)]));
  part_.fail(fmt::format("{} did not come to '{}' ({}) of {} within {} ms (noticed by {})", silent,
                         call.phase, name_of(call.verb), part_.activity(), deadline_.count(),
                         part_.own_name()));
}

// Everybody sees that the calls differ, and the first to say so names the other.
void Window::check_same_call(const Call& call) {
  for (int member = 0; member < size(); ++member) {
    const Shown& theirs = seat(member).shown[side_index()];
    if (theirs.verb == call.verb && theirs.num_bytes == call.num_bytes) continue;
    const std::string name = part_.name(processes_[static_cast<size_t>(member)]);
    if (theirs.verb == call.verb)
      part_.fail(fmt::format("{} sent {} bytes to '{}' ({}) of {}, which takes {}", name,
                             theirs.num_bytes, call.phase, name_of(call.verb), part_.own_name(),
                             call.num_bytes));
    part_.fail(fmt::format("{} did not come to '{}' ({}) with {}", name, call.phase,
                           name_of(call.verb), part_.own_name()),
               fmt::format("{} calls {}", name, name_of(theirs.verb)));
  }
}

// ---- Verbs

void Window::barrier(const char* phase) { step({Verb::kBarrier, 0, phase}); }

void Window::one_shot(std::span<int64_t> data, const char* phase) {
  const Call call{Verb::kAllReduce, std::ssize(data) * kWordBytes, phase};
  constexpr int64_t kPiece = kSideBytes / kWordBytes;
  const int64_t rounds = num_rounds(std::ssize(data), kPiece);
  for (int64_t round = 0; round < rounds; ++round) {
    const Range piece = piece_of(0, std::ssize(data), round, kPiece);
    show_bytes(next_side(), std::as_bytes(data).data() + piece.begin * kWordBytes,
               piece.size() * kWordBytes);
    step(call);
    for (int other = 0; other < size(); ++other)
      if (other != index_) add_words(data.data() + piece.begin, shown_by(other), piece.size());
  }
}

void Window::two_shot(std::span<int64_t> data, const char* phase) {
  const Call call{Verb::kAllReduce, std::ssize(data) * kWordBytes, phase};
  const int64_t longest = share_of_side(size()) * size();
  const int64_t rounds = num_rounds(std::ssize(data), longest);
  for (int64_t round = 0; round < rounds; ++round) {
    const Range whole = piece_of(0, std::ssize(data), round, longest);
    for (int member = 0; member < size(); ++member)
      bounds_[static_cast<size_t>(member)] = equal_part(whole, member, size()).begin;
    bounds_.back() = whole.end;
    for (size_t i = 0; i < bounds_.size(); ++i) byte_bounds_[i] = bounds_[i] * kWordBytes;
    reduce_piece(data, bounds_, 0, call);
    gather_piece(std::as_writable_bytes(data), byte_bounds_, 0, call);
  }
}

void Window::reduce_blocks(Verb verb, std::span<int64_t> data, Bounds bounds, const char* phase) {
  const Call call{verb, std::ssize(data) * kWordBytes, phase};
  const int64_t piece = share_of_side(size());
  const int64_t rounds = num_rounds(longest_block(bounds), piece);
  for (int64_t round = 0; round < rounds; ++round) reduce_piece(data, bounds, round, call);
}

// A side holds a place for each member's piece.
void Window::reduce_piece(std::span<int64_t> data, Bounds bounds, int64_t round, const Call& call) {
  const int64_t length = share_of_side(size());
  const auto piece = [&](int member) {
    const auto i = static_cast<size_t>(member);
    return piece_of(bounds[i], bounds[i + 1], round, length);
  };
  std::byte* shown = next_side();
  for (int other = 0; other < size(); ++other) {
    if (other == index_) continue;
    const Range theirs = piece(other);
    show_bytes(shown + other * length * kWordBytes,
               std::as_bytes(data).data() + theirs.begin * kWordBytes, theirs.size() * kWordBytes);
  }
  step(call);
  const Range mine = piece(index_);
  for (int other = 0; other < size(); ++other)
    if (other != index_)
      add_words(data.data() + mine.begin, shown_by(other) + index_ * length * kWordBytes,
                mine.size());
}

void Window::gather_blocks(Verb verb, std::span<std::byte> all, Bounds bounds, const char* phase) {
  const Call call{verb, std::ssize(all), phase};
  const int64_t rounds = num_rounds(longest_block(bounds), kSideBytes);
  for (int64_t round = 0; round < rounds; ++round) gather_piece(all, bounds, round, call);
}

void Window::gather_piece(std::span<std::byte> all, Bounds bounds, int64_t round,
                          const Call& call) {
  const auto piece = [&](int member) {
    const auto i = static_cast<size_t>(member);
    return piece_of(bounds[i], bounds[i + 1], round, kSideBytes);
  };
  const Range mine = piece(index_);
  show_bytes(next_side(), all.data() + mine.begin, mine.size());
  step(call);
  for (int other = 0; other < size(); ++other) {
    if (other == index_) continue;
    const Range theirs = piece(other);
    copy_bytes(all.data() + theirs.begin, shown_by(other), theirs.size());
  }
}

void Window::broadcast(std::span<std::byte> data, int root, const char* phase) {
  const Call call{Verb::kBroadcast, std::ssize(data), phase};
  const int64_t rounds = num_rounds(std::ssize(data), kSideBytes);
  for (int64_t round = 0; round < rounds; ++round) {
    const Range piece = piece_of(0, std::ssize(data), round, kSideBytes);
    if (index_ == root) show_bytes(next_side(), data.data() + piece.begin, piece.size());
    step(call);
    if (index_ != root) copy_bytes(data.data() + piece.begin, shown_by(root), piece.size());
  }
}

}  // namespace weft::comm
