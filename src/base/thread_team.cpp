#include "base/thread_team.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cfenv>
#include <cstdio>
#include <cstring>
#include <latch>
#include <optional>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/wait_word.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

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

void prepare_this_thread() {
#if defined(__x86_64__)
  // Exceptions masked (0x1f80), round to nearest (00), flush to zero (bit 15), denormals are
  // zero (bit 6).
  _mm_setcsr(0x1f80u | 0x8000u | 0x0040u);
#elif defined(__aarch64__)
  // FZ (bit 24) does both for inputs and results; rounding mode 00 is to nearest.
  asm volatile("msr fpcr, %0" ::"r"(uint64_t{1} << 24));
#else
  std::fesetround(FE_TONEAREST);
#endif
}

// How a phase runs. The leader writes `body`, `num_tiles` and `done_target`, then `remaining`,
// then bumps `epoch`. Whoever takes a number above zero from `remaining` owns one tile of the
// current phase, whenever it woke up: the phase cannot end before that tile is done, so what
// describes it cannot change under its owner. A worker that comes late takes nothing and is not
// waited for; the leader waits for tiles, not for threads.
struct ThreadTeam::State {
  State(int n, std::vector<int> cpu_of_thread)
      : num_threads(n), cpus(std::move(cpu_of_thread)), started(n - 1) {}

  ~State();

  void start();
  void work(int thread);
  void run_phase(int64_t tiles, Body phase_body);
  // A body that throws ends the program here: half a phase cannot be repaired.
  void run_tiles(int thread) noexcept;
  void run_inline(int64_t tiles, Body phase_body) noexcept;

  alignas(kApart) WaitWord epoch;
  std::optional<Body> body;
  int64_t num_tiles = 0;
  uint32_t done_target = 0;

  alignas(kApart) std::atomic<int64_t> remaining{0};
  alignas(kApart) WaitWord tiles_done;  // over all phases, wraps

  alignas(kApart) std::atomic<bool> stop{false};
  std::atomic<bool> in_phase{false};
  Patience leader_patience;
  int64_t busy_ns = 0;

  const int num_threads;
  const std::vector<int> cpus;
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

void ThreadTeam::State::run_tiles(int thread) noexcept {
  // A look before the claim spares latecomers the exclusive cache line.
  if (remaining.load(std::memory_order_relaxed) <= 0) return;
  uint32_t num_done = 0;
  uint32_t target = 0;
  while (true) {
    const int64_t left = remaining.fetch_sub(1, std::memory_order_acquire);
    if (left <= 0) break;
    target = done_target;
    (*body)(num_tiles - left, thread);
    ++num_done;
    // Saves the write that every thread's last claim would be. The tiles of this loop are of one
    // phase: those not yet counted keep it open.
    if (remaining.load(std::memory_order_relaxed) <= 0) break;
  }
  if (num_done == 0) return;
  if (tiles_done.add(num_done) == target) tiles_done.wake();
}

void ThreadTeam::State::run_inline(int64_t tiles, Body phase_body) noexcept {
  for (int64_t tile = 0; tile < tiles; ++tile) phase_body(tile, 0);
}

void ThreadTeam::State::run_phase(int64_t tiles, Body phase_body) {
  WEFT_CHECK_LE(tiles, int64_t{INT32_MAX});
  body = phase_body;
  num_tiles = tiles;
  done_target += static_cast<uint32_t>(tiles);
  const uint32_t target = done_target;
  remaining.store(tiles, std::memory_order_release);
  epoch.add(1);
  // The leader takes a tile itself, so more workers than tiles - 1 would find nothing.
  epoch.wake(static_cast<int>(std::min<int64_t>(tiles - 1, num_threads)));
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
  if (const int error = pin_this_thread(cpu); error != 0) throw_cannot_pin(cpu, error);
}

void ThreadTeam::parallel_for(int64_t num_tiles, Body body) {
  State& team = *state_;
  WEFT_CHECK(!team.in_phase.load(std::memory_order_relaxed),
             "a body called its own team, or two threads lead one team");
  if (num_tiles <= 0) return;
  const int64_t begin = now_ns();
  team.in_phase.store(true, std::memory_order_relaxed);
  if (team.num_threads == 1 || num_tiles == 1) {
    team.run_inline(num_tiles, body);
  } else {
    team.run_phase(num_tiles, body);
  }
  team.in_phase.store(false, std::memory_order_relaxed);
  team.busy_ns += now_ns() - begin;
}

int64_t ThreadTeam::take_busy_ns() { return std::exchange(state_->busy_ns, 0); }

}  // namespace weft
