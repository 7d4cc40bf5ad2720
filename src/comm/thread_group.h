// What the members of one thread group share: a seat for each member, a mailbox for each ordered
// pair, and the family's abort.
//
// Everything is built from one move, the *step*: a member writes what it shows into its seat, adds
// to its arrival counter, and waits until every other member has done the same. A seat has two
// sides, used in turn: what was shown in step k is overwritten in step k + 2 at the earliest, and
// by then everybody has arrived at step k + 1, so everybody has finished with step k. That is why
// no verb needs a trailing barrier for what lies in the group's own memory.
//
//   step          k            k+1           k+2
//   side          0             1             0
//   member 0   show A0 . . | show A1 . . | show A2      A0's side is free again here
//   member 1   show B0 . . | show B1 . . | show B2
//
// Waiters spin over the seats. Who has spun in vain sleeps at the group's gate, and the last to
// arrive opens it if anybody sleeps there: one sleep a step, however many are late.
//
// Rejected: one shared arrival counter (every arrival takes the line away from every waiter, and
// it cannot say who is missing).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/wait_word.h"
#include "comm/comm.h"
#include "comm/mailbox.h"
#include "tensor/buffer.h"

namespace weft::comm {

enum class Verb : uint8_t {
  kBarrier,
  kAllReduce,
  kReduceScatter,
  kAllGather,
  kAllGatherRows,
  kBroadcast,
  kSplit,
  kExchange,
  kReduceScatterAsMade,
};
const char* name_of(Verb verb);

// What one member shows the others, alone on two cache lines (x86 fetches lines in pairs).
class ThreadGroup;

struct alignas(128) Seat {
  struct Side {
    const std::byte* part = nullptr;
    int64_t num_bytes = 0;
    // Atomic because a member that reports a silent one reads it without having met it.
    std::atomic<const char*> phase = nullptr;
    Verb verb = Verb::kBarrier;
  };
  WaitWord arrivals;
  Side sides[2];
  std::string name;  // in errors: the rank in the group that all were split from
  // Memory for what this member copies out so that others may read it; grows, never shrinks.
  tensor::Buffer scratch[2];
  // The group that this member has made for others to join (split).
  std::shared_ptr<ThreadGroup> made;
};

// All groups split from one: they fail together.
class Family {
 public:
  // The first reason stays. Wakes every waiter of every group.
  void abort(const std::string& reason);
  void enter(const std::shared_ptr<ThreadGroup>& group);
  bool aborted() const { return aborted_.load(std::memory_order_acquire); }
  std::string reason() const;

 private:
  mutable std::mutex mutex_;
  std::atomic<bool> aborted_{false};  // changes under the mutex, after the reason
  std::string reason_;
  std::vector<std::weak_ptr<ThreadGroup>> groups_;
};

class ThreadGroup {
 public:
  static std::shared_ptr<ThreadGroup> make(int size, GroupOptions options,
                                           std::shared_ptr<Family> family);

  int size() const { return static_cast<int>(seats_.size()); }
  const GroupOptions& options() const { return options_; }
  Family& family() { return *family_; }
  const std::shared_ptr<Family>& shared_family() const { return family_; }
  Seat& seat(int rank) { return seats_[static_cast<size_t>(rank)]; }
  const Seat& seat(int rank) const { return seats_[static_cast<size_t>(rank)]; }
  WaitWord& gate() { return gate_; }
  // The first member from `from` on that has not come as far as `target`, size() where all have.
  int first_missing(uint32_t target, int from) const {
    while (from < size() && WaitWord::reached(seat(from).arrivals.load(), target)) ++from;
    return from;
  }
  Mailbox& mailbox(int from, int to) {
    return mailboxes_[static_cast<size_t>(from) * seats_.size() + static_cast<size_t>(to)];
  }
  // Sets the abort bit of every word that a member may wait on.
  void wake_aborted();

 private:
  ThreadGroup(int size, GroupOptions options, std::shared_ptr<Family> family);

  GroupOptions options_;
  std::shared_ptr<Family> family_;
  alignas(128) WaitWord gate_;
  alignas(128) std::vector<Seat> seats_;
  std::vector<Mailbox> mailboxes_;  // [from * size + to]
};

// The member `rank` of a group; one thread uses it.
std::unique_ptr<Communicator> make_thread_member(std::shared_ptr<ThreadGroup> group, int rank);

}  // namespace weft::comm
