// The verbs of one member of a thread group, each made of steps (comm/thread_group.h).
//
//   one shot   copy the data to the seat's scratch, step, add all the others' parts.
//              One step, (size - 1) parts read by everybody.
//   two shots  step, add the others' parts of one's own slice into scratch, step, copy all slices.
//              Two steps, each part read once and each sum once.
//
// The crossover is measured at the first all_reduce; sums are exact, so it never shows in a result.
#include <algorithm>
#include <compare>
#include <cstring>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/range.h"
#include "comm/thread_group.h"

namespace weft::comm {
namespace {

// Up to here a part is copied to scratch, which spares a trailing barrier; beyond it the barrier is
// cheaper than the copy (two passes over memory at 10 GB/s against some microseconds).
constexpr int64_t kCopiedPartBytes = 256 * 1024;

class ThreadMember final : public Communicator {
 public:
  ThreadMember(std::shared_ptr<ThreadGroup> group, int rank)
      : group_(std::move(group)),
        rank_(rank),
        parts_(static_cast<size_t>(group_->size())),
        two_shot_bytes_(group_->options().two_shot_bytes) {}

  int rank() const override { return rank_; }
  int size() const override { return group_->size(); }

  void barrier(const char* phase) override { step(Verb::kBarrier, nullptr, 0, phase); }
  void all_reduce(std::span<int64_t> data, const char* phase) override;
  void reduce_scatter(std::span<int64_t> data, const char* phase) override;
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all,
                  const char* phase) override;
  void broadcast(std::span<std::byte> data, int root, const char* phase) override;
  void send(int to, std::span<const std::byte> data, const char* phase) override;
  void recv(int from, std::span<std::byte> data, const char* phase) override;
  std::unique_ptr<Communicator> split(int color, int key) override;

  bool lends_views() const override { return true; }
  std::span<const std::byte* const> exchange(const std::byte* mine, const char* phase) override {
    step(Verb::kExchange, mine, 0, phase);
    return parts_;
  }

  void abort(const std::string& reason) override { group_->family().abort(reason); }
  int64_t take_wait_ns() override { return std::exchange(wait_ns_, 0); }

 private:
  // Shows `part` to the others, waits until all have shown theirs and leaves them in parts_.
  void step(Verb verb, const std::byte* part, int64_t num_bytes, const char* phase);
  void wait_for_all(uint32_t target, const char* phase);
  void check_same_call(const Seat::Side& mine, int other) const;
  int side_index() const { return static_cast<int>(num_steps_ & 1); }
  // The scratch that the next step may show: nobody reads it any more (comm/thread_group.h).
  std::byte* scratch(int64_t num_bytes);

  void one_shot(std::span<int64_t> data, const char* phase);
  void two_shot(std::span<int64_t> data, const char* phase);
  // sum[i] += part[begin + i] over the other members' parts, i in [0, range.size()).
  void add_others(int64_t* sum, Range range) const;
  // Bytes from which two shots are faster here. Collective, below 10 ms.
  int64_t measure_crossover(const char* phase);
  bool two_shot_wins(std::span<int64_t> data, const char* phase);

  [[noreturn]] void fail_silent(const char* phase);
  [[noreturn]] void fail_aborted() const {
    throw Error(ErrorKind::kCommunication, group_->family().reason());
  }
  [[noreturn]] void fail_box(BoxWait outcome, const std::string& what);
  int64_t timeout_ns() const {
    return std::chrono::nanoseconds(group_->options().deadline).count();
  }
  void check_peer(int peer, const char* phase) const {
    WEFT_CHECK(peer >= 0 && peer < size() && peer != rank_, "{}: rank {} has no peer {} in {}",
               phase, rank_, peer, size());
  }

