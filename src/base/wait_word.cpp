#include "base/wait_word.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/pause.h"

namespace weft {
namespace {

// The kernel reads the word itself, so the atomic must be nothing but the word.
static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t));
static_assert(std::atomic<uint32_t>::is_always_lock_free);

}  // namespace

bool WaitWord::wait_until(FunctionRef<bool(uint32_t)> done, Patience& patience,
                          int64_t deadline_ns) {
  if (done(load())) return true;
  // A clock read costs as much as several pauses: look at it once in a while only.
  constexpr int kPausesPerClockRead = 16;
  const int64_t begin = now_ns();
  const int64_t spin_end = begin + patience.spin_ns();
  int64_t now = begin;
  while (now < spin_end) {
    for (int i = 0; i < kPausesPerClockRead; ++i) {
      pause_cpu();
      if (done(load())) {
        patience.remember(now_ns() - begin);
        return true;
      }
    }
    now = now_ns();
    if (now >= deadline_ns) return false;
  }
  const bool ok = sleep_until(done, deadline_ns);
  patience.remember(now_ns() - begin);
  return ok;
}

bool WaitWord::sleep_until(FunctionRef<bool(uint32_t)> done, int64_t deadline_ns) {
  // Announced before the value is read again: either the writer sees a sleeper and wakes it, or
  // the sleeper sees the new value (all four operations are sequentially consistent).
  sleepers_.fetch_add(1, std::memory_order_seq_cst);
  bool ok = true;
  while (true) {
    const uint32_t seen = value_.load(std::memory_order_seq_cst);
    if (done(seen)) break;
    timespec left{};
    timespec* timeout = nullptr;
    if (deadline_ns != kNoDeadline) {
      const int64_t left_ns = deadline_ns - now_ns();
      if (left_ns <= 0) {
        ok = false;
        break;
      }
      left.tv_sec = static_cast<time_t>(left_ns / 1'000'000'000);
      left.tv_nsec = static_cast<long>(left_ns % 1'000'000'000);
      timeout = &left;
    }
    // Every return means the same: look again. A changed value returns at once (EAGAIN).
    syscall(SYS_futex, &value_, FUTEX_WAIT_PRIVATE, seen, timeout, nullptr, 0);
  }
  sleepers_.fetch_sub(1, std::memory_order_relaxed);
  return ok;
}

void WaitWord::wake_sleepers(int count) {
  syscall(SYS_futex, &value_, FUTEX_WAKE_PRIVATE, count, nullptr, nullptr, 0);
}

}  // namespace weft
