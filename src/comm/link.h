// What carries bytes between the processes of a job: the little that a transport between hosts has
// to know. Groups, deadlines, sums and errors are above it (process_group.h, spanning_member.h), so
// that they can be tested, with ThreadSanitizer too, over a link within one process.
//
// Nothing here waits. A transfer is posted and then looked at until it is over; each look also
// moves every other transfer of the process on.
// Thread rule: any thread, at any time.
//
// Rejected: the collectives of MPI (a non-blocking one cannot say which process is missing, and its
// algorithm is not ours to choose); its communicators as groups (making one blocks without a
// deadline): a group is a part of the tag.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "comm/comm.h"

namespace weft::comm {

// One message on its way. Its memory, and the object, stay where they are until it is over.
struct Transfer {
  uint64_t handle = 0;    // the link's own
  int64_t num_bytes = 0;  // that were posted
  int64_t num_seen = 0;   // that came: of a message that is too long at least one more
  int peer = -1;
  int error = 0;  // the link's own, where it failed
  bool receives = false;
  bool pending = false;
};

enum class Outcome : uint8_t { kPending, kDone, kWrongSize, kFailed };
// When a send is over: its memory may be used again, or the receiver has asked for it.
enum class Until : uint8_t { kCopied, kTaken };

class Link {
 public:
  virtual ~Link() = default;

  virtual int process() const = 0;
  virtual int num_processes() const = 0;
  virtual const std::string& host() const = 0;

  // Messages of one tag between two processes keep their order.
  virtual void send(Transfer& transfer, int to, int tag, std::span<const std::byte> data,
                    Until until) = 0;
  virtual void receive(Transfer& transfer, int from, int tag, std::span<std::byte> data) = 0;
  // Of a pending transfer.
  virtual Outcome test(Transfer& transfer) = 0;
  // The same for who looks again and again: says kPending without having looked where others want
  // the link, who would wait for ever behind one that takes it back at once.
  virtual Outcome poll(Transfer& transfer) { return test(transfer); }
  // Why a transfer that is over failed; empty where it did not.
  virtual std::string failure(const Transfer& transfer) const = 0;
  // Gives up a pending transfer; what cannot be called back any more stays pending.
  virtual void cancel(Transfer& transfer) = 0;
  // The tag of a message from a process that nobody has asked for yet, where there is one.
  virtual std::optional<int> unclaimed_tag(int from) = 0;

  // What the library beneath offers itself, to be measured beside this; null where it is none.
  // While it lives, no transfer of this process moves. Collective.
  virtual std::unique_ptr<Communicator> library_member() { return nullptr; }

  // The job's ordinary end, after the last transfer of every process. Blocks for the others.
  virtual void leave() = 0;
  // Ends all processes of the job, frozen ones too, as far as the launcher can.
  [[noreturn]] virtual void end_all(int exit_code) = 0;
};

// Tags have 23 bits, which is what the smallest of Open MPI's transports (UCX) has:
//   kind 2 | group 9 | collective: verb 4, call 8  |  message: from 6, to 6 (members of a process)
// Of kind 0: notices of the watch, and what enquiries.h asks and answers.
namespace tag {
inline constexpr int kNotice = 0;
inline constexpr int kMaxTag = (1 << 23) - 1;
inline constexpr int64_t kNumGroups = 1 << 9;
inline constexpr int kMaxLocalMembers = 1 << 6;

// Numbers of groups go on without end, tags do not. Group 0 is that of all processes.
constexpr int64_t slot(int64_t group) {
  return group == 0 ? 0 : 1 + (group - 1) % (kNumGroups - 1);
}
constexpr int of(int kind, int64_t group, int rest) {
  return kind << 21 | static_cast<int>(slot(group)) << 12 | rest;
}
constexpr int collective(int64_t group, int verb, uint32_t call) {
  return of(1, group, verb << 8 | static_cast<int>(call & 0xff));
}
constexpr int message(int64_t group, int from_local, int to_local) {
  return of(2, group, from_local << 6 | to_local);
}
constexpr bool is_collective(int tag) { return tag >> 21 == 1; }
constexpr int verb_of(int tag) { return tag >> 8 & 0xf; }
}  // namespace tag

}  // namespace weft::comm
