#include "comm/job_part.h"

#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>
#include <thread>

#include "base/clock.h"
#include "base/error.h"

namespace weft::comm {

// Looking costs a few hundred nanoseconds, which is pause enough for the first ones. After that a
// nap, a sixteenth of what was waited so far: short enough to be missed by nobody, long enough that
// a core is not kept from those who compute. It stays short for a tenth of a second, which a stage
// of a pipeline may well wait for the one before it.
//
// Rejected: to yield between looks. Where anything else wants the core it is gone for a slice of
// the scheduler, 4 ms, whatever the other's priority; who wakes from a nap is let in at once.
bool Looks::again() {
  constexpr int64_t kKeenNs = 20'000;
  constexpr int64_t kShortestNapNs = 4'000, kShortNapNs = 200'000, kLongestNapNs = 1'000'000;
  constexpr int64_t kBusyNs = 100'000'000;
  const int64_t now = now_ns();
  if (begin_ns_ < 0) begin_ns_ = now;
  const int64_t waited = now - begin_ns_;
  if (waited < kKeenNs) return true;
  // Of this thread: a nap otherwise lasts 50 us longer than it is meant to.
  if (!naps_) prctl(PR_SET_TIMERSLACK, 1'000);
  naps_ = true;
  const int64_t longest = waited < kBusyNs ? kShortNapNs : kLongestNapNs;
  const int64_t nap = std::clamp(waited / 16, kShortestNapNs, longest);
  std::this_thread::sleep_for(std::chrono::nanoseconds(nap));
  return waited < deadline_ns_;
}

JobPart::JobPart(Link& link)
    : link_(link),
      family_(std::make_shared<Family>()),
      holders_(static_cast<size_t>(tag::kNumGroups)),
      nudges_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  WEFT_CHECK(nudges_ >= 0, "no event descriptor");
}

JobPart::~JobPart() { close(nudges_); }

void JobPart::set_ranks(std::vector<Range> by_process) {
  const std::lock_guard lock(names_mutex_);
  ranks_ = std::move(by_process);
}

std::string JobPart::name(int process) const {
  const auto index = static_cast<size_t>(process);
  const std::string host =
      index < introduced_.size() ? fmt::format(" ({})", introduced_[index].peer.host) : "";
  const std::lock_guard lock(names_mutex_);
  if (index >= ranks_.size()) return fmt::format("process {}{}", process, host);
  const Range ranks = ranks_[index];
  if (ranks.size() == 1) return fmt::format("rank {}{}", ranks.begin, host);
  return fmt::format("ranks {} to {}{}", ranks.begin, ranks.end - 1, host);
}

bool JobPart::on_one_machine(std::span<const int> processes) const {
  const auto machine = [&](int process) -> std::string_view {
    return introduced_.at(static_cast<size_t>(process)).machine;
  };
  return !machine(processes.front()).empty() &&
         std::all_of(processes.begin(), processes.end(),
                     [&](int process) { return machine(process) == machine(processes.front()); });
}

std::string JobPart::doing() const {
  return fmt::format("{} ('{}')", activity(), phase_.load(std::memory_order_relaxed));
}

size_t JobPart::say_doing(std::span<char> text) const {
  const auto said = fmt::format_to_n(text.data(), text.size(), "{} ('{}')", activity(),
                                     phase_.load(std::memory_order_relaxed));
  return std::min(said.size, text.size());
}

void JobPart::finish(std::span<Transfer> transfers, const Awaited& awaited,
                     FunctionRef<void(size_t)> over) {
  enter(awaited.phase);
  try {
    await(transfers, awaited, over);
  } catch (...) {
    give_up(transfers);
    throw;
  }
}

void JobPart::give_up(std::span<Transfer> transfers) {
  for (Transfer& transfer : transfers)
    if (transfer.pending) link_.cancel(transfer);
}

bool JobPart::is_over(Transfer& transfer, const Awaited& awaited) {
  const Outcome outcome = link_.poll(transfer);
  if (outcome != Outcome::kPending && outcome != Outcome::kDone)
    fail_transfer(transfer, outcome, awaited);
  return outcome == Outcome::kDone;
}

void JobPart::await(std::span<Transfer> transfers, const Awaited& awaited,
                    FunctionRef<void(size_t)> over) {
  Looks looks(awaited.deadline);
  while (true) {
    bool pending = false, moved = false;
    for (size_t i = 0; i < transfers.size(); ++i) {
      if (!transfers[i].pending) continue;
      if (!is_over(transfers[i], awaited)) {
        pending = true;
        continue;
      }
      moved = true;
      over(i);
    }
    if (!pending) return;
    throw_if_failed();
    if (!moved && !looks.again()) fail_silent(transfers, awaited);
  }
}

void JobPart::fail(const std::string& what, const std::string& why) {
  family_->abort(what);
  nudge();
  // Whoever was first is who all name.
  if (const std::string reason = family_->reason(); reason != what)
    throw Error(ErrorKind::kCommunication, reason);
  throw Error(ErrorKind::kCommunication, what, why);
}

void JobPart::fail_silent(std::span<const Transfer> transfers, const Awaited& awaited) {
  std::string silent, instead;
  std::vector<int> named;
  for (const Transfer& transfer : transfers) {
    if (!transfer.pending || std::find(named.begin(), named.end(), transfer.peer) != named.end())
      continue;
    named.push_back(transfer.peer);
    silent += fmt::format("{}{}", silent.empty() ? "" : ", ", name(transfer.peer));
    if (const std::optional<int> unclaimed = link_.unclaimed_tag(transfer.peer);
        unclaimed && tag::is_collective(*unclaimed))
      instead += fmt::format("{}{} calls {}", instead.empty() ? "" : "; ", name(transfer.peer),
                             name_of(static_cast<Verb>(tag::verb_of(*unclaimed))));
  }
  fail(fmt::format("{} did not come to '{}' ({}) of {} within {} ms (noticed by {})", silent,
                   awaited.phase, awaited.operation, activity(), awaited.deadline.count(),
                   own_name()),
       instead);
}

void JobPart::fail_transfer(const Transfer& transfer, Outcome outcome, const Awaited& awaited) {
  if (outcome == Outcome::kWrongSize)
    fail(fmt::format("{} sent {} bytes to '{}' ({}) of {}, which takes {}", name(transfer.peer),
                     transfer.num_seen > transfer.num_bytes
                         ? fmt::format("more than {}", transfer.num_bytes)
                         : fmt::format("{}", transfer.num_seen),
                     awaited.phase, awaited.operation, own_name(), transfer.num_bytes));
  fail(fmt::format("a message between {} and {} failed in '{}' ({})", own_name(),
                   name(transfer.peer), awaited.phase, awaited.operation),
       link_.failure(transfer));
}

int64_t JobPart::next_group() const {
  const std::lock_guard lock(groups_mutex_);
  return next_group_;
}

bool JobPart::claim_groups(int64_t first, int64_t count) {
  const std::lock_guard lock(groups_mutex_);
  if (next_group_ > first) return false;
  next_group_ = first + count;
  for (int64_t number = first; number < first + count; ++number)
    if (holders_[static_cast<size_t>(tag::slot(number))] != 0) return false;
  return true;
}

void JobPart::hold_group(int64_t number) {
  const std::lock_guard lock(groups_mutex_);
  ++holders_[static_cast<size_t>(tag::slot(number))];
}

void JobPart::release_group(int64_t number) {
  const std::lock_guard lock(groups_mutex_);
  --holders_[static_cast<size_t>(tag::slot(number))];
}

std::shared_ptr<Outbox> JobPart::make_outbox(int process, int tag) {
  const std::lock_guard lock(outboxes_mutex_);
  return outboxes_.emplace_back(std::make_shared<Outbox>(link_, process, tag));
}

int64_t JobPart::sweep() {
  const std::lock_guard lock(outboxes_mutex_);
  int64_t under_way = 0;
  std::erase_if(outboxes_, [&](const std::shared_ptr<Outbox>& box) {
    const int left = box->sweep();
    under_way += left;
    return left == 0 && box.use_count() == 1;
  });
  return under_way;
}

void JobPart::nudge() const {
  const uint64_t one = 1;
  // A counter that is full is a nudge that has not been heard yet.
  [[maybe_unused]] const auto written = write(nudges_, &one, sizeof(one));
}

}  // namespace weft::comm