  const std::shared_ptr<ThreadGroup> group_;
  const int rank_;
  uint32_t num_steps_ = 0;
  std::vector<const std::byte*> parts_;  // [size], of the last step
  int64_t two_shot_bytes_;
  Patience patience_;
  int64_t wait_ns_ = 0;
};

void ThreadMember::step(Verb verb, const std::byte* part, int64_t num_bytes, const char* phase) {
  const auto side = static_cast<size_t>(side_index());
  Seat& seat = group_->seat(rank_);
  Seat::Side& mine = seat.sides[side];
  mine.part = part;
  mine.num_bytes = num_bytes;
  mine.verb = verb;
  mine.phase.store(phase, std::memory_order_relaxed);
  const uint32_t value = seat.arrivals.add(kOneArrival);
  if ((value & kAbortedBit) != 0) fail_aborted();
  wait_for_all(count_in(value), phase);
  for (int other = 0; other < size(); ++other) {
    if (other != rank_) check_same_call(mine, other);
    parts_[static_cast<size_t>(other)] = group_->seat(other).sides[side].part;
  }
  ++num_steps_;
}

void ThreadMember::wait_for_all(uint32_t target, const char* phase) {
  WaitWord& gate = group_->gate();
  int missing = group_->first_missing(target, 0);
  if (missing == size()) {
    // Only the last to arrive comes here at once; nobody else can know that the gate may open.
    if (gate.has_sleepers()) {
      gate.add(kOneArrival);
      gate.wake();
    }
  } else {
    const auto done = [&](uint32_t value) {
      missing = group_->first_missing(target, missing);
      return missing == size() || (value & kAbortedBit) != 0;
    };
    const int64_t begin = now_ns();
    const bool in_time = gate.wait_until(done, patience_, begin + timeout_ns());
    wait_ns_ += now_ns() - begin;
    if (!in_time) fail_silent(phase);
  }
  if ((gate.load() & kAbortedBit) != 0) fail_aborted();
}

void ThreadMember::check_same_call(const Seat::Side& mine, int other) const {
  const Seat::Side& theirs = group_->seat(other).sides[side_index()];
  WEFT_CHECK(theirs.verb == mine.verb && theirs.num_bytes == mine.num_bytes,
             "rank {} calls {} of {} bytes in {}, rank {} calls {} of {} bytes in {}", rank_,
             name_of(mine.verb), mine.num_bytes, mine.phase.load(), other, name_of(theirs.verb),
             theirs.num_bytes, theirs.phase.load());
}

void ThreadMember::fail_silent(const char* phase) {
  const uint32_t target = count_in(group_->seat(rank_).arrivals.load());
  std::string silent, seen;
  for (int other = 0; other < size(); ++other) {
    Seat& seat = group_->seat(other);
    if (WaitWord::reached(seat.arrivals.load(), target)) continue;
    const char* last = seat.sides[side_index() ^ 1].phase.load(std::memory_order_relaxed);
    silent += fmt::format("{}{}", silent.empty() ? "" : ", ", other);
    seen += fmt::format("{}rank {} {}", seen.empty() ? "" : "; ", other,
                        last == nullptr ? std::string("was never seen")
                                        : fmt::format("was last seen in '{}'", last));
  }
  const std::string what =
      fmt::format("rank {} did not arrive at '{}' within {} ms (noticed by rank {} of {})", silent,
                  phase, group_->options().deadline.count(), rank_, size());
  abort(what);
  throw Error(ErrorKind::kCommunication, what, seen);
}

void ThreadMember::fail_box(BoxWait outcome, const std::string& what) {
  if (outcome == BoxWait::kAborted) fail_aborted();
  const std::string text = fmt::format("{} within {} ms (noticed by rank {} of {})", what,
                                       group_->options().deadline.count(), rank_, size());
  abort(text);
  throw Error(ErrorKind::kCommunication, text);
}

std::byte* ThreadMember::scratch(int64_t num_bytes) {
  tensor::Buffer& memory = group_->seat(rank_).scratch[side_index()];
  if (memory.size() < num_bytes) memory = tensor::Buffer(num_bytes, "messages between ranks");
  return memory.data();
}

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
  if (!data.empty()) std::memcpy(copy, data.data(), data.size_bytes());
  step(Verb::kAllReduce, copy, num_bytes, phase);
  add_others(data.data(), {0, static_cast<int64_t>(data.size())});
}

