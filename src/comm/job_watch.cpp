#include "comm/job_watch.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include "base/clock.h"
#include "base/error.h"

namespace weft::comm {
namespace {

constexpr uint32_t kMagic = 0x77656674;  // "weft"
constexpr int64_t kSayEveryNs = 500'000'000;
// What it does next, a process says sooner: it may be lost in that.
constexpr int64_t kSayNewsNs = 100'000'000;
// Where somebody may be lost: who lives says so several times before it is missed.
constexpr int64_t kSaySoonNs = 40'000'000;
// What others still say of a search that has ended here begins no other one.
constexpr int64_t kSearchedNs = 2'000'000'000;
// Between looks: where nothing is under way; where something is, at first and later on.
constexpr int64_t kIdleNs = 20'000'000, kKeenNs = 100'000, kBusyNs = 1'000'000;
constexpr int64_t kKeenForNs = 5'000'000;
const int kTag = tag::of(tag::kNotice, 0, 0);

// Time between two looks counts up to here: a process that was stopped, or kept off the cores, has
// heard nobody meanwhile, and that says nothing of the others.
constexpr int64_t kLongestLookNs = 1'000'000'000;

int open_pidfd(int64_t pid) {
  return static_cast<int>(syscall(SYS_pidfd_open, static_cast<pid_t>(pid), 0));
}

template <typename T>
std::span<std::byte> bytes_of(T& object) {
  return std::as_writable_bytes(std::span(&object, 1));
}

}  // namespace

JobWatch::JobWatch(JobPart& part, Enquiries& enquiries, JobOptions options)
    : part_(part), enquiries_(enquiries), options_(options) {
  const std::vector<Introduced>& all = part_.introduced();
  const int self = part_.link().process();
  const Introduced& own = all[static_cast<size_t>(self)];
  for (int process = 0; process < part_.link().num_processes(); ++process) {
    if (process == self) continue;
    const Introduced& other = all[static_cast<size_t>(process)];
    auto neighbour = std::make_unique<Neighbour>();
    neighbour->process = process;
    neighbour->doing.reserve(sizeof(Notice::text));  // so that no notice takes memory later
    neighbour->doing = "start";
    const bool same_machine = !own.machine.empty() && other.machine == own.machine;
    if (same_machine && other.peer.pid != own.peer.pid)
      neighbour->pidfd = open_pidfd(other.peer.pid);
    listen(*neighbour);
    neighbours_.push_back(std::move(neighbour));
  }
  thread_ = std::thread([this] { run(); });
}

JobWatch::~JobWatch() {
  stopping_.store(true);
  part_.nudge();
  thread_.join();
  for (const auto& neighbour : neighbours_) {
    for (Transfer* transfer : {&neighbour->hearing, &neighbour->saying, &neighbour->saying_last})
      if (transfer->pending) part_.link().cancel(*transfer);
    if (neighbour->pidfd >= 0) close(neighbour->pidfd);
  }
}

void JobWatch::leave() {
  leaving_.store(true);
  part_.nudge();
  Patience patience;
  const int64_t deadline = now_ns() + std::chrono::nanoseconds(options_.deadline).count();
  const bool in_time = left_.wait_until(
      [&](uint32_t left) { return left != 0 || part_.family()->aborted(); }, patience, deadline);
  part_.throw_if_failed();
  if (!in_time)
    part_.fail(fmt::format("the other processes of the job did not end within {} ms",
                           options_.deadline.count()));
}

// Failures end the job and this thread's work with it, but the others still want to hear of them:
// it goes on until it is told to stop.
void JobWatch::run() {
  int64_t looked = now_ns(), said = 0, idle = looked;
  const char* said_activity = nullptr;
  while (!stopping_.load()) {
    const int64_t now = now_ns();
    const int64_t passed = std::min(now - looked, kLongestLookNs);
    looked = now;
    int64_t under_way = 0;
    bool is_asked = false;
    try {
      for (const auto& neighbour : neighbours_) look_at(*neighbour, passed);
      const char* const activity = part_.activity();
      const int64_t every = part_.suspects()            ? kSaySoonNs
                            : activity != said_activity ? kSayNewsNs
                                                        : kSayEveryNs;
      if (now - said >= every) {
        say_alive();
        said = now;
        said_activity = activity;
      }
      if (part_.suspects()) search(now);
      if (part_.family()->aborted()) {
        if (!said_last_) say_last(Kind::kFailed, part_.family()->reason());
      } else if (leaving_.load() && !said_last_) {
        say_last(Kind::kLeaving, "");
      }
      under_way = part_.sweep();
      is_asked = enquiries_.look();
    } catch (const Error& error) {
      part_.family()->abort(error.summary());
    }
    if (leaving_.load() && under_way == 0 && has_left()) {
      left_.set_bits(1);
      left_.wake();
    }
    const bool is_busy = under_way > 0 || is_asked;
    if (!is_busy) idle = now;
    const int64_t busy = now - idle > kKeenForNs || !is_busy ? kBusyNs : kKeenNs;
    sleep_for(is_busy || leaving_.load() ? busy : kIdleNs);
  }
}

void JobWatch::sleep_for(int64_t ns) {
  wakers_.assign(1, {part_.nudges(), POLLIN, 0});
  for (const auto& neighbour : neighbours_)
    if (neighbour->pidfd >= 0 && !neighbour->leaving)
      wakers_.push_back({neighbour->pidfd, POLLIN, 0});
  const timespec limit{0, static_cast<long>(ns)};
  ppoll(wakers_.data(), wakers_.size(), &limit, nullptr);
  uint64_t nudges;
  [[maybe_unused]] const auto taken = read(part_.nudges(), &nudges, sizeof(nudges));
}

void JobWatch::listen(Neighbour& neighbour) {
  part_.link().receive(neighbour.hearing, neighbour.process, kTag, bytes_of(neighbour.heard));
}

void JobWatch::look_at(Neighbour& neighbour, int64_t passed_ns) {
  Link& link = part_.link();
  for (Transfer* said : {&neighbour.saying, &neighbour.saying_last})
    if (said->pending) link.test(*said);  // one that fails goes to a process that is lost
  if (neighbour.leaving) return;
  if (neighbour.hearing.pending) {
    const Outcome outcome = link.test(neighbour.hearing);
    if (outcome == Outcome::kDone) return hear(neighbour);
    if (outcome != Outcome::kPending)
      return lost(neighbour,
                  fmt::format("cannot be heard: {}", outcome == Outcome::kFailed
                                                         ? link.failure(neighbour.hearing)
                                                         : "a notice of another size"));
  }
  if (neighbour.pidfd >= 0) {
    pollfd ended{neighbour.pidfd, POLLIN, 0};
    if (poll(&ended, 1, 0) == 1) {
      const int64_t pid = part_.introduced()[static_cast<size_t>(neighbour.process)].peer.pid;
      close(std::exchange(neighbour.pidfd, -1));
      return lost(neighbour, fmt::format("ended without a word (process id {})", pid));
    }
  }
  neighbour.silent_ns += passed_ns;
  if (neighbour.silent_ns > std::chrono::nanoseconds(options_.silence).count())
    lost(neighbour, fmt::format("gave no sign of life for {} ms: it is frozen or cut off",
                                options_.silence.count()));
}

void JobWatch::hear(Neighbour& neighbour) {
  const Notice& notice = neighbour.heard;
  const bool known = notice.magic == kMagic && notice.kind >= Kind::kAlive &&
                     notice.kind <= Kind::kSuspects && notice.length <= sizeof(notice.text);
  if (!known) return lost(neighbour, "sent a notice that this version does not know");
  const std::string_view text(notice.text, notice.length);
  neighbour.silent_ns = 0;
  neighbour.answered = true;
  switch (notice.kind) {
    case Kind::kSuspects:
      if (now_ns() - searched_ > kSearchedNs) part_.suspect();
      [[fallthrough]];
    case Kind::kAlive:
      neighbour.doing = text;
      break;
    case Kind::kFailed:
      neighbour.leaving = true;  // it has nothing more to say
      part_.family()->abort(std::string(text));
      return;
    case Kind::kLeaving:
      neighbour.leaving = true;
      return;
  }
  listen(neighbour);
}

// Takes no memory from the system: it is said while tokens are made.
void JobWatch::say_alive() {
  const Kind kind = part_.suspects() ? Kind::kSuspects : Kind::kAlive;
  for (const auto& neighbour : neighbours_) {
    // One at a time: a frozen process is not to find a pile of them.
    if (neighbour->saying.pending || said_last_) continue;
    Notice& notice = neighbour->said;
    notice = {kMagic, kind, 0, {}};
    notice.length = static_cast<uint32_t>(part_.say_doing(notice.text));
    part_.link().send(neighbour->saying, neighbour->process, kTag, bytes_of(notice), Until::kTaken);
  }
}

void JobWatch::say_last(Kind kind, const std::string& text) {
  said_last_ = true;
  for (const auto& neighbour : neighbours_) {
    Notice& notice = neighbour->last_word;
    notice = {kMagic, kind, static_cast<uint32_t>(std::min(text.size(), sizeof(notice.text))), {}};
    std::memcpy(notice.text, text.data(), notice.length);
    part_.link().send(neighbour->saying_last, neighbour->process, kTag, bytes_of(notice),
                      Until::kCopied);
  }
}

// Nobody else says who is lost: MPI does not, and the launcher says it to its user alone.
void JobWatch::search(int64_t now) {
  if (suspects_since_ == 0) {
    suspects_since_ = now;
    for (const auto& neighbour : neighbours_) neighbour->answered = neighbour->leaving;
  }
  const int64_t patience = std::chrono::nanoseconds(options_.silence_at_the_end).count();
  if (now - suspects_since_ < patience || leaving_.load()) return;
  std::string silent;
  for (const auto& neighbour : neighbours_)
    if (!neighbour->answered)
      silent += fmt::format("{}{} (last seen in {})", silent.empty() ? "" : ", ",
                            part_.name(neighbour->process), neighbour->doing);
  suspects_since_ = 0;
  searched_ = now;
  part_.suspect_no_more();
  if (silent.empty()) return;
  part_.family()->abort(fmt::format(
      "{} gave no sign of life when the launcher told the others to end (noticed by {} in {})",
      silent, part_.own_name(), part_.doing()));
}

void JobWatch::lost(const Neighbour& neighbour, const std::string& how) {
  if (part_.family()->aborted()) return;
  part_.family()->abort(fmt::format("{} {}; last seen in {} (noticed by {} in {})",
                                    part_.name(neighbour.process), how, neighbour.doing,
                                    part_.own_name(), part_.doing()));
}

bool JobWatch::has_left() const {
  return said_last_ && std::all_of(neighbours_.begin(), neighbours_.end(), [](const auto& n) {
           return n->leaving && !n->saying.pending && !n->saying_last.pending;
         });
}

}  // namespace weft::comm
