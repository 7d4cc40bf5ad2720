#include "comm/thread_member.h"

#include <algorithm>
#include <compare>
#include <cstring>

#include "base/clock.h"
#include "comm/show_bytes.h"

namespace weft::comm {

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
    const bool in_time = gate.wait_until(done, patience_, now_ns() + timeout_ns());
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
    silent += fmt::format("{}{}", silent.empty() ? "" : ", ", seat.name);
    seen += fmt::format("{}rank {} {}", seen.empty() ? "" : "; ", seat.name,
                        last == nullptr ? std::string("was never seen")
                                        : fmt::format("was last seen in '{}'", last));
  }
  const std::string what =
      fmt::format("rank {} did not arrive at '{}' within {} ms (noticed by rank {})", silent, phase,
                  deadline_.count(), group_->seat(rank_).name);
  abort(what);
  throw Error(ErrorKind::kCommunication, what, seen);
}

void ThreadMember::fail_box(BoxWait outcome, const std::string& what) {
  if (outcome == BoxWait::kAborted) fail_aborted();
  const std::string text = fmt::format("{} within {} ms (noticed by rank {})", what,
                                       deadline_.count(), group_->seat(rank_).name);
  abort(text);
  throw Error(ErrorKind::kCommunication, text);
}

std::byte* ThreadMember::scratch(int64_t num_bytes) {
  tensor::Buffer& memory = group_->seat(rank_).scratch[side_index()];
  if (memory.size() < num_bytes) memory = tensor::Buffer(num_bytes, "messages between ranks");
  return memory.data();
}

const std::byte* ThreadMember::shown_copy(const std::byte* from, int64_t num_bytes) {
  std::byte* copy = scratch(num_bytes);
  show_bytes(copy, from, num_bytes);
  return copy;
}

void ThreadMember::all_gather(std::span<const std::byte> mine, std::span<std::byte> all,
                              const char* phase) {
  const size_t part_bytes = mine.size();
  WEFT_CHECK_EQ(all.size(), part_bytes * static_cast<size_t>(size()));
  const auto num_bytes = static_cast<int64_t>(part_bytes);
  const bool copied = num_bytes <= kCopiedPartBytes;
  const std::byte* shown = mine.data();
  if (copied) shown = shown_copy(mine.data(), num_bytes);
  step(Verb::kAllGather, shown, num_bytes, phase);
  for (size_t other = 0; other < parts_.size() && part_bytes > 0; ++other) {
    std::byte* place = all.data() + other * part_bytes;
    // `mine` may already lie in its place.
    if (place != parts_[other]) std::memcpy(place, parts_[other], part_bytes);
  }
  if (!copied) step(Verb::kAllGather, nullptr, num_bytes, phase);
}

Range ThreadMember::rows_of(int member, size_t num_elements, int64_t row_length) const {
  const auto elements = static_cast<int64_t>(num_elements);
  WEFT_CHECK(row_length > 0 && elements % row_length == 0, "{} elements in rows of {}", elements,
             row_length);
  const Range rows = equal_part({0, elements / row_length}, member, size());
  return {rows.begin * row_length, rows.end * row_length};
}

void ThreadMember::all_gather_rows(std::span<std::byte> all, int64_t row_bytes, const char* phase) {
  const auto num_bytes = static_cast<int64_t>(all.size());
  const Range mine = rows_of(rank_, all.size(), row_bytes);
  // By what all members know, so that they agree.
  const bool copied = num_bytes <= kCopiedPartBytes;
  const std::byte* shown = all.data() + mine.begin;
  if (copied) shown = shown_copy(shown, mine.size());
  step(Verb::kAllGatherRows, shown, num_bytes, phase);
  for (int other = 0; other < size(); ++other) {
    const Range theirs = rows_of(other, all.size(), row_bytes);
    if (other == rank_ || theirs.empty()) continue;
    std::memcpy(all.data() + theirs.begin, parts_[static_cast<size_t>(other)],
                static_cast<size_t>(theirs.size()));
  }
  if (!copied) step(Verb::kAllGatherRows, nullptr, num_bytes, phase);
}

void ThreadMember::broadcast(std::span<std::byte> data, int root, const char* phase) {
  WEFT_CHECK(root >= 0 && root < size(), "{}: root {} of {}", phase, root, size());
  const auto num_bytes = static_cast<int64_t>(data.size());
  const bool copied = num_bytes <= kCopiedPartBytes;
  const std::byte* shown = data.data();
  if (rank_ == root && copied) shown = shown_copy(shown, num_bytes);
  step(Verb::kBroadcast, shown, num_bytes, phase);
  if (rank_ != root && !data.empty())
    std::memcpy(data.data(), parts_[static_cast<size_t>(root)], data.size());
  if (!copied) step(Verb::kBroadcast, nullptr, num_bytes, phase);
}

void ThreadMember::send(int to, std::span<const std::byte> data, const char* phase) {
  check_peer(to, phase);
  const BoxWait outcome = group_->mailbox(rank_, to).put(data, patience_, timeout_ns());
  if (outcome != BoxWait::kDone)
    fail_box(outcome, fmt::format("rank {} did not take the messages of '{}'",
                                  group_->seat(to).name, phase));
}

void ThreadMember::recv(int from, std::span<std::byte> data, const char* phase) {
  check_peer(from, phase);
  const BoxWait outcome = group_->mailbox(from, rank_).take(data, phase, patience_, timeout_ns());
  if (outcome != BoxWait::kDone)
    fail_box(outcome, fmt::format("rank {} sent nothing for '{}'", group_->seat(from).name, phase));
}

std::unique_ptr<ThreadMember> ThreadMember::split_threads(int color, int key) {
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
  if (maker) {
    auto made = ThreadGroup::make(static_cast<int>(members.size()), group_->options(),
                                  group_->shared_family());
    for (size_t i = 0; i < members.size(); ++i)
      made->seat(static_cast<int>(i)).name = group_->seat(members[i].rank).name;
    group_->seat(rank_).made = std::move(made);
  }
  step(Verb::kSplit, nullptr, 0, "split");
  const auto place = std::find(members.begin(), members.end(), mine) - members.begin();
  auto joined = std::make_unique<ThreadMember>(group_->seat(members.front().rank).made,
                                               static_cast<int>(place));
  step(Verb::kSplit, nullptr, 0, "split");
  if (maker) group_->seat(rank_).made.reset();
  return joined;
}

std::unique_ptr<Communicator> make_thread_member(std::shared_ptr<ThreadGroup> group, int rank) {
  return std::make_unique<ThreadMember>(std::move(group), rank);
}

}  // namespace weft::comm
