// This process's part in a job: what all of its groups share. Their fate, what they are called in
// errors, and the one wait for messages between processes.
//
// A wait looks at its transfers again and again: at once at first (a message over shared memory
// takes about a microsecond), then after naps that grow with what was waited (processes may
// outnumber the cores), to a millisecond. MPI has no sleep that another process ends.
// Thread rule: any thread.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/function_ref.h"
#include "base/range.h"
#include "comm/introduction.h"
#include "comm/link.h"
#include "comm/outbox.h"
#include "comm/thread_group.h"

namespace weft::comm {

// What a wait is for; for errors.
struct Awaited {
  const char* operation = "";  // "all_reduce"
  const char* phase = "";
  std::chrono::milliseconds deadline{0};
};

// Between two looks at what may have come.
class Looks {
 public:
  explicit Looks(std::chrono::nanoseconds deadline) : deadline_ns_(deadline.count()) {}
  // Lets time pass; false once the deadline has.
  bool again();

 private:
  int64_t deadline_ns_, begin_ns_ = -1;
  bool naps_ = false;
};

class JobPart {
 public:
  explicit JobPart(Link& link);
  ~JobPart();

  Link& link() { return link_; }
  // Of all thread groups of this process in the job, and so the fate of every wait here. The watch
  // tells the other processes when it has ended, and ends it when they have.
  const std::shared_ptr<Family>& family() const { return family_; }

  // Names of processes: "rank 2 (host b)", "ranks 2 to 3 (host b)", "process 1" before they are
  // known.
  void introduce(std::vector<Introduced> all) { introduced_ = std::move(all); }
  const std::vector<Introduced>& introduced() const { return introduced_; }
  void set_ranks(std::vector<Range> by_process);
  std::string name(int process) const;
  // Of one start of the system, and of one space of process ids.
  bool on_one_machine(std::span<const int> processes) const;
  std::string own_name() const { return name(link_.process()); }

  // What this process is in, as others will be told: the wait, and what it is a part of
  // (Job::enter). Literals.
  void enter(const char* phase) { phase_.store(phase, std::memory_order_relaxed); }
  void begin(const char* activity) { activity_.store(activity, std::memory_order_relaxed); }
  const char* activity() const { return activity_.load(std::memory_order_relaxed); }
  std::string doing() const;  // "prompt ('attention')"
  // The same, as far as it has room; how many bytes it takes.
  size_t say_doing(std::span<char> text) const;

  // Waits until no transfer is pending; over(i) is called for each that was, as it ends. Throws
  // Error(kCommunication), after every other wait of the job was told to end with the same reason.
  void finish(std::span<Transfer> transfers, const Awaited& awaited,
              FunctionRef<void(size_t)> over);
  // For who has something else to do first: whether a pending transfer is over. Each look moves all
  // that is under way on. Throws as finish does, where it failed.
  bool is_over(Transfer& transfer, const Awaited& awaited);
  // Nothing is to be written into memory that its owner may give back now.
  void give_up(std::span<Transfer> transfers);
  // Tells the job and throws.
  [[noreturn]] void fail(const std::string& what, const std::string& why = {});
  void throw_if_failed() const {
    if (family_->aborted()) throw Error(ErrorKind::kCommunication, family_->reason());
  }

  // Numbers of groups, of which all processes of a group agree on one that none uses: next_group()
  // is offered, the largest offer claimed, until all have been able to.
  int64_t next_group() const;
  bool claim_groups(int64_t first, int64_t count);
  // While it is held, no group whose tags would be the same can be claimed.
  void hold_group(int64_t number);
  void release_group(int64_t number);

  // A box for messages to a member of another process. It is kept until its messages are taken,
  // also where its owner is gone by then.
  std::shared_ptr<Outbox> make_outbox(int process, int tag);
  // Moves messages on whose senders do something else; the number still under way.
  int64_t sweep();
  // The launcher has told this process to end: somebody may be lost, whom the watch is to find.
  // From a signal handler too.
  void suspect() {
    suspects_.store(true, std::memory_order_relaxed);
    nudge();
  }
  bool suspects() const { return suspects_.load(std::memory_order_relaxed); }
  void suspect_no_more() { suspects_.store(false, std::memory_order_relaxed); }

  // Called where a message is under way that only looks move on. From a signal handler too.
  void nudge() const;
  int nudges() const { return nudges_; }  // a file descriptor to poll

 private:
  void await(std::span<Transfer> transfers, const Awaited& awaited, FunctionRef<void(size_t)> over);
  [[noreturn]] void fail_silent(std::span<const Transfer> transfers, const Awaited& awaited);
  [[noreturn]] void fail_transfer(const Transfer& transfer, Outcome outcome,
                                  const Awaited& awaited);

  Link& link_;
  const std::shared_ptr<Family> family_;
  std::vector<Introduced> introduced_;
  mutable std::mutex names_mutex_;
  std::vector<Range> ranks_;  // [processes], once groups were made
  std::atomic<const char*> activity_{"start"}, phase_{"introductions"};
  std::atomic<bool> suspects_{false};
  mutable std::mutex groups_mutex_;
  int64_t next_group_ = 1;
  std::vector<int> holders_;  // [tag::kNumGroups], by slot
  std::mutex outboxes_mutex_;
  std::vector<std::shared_ptr<Outbox>> outboxes_;
  int nudges_ = -1;
};

}  // namespace weft::comm
