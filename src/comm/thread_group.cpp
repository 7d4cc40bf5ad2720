#include "comm/thread_group.h"

#include <utility>

#include "base/error.h"

namespace weft::comm {

const char* name_of(Verb verb) {
  switch (verb) {
    case Verb::kBarrier:
      return "barrier";
    case Verb::kAllReduce:
      return "all_reduce";
    case Verb::kReduceScatter:
      return "reduce_scatter";
    case Verb::kAllGather:
      return "all_gather";
    case Verb::kAllGatherRows:
      return "all_gather_rows";
    case Verb::kBroadcast:
      return "broadcast";
    case Verb::kSplit:
      return "split";
    case Verb::kExchange:
      return "exchange";
    case Verb::kReduceScatterAsMade:
      return "reduce_scatter_as_made";
  }
  return "?";
}

void Family::abort(const std::string& reason) {
  const std::lock_guard lock(mutex_);
  if (!aborted()) reason_ = reason;
  aborted_.store(true, std::memory_order_release);
  for (const std::weak_ptr<ThreadGroup>& entry : groups_)
    if (const std::shared_ptr<ThreadGroup> group = entry.lock()) group->wake_aborted();
}

void Family::enter(const std::shared_ptr<ThreadGroup>& group) {
  const std::lock_guard lock(mutex_);
  std::erase_if(groups_, [](const std::weak_ptr<ThreadGroup>& entry) { return entry.expired(); });
  groups_.push_back(group);
  if (aborted()) group->wake_aborted();
}

std::string Family::reason() const {
  const std::lock_guard lock(mutex_);
  return reason_;
}

ThreadGroup::ThreadGroup(int size, GroupOptions options, std::shared_ptr<Family> family)
    : options_(options),
      family_(std::move(family)),
      seats_(static_cast<size_t>(size)),
      mailboxes_(static_cast<size_t>(size) * static_cast<size_t>(size)) {
  for (int rank = 0; rank < size; ++rank) seat(rank).name = std::to_string(rank);
}

std::shared_ptr<ThreadGroup> ThreadGroup::make(int size, GroupOptions options,
                                               std::shared_ptr<Family> family) {
  std::shared_ptr<ThreadGroup> group(new ThreadGroup(size, options, std::move(family)));
  group->family().enter(group);
  return group;
}

void ThreadGroup::wake_aborted() {
  for (Seat& seat : seats_) seat.arrivals.set_bits(kAbortedBit);
  gate_.set_bits(kAbortedBit);
  gate_.wake();
  for (Mailbox& box : mailboxes_) box.wake_aborted();
}

std::vector<std::unique_ptr<Communicator>> make_thread_group(int size, GroupOptions options) {
  WEFT_CHECK(size >= 1, "a group of {} members", size);
  const auto group = ThreadGroup::make(size, options, std::make_shared<Family>());
  std::vector<std::unique_ptr<Communicator>> members;
  members.reserve(static_cast<size_t>(size));
  for (int rank = 0; rank < size; ++rank) members.push_back(make_thread_member(group, rank));
  return members;
}

}  // namespace weft::comm