void ThreadMember::two_shot(std::span<int64_t> data, const char* phase) {
  const Range whole{0, static_cast<int64_t>(data.size())};
  const auto num_bytes = static_cast<int64_t>(data.size_bytes());
  step(Verb::kAllReduce, std::as_bytes(data).data(), num_bytes, phase);

  const Range mine = equal_part(whole, rank_, size());
  const auto slice_bytes = static_cast<size_t>(mine.size()) * sizeof(int64_t);
  std::byte* slice = scratch(static_cast<int64_t>(slice_bytes));
  if (!mine.empty()) std::memcpy(slice, data.data() + mine.begin, slice_bytes);
  add_others(reinterpret_cast<int64_t*>(slice), mine);
  step(Verb::kAllReduce, slice, num_bytes, phase);

  for (int owner = 0; owner < size(); ++owner) {
    const Range part = equal_part(whole, owner, size());
    if (part.empty()) continue;
    std::memcpy(data.data() + part.begin, parts_[static_cast<size_t>(owner)],
                static_cast<size_t>(part.size()) * sizeof(int64_t));
  }
}

int64_t ThreadMember::measure_crossover(const char* phase) {
  constexpr int64_t kSizes[] = {4 << 10, 16 << 10, 64 << 10, 256 << 10};
  constexpr int64_t kTimeLimitNs = 4'000'000;
  const int64_t begin = now_ns();
  tensor::Buffer memory(kSizes[3], "measuring all_reduce");
  for (const int64_t num_bytes : kSizes) {
    const std::span<int64_t> data(memory.as<int64_t>(),
                                  static_cast<size_t>(num_bytes) / sizeof(int64_t));
    // Members must agree, so rank 0's clock decides.
    int64_t verdict[2] = {two_shot_wins(data, phase) ? 1 : 0,
                          now_ns() - begin > kTimeLimitNs ? 1 : 0};
    broadcast(std::as_writable_bytes(std::span(verdict)), 0, phase);
    if (verdict[0] != 0) return num_bytes;
    // Steps this slow (members outnumber cores) are what one shot saves: stay with it for long.
    if (verdict[1] != 0) break;
  }
  return 2 * kSizes[3];
}

bool ThreadMember::two_shot_wins(std::span<int64_t> data, const char* phase) {
  constexpr int kRepeats = 3;
  int64_t best_one = WaitWord::kNoDeadline, best_two = WaitWord::kNoDeadline;
  for (int i = 0; i < kRepeats; ++i) {
    const int64_t begin = now_ns();
    one_shot(data, phase);
    const int64_t middle = now_ns();
    two_shot(data, phase);
    best_one = std::min(best_one, middle - begin);
    best_two = std::min(best_two, now_ns() - middle);
  }
  return best_two < best_one;
}

void ThreadMember::reduce_scatter(std::span<int64_t> data, const char* phase) {
  const auto num_bytes = static_cast<int64_t>(data.size_bytes());
  const Range mine = equal_part({0, static_cast<int64_t>(data.size())}, rank_, size());
  if (num_bytes <= kCopiedPartBytes) {
    std::byte* copy = scratch(num_bytes);
    if (!data.empty()) std::memcpy(copy, data.data(), data.size_bytes());
    step(Verb::kReduceScatter, copy, num_bytes, phase);
    add_others(data.data() + mine.begin, mine);
    return;
  }
  step(Verb::kReduceScatter, std::as_bytes(data).data(), num_bytes, phase);
  // In place: nobody else reads this member's own slice.
  add_others(data.data() + mine.begin, mine);
  step(Verb::kReduceScatter, nullptr, num_bytes, phase);
}

