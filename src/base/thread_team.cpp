#include "base/thread_team.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <latch>
#include <optional>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/range.h"
#include "base/wait_word.h"

namespace weft {
namespace {

// Two lines: x86 prefetches lines in pairs, so neighbours of 64 bytes still disturb each other.
constexpr size_t kApart = 128;

// Returns errno, 0 where the calling thread now runs on `cpu` alone.
int pin_this_thread(int cpu) {
  if (cpu < 0 || cpu >= CPU_SETSIZE) return EINVAL;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<size_t>(cpu), &set);
  return sched_setaffinity(0, sizeof(set), &set) == 0 ? 0 : errno;
}

[[noreturn]] void throw_cannot_pin(int cpu, int error) {
  throw Error(ErrorKind::kUsage, fmt::format("cannot run a thread on CPU {}", cpu),
              std::strerror(error), "name CPUs that this process may use with --devices");
}

}  // namespace

// Gives a thread back the cores that it might use when this was made on it. Of a thread that has
// ended since, nothing is asked.
class CoresOfThread {
 public:
  CoresOfThread() : thread_(gettid()), known_(sched_getaffinity(0, sizeof(cores_), &cores_) == 0) {}
  ~CoresOfThread() {
    if (known_) sched_setaffinity(thread_, sizeof(cores_), &cores_);
  }
  CoresOfThread(const CoresOfThread&) = delete;
  CoresOfThread& operator=(const CoresOfThread&) = delete;

 private:
  pid_t thread_;
  cpu_set_t cores_;
  bool known_;
};

// Tiles [begin, end) that are still to be taken, in one word: the owner takes the first, others the
// last. Whoever takes one owns it, whatever it saw of the range before.
class alignas(kApart) TileRange {
 public:
  void set(Range tiles) { word_.store(pack(tiles.begin, tiles.end), std::memory_order_release); }
  // The tile, or -1 where none is left.
  int64_t take_first() {
    return take([](uint64_t word) { return word + (uint64_t{1} << 32); },
                [](uint64_t word) { return begin_of(word); });
  }
  int64_t take_last() {
    return take([](uint64_t word) { return word - 1; },
                [](uint64_t word) { return end_of(word) - 1; });
  }

 private:
  static uint64_t pack(int64_t begin, int64_t end) {
    return static_cast<uint64_t>(begin) << 32 | static_cast<uint64_t>(end);
  }
  static int64_t begin_of(uint64_t word) { return static_cast<int64_t>(word >> 32); }
  static int64_t end_of(uint64_t word) { return static_cast<int64_t>(word & 0xffffffffu); }

  template <typename Rest, typename Taken>
  int64_t take(Rest rest, Taken taken) {
    uint64_t word = word_.load(std::memory_order_relaxed);
    while (begin_of(word) < end_of(word)) {
      if (word_.compare_exchange_weak(word, rest(word), std::memory_order_acquire,
                                      std::memory_order_relaxed))
        return taken(word);
    }
    return -1;
  }

  std::atomic<uint64_t> word_{0};
};

// How a phase runs. The leader writes `body` and `done_target`, then every thread's range of tiles,
// then bumps `epoch`. Whoever takes a tile from a range owns a tile of the current phase, whenever
// it woke up: the phase cannot end before that tile is done, so what describes it cannot change
// under its owner. A worker that comes late takes nothing and is not waited for; the leader waits
// for tiles, not for threads.
struct ThreadTeam::State {
  State(int n, std::vector<int> cpu_of_thread)
      : ranges(static_cast<size_t>(n)),
        num_threads(n),
        cpus(std::move(cpu_of_thread)),
        started(n - 1) {}

  ~State();

  void start();
  void work(int thread);
  void run_phase(int64_t num_tiles, Body phase_body);
  // A body that throws ends the program here: half a phase cannot be repaired.
  void run_tiles(int thread) noexcept;
  // The next of the thread's own tiles, then of others'; -1 where it found none.
  int64_t take_tile(int thread);
  void run_inline(int64_t tiles, Body phase_body) noexcept;

  alignas(kApart) WaitWord epoch;
  std::optional<Body> body;
  uint32_t done_target = 0;

  std::vector<TileRange> ranges;        // of each thread
  alignas(kApart) WaitWord tiles_done;  // over all phases, wraps

  alignas(kApart) std::atomic<bool> stop{false};
  std::atomic<bool> in_phase{false};
  Patience leader_patience;

  const int num_threads;
  const std::vector<int> cpus;
  std::optional<CoresOfThread> pinned_leader;
  std::atomic<int> pin_error{0};
  std::atomic<int> pin_error_cpu{0};
  std::latch started;
  std::vector<std::thread> workers;
};