void ThreadMember::all_gather(std::span<const std::byte> mine, std::span<std::byte> all,
                              const char* phase) {
  const size_t part_bytes = mine.size();
  WEFT_CHECK_EQ(all.size(), part_bytes * static_cast<size_t>(size()));
  const auto num_bytes = static_cast<int64_t>(part_bytes);
  const bool copied = num_bytes <= kCopiedPartBytes;
  const std::byte* shown = mine.data();
  if (copied && !mine.empty())
    shown = static_cast<const std::byte*>(std::memcpy(scratch(num_bytes), mine.data(), part_bytes));
  step(Verb::kAllGather, shown, num_bytes, phase);
  for (size_t other = 0; other < parts_.size() && part_bytes > 0; ++other) {
    std::byte* place = all.data() + other * part_bytes;
    // `mine` may already lie in its place.
    if (place != parts_[other]) std::memcpy(place, parts_[other], part_bytes);
  }
  if (!copied) step(Verb::kAllGather, nullptr, num_bytes, phase);
}

void ThreadMember::broadcast(std::span<std::byte> data, int root, const char* phase) {
  WEFT_CHECK(root >= 0 && root < size(), "{}: root {} of {}", phase, root, size());
  const auto num_bytes = static_cast<int64_t>(data.size());
  const bool copied = num_bytes <= kCopiedPartBytes;
  const std::byte* shown = data.data();
  if (rank_ == root && copied && !data.empty())
    shown =
        static_cast<const std::byte*>(std::memcpy(scratch(num_bytes), data.data(), data.size()));
  step(Verb::kBroadcast, shown, num_bytes, phase);
  if (rank_ != root && !data.empty())
    std::memcpy(data.data(), parts_[static_cast<size_t>(root)], data.size());
  if (!copied) step(Verb::kBroadcast, nullptr, num_bytes, phase);
}

void ThreadMember::send(int to, std::span<const std::byte> data, const char* phase) {
  check_peer(to, phase);
  const BoxWait outcome = group_->mailbox(rank_, to).put(data, patience_, timeout_ns(), wait_ns_);
  if (outcome != BoxWait::kDone)
    fail_box(outcome, fmt::format("rank {} did not take the messages of '{}'", to, phase));
}

void ThreadMember::recv(int from, std::span<std::byte> data, const char* phase) {
  check_peer(from, phase);
  const BoxWait outcome =
      group_->mailbox(from, rank_).take(data, phase, patience_, timeout_ns(), wait_ns_);
  if (outcome != BoxWait::kDone)
    fail_box(outcome, fmt::format("rank {} sent nothing for '{}'", from, phase));
}

std::unique_ptr<Communicator> ThreadMember::split(int color, int key) {
  struct Choice {
    int color, key, rank;
    auto operator<=>(const Choice&) const = default;
  };
  const Choice mine{color, key, rank_};
  std::byte* shown = scratch(sizeof(Choice));
  std::memcpy(shown, &mine, sizeof(Choice));
  step(Verb::kSplit, shown, sizeof(Choice), "split");
  std::vector<Choice> members;
  for (const std::byte* part : parts_) {
    Choice choice;
    std::memcpy(&choice, part, sizeof(Choice));
    if (choice.color == color) members.push_back(choice);
  }
  std::sort(members.begin(), members.end());  // one color, so by key and rank

  // The first of the new group makes it; the second step shows that it is made, the third that all
  // have taken it.
  const bool maker = members.front() == mine;
  if (maker)
    group_->seat(rank_).made = ThreadGroup::make(static_cast<int>(members.size()),
                                                 group_->options(), group_->shared_family());
  step(Verb::kSplit, nullptr, 0, "split");
  const auto place = std::find(members.begin(), members.end(), mine) - members.begin();
  auto joined =
      make_thread_member(group_->seat(members.front().rank).made, static_cast<int>(place));
  step(Verb::kSplit, nullptr, 0, "split");
  if (maker) group_->seat(rank_).made.reset();
  return joined;
}

}  // namespace

std::unique_ptr<Communicator> make_thread_member(std::shared_ptr<ThreadGroup> group, int rank) {
  return std::make_unique<ThreadMember>(std::move(group), rank);
}

}  // namespace weft::comm