void ThreadTeam::State::work(int thread) {
  char name[16];  // the kernel's limit
  std::snprintf(name, sizeof(name), "weft-%d", thread);
  pthread_setname_np(pthread_self(), name);
  prepare_this_thread();
  if (!cpus.empty()) {
    const int cpu = cpus[static_cast<size_t>(thread)];
    if (const int error = pin_this_thread(cpu); error != 0) {
      pin_error_cpu = cpu;
      pin_error = error;
    }
  }
  started.count_down();

  Patience patience;
  uint32_t seen = 0;
  while (true) {
    epoch.wait_until([&](uint32_t value) { return value != seen; }, patience);
    seen = epoch.load();
    if (stop.load(std::memory_order_relaxed)) return;
    run_tiles(thread);
  }
}

int64_t ThreadTeam::State::take_tile(int thread) {
  // The leader looks everywhere, so that nothing waits for a thread that sleeps; of many workers
  // each looks at some others alone, or the end of a phase would be a storm of cache lines, and at
  // the leader, which holds all tiles where they are few.
  constexpr int kVictims = 7;
  const int others = thread == 0 ? num_threads - 1 : std::min(num_threads - 1, kVictims);
  int64_t tile = ranges[static_cast<size_t>(thread)].take_first();
  for (int i = 1; tile < 0 && i <= others; ++i)
    tile = ranges[static_cast<size_t>((thread + i) % num_threads)].take_last();
  return tile < 0 && thread != 0 ? ranges[0].take_last() : tile;
}

void ThreadTeam::State::run_tiles(int thread) noexcept {
  // The tiles of this loop are of one phase: those not yet counted keep it open.
  uint32_t num_done = 0;
  uint32_t target = 0;
  for (int64_t tile = take_tile(thread); tile >= 0; tile = take_tile(thread)) {
    target = done_target;
    (*body)(tile, thread);
    ++num_done;
  }
  if (num_done == 0) return;
  if (tiles_done.add(num_done) == target) tiles_done.wake();
}

void ThreadTeam::State::run_inline(int64_t tiles, Body phase_body) noexcept {
  for (int64_t tile = 0; tile < tiles; ++tile) phase_body(tile, 0);
}

void ThreadTeam::State::run_phase(int64_t num_tiles, Body phase_body) {
  WEFT_CHECK_LE(num_tiles, int64_t{INT32_MAX});
  body = phase_body;
  done_target += static_cast<uint32_t>(num_tiles);
  const uint32_t target = done_target;
  const int owners = num_tiles < num_threads ? 1 : num_threads;
  for (int thread = 0; thread < owners; ++thread)
    ranges[static_cast<size_t>(thread)].set(equal_part({0, num_tiles}, thread, owners));
  epoch.add(1);
  // The leader takes a tile itself, so more workers than tiles - 1 would find nothing.
  epoch.wake(static_cast<int>(std::min<int64_t>(num_tiles - 1, num_threads)));
  run_tiles(0);
  tiles_done.wait_until([target](uint32_t value) { return value == target; }, leader_patience);
}

void ThreadTeam::State::start() {
  workers.reserve(static_cast<size_t>(num_threads - 1));
  for (int thread = 1; thread < num_threads; ++thread)
    workers.emplace_back([this, thread] { work(thread); });
  started.wait();
  if (const int error = pin_error; error != 0) throw_cannot_pin(pin_error_cpu, error);
}

ThreadTeam::State::~State() {
  stop.store(true, std::memory_order_relaxed);
  epoch.add(1);
  epoch.wake();
  for (std::thread& worker : workers) worker.join();
}

ThreadTeam::ThreadTeam(int num_threads, std::vector<int> cpus) {
  WEFT_CHECK(num_threads >= 1, "a team of {} threads", num_threads);
  WEFT_CHECK(cpus.empty() || cpus.size() == static_cast<size_t>(num_threads), "{} threads, {} cpus",
             num_threads, cpus.size());
  state_ = std::make_unique<State>(num_threads, std::move(cpus));
  state_->start();
}

ThreadTeam::~ThreadTeam() = default;

int ThreadTeam::num_threads() const { return state_->num_threads; }

void ThreadTeam::pin_leader() {
  prepare_this_thread();
  if (state_->cpus.empty()) return;
  const int cpu = state_->cpus[0];
  state_->pinned_leader.emplace();
  if (const int error = pin_this_thread(cpu); error != 0) throw_cannot_pin(cpu, error);
}

void ThreadTeam::parallel_for(int64_t num_tiles, Body body) {
  State& team = *state_;
  WEFT_CHECK(!team.in_phase.load(std::memory_order_relaxed),
             "a body called its own team, or two threads lead one team");
  if (num_tiles <= 0) return;
  team.in_phase.store(true, std::memory_order_relaxed);
  if (team.num_threads == 1 || num_tiles == 1) {
    team.run_inline(num_tiles, body);
  } else {
    team.run_phase(num_tiles, body);
  }
  team.in_phase.store(false, std::memory_order_relaxed);
}

}  // namespace weft
