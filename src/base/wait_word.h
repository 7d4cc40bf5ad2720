// A 32-bit word that threads wait on: a bounded spin, then sleep on a futex.
//
// The writer changes the value (`add`, `set_bits`) and then calls `wake`, which is a load where
// nobody sleeps. A waiter spins first, because waking a sleeping thread costs about a thousand
// times more than a spin that succeeds; it sleeps after that, because a spin without bound starves
// the thread it waits for where threads outnumber the cores. Values wrap around; compare them with
// `reached`.
//
// Ordering: what a thread wrote before `add` or `set_bits` is visible to whoever sees the new
// value through `load` or `wait_until`. Only std::atomic operations order anything, the futex only
// puts to sleep, so ThreadSanitizer follows every hand-over.
//
// Rejected: std::atomic::wait (no deadline), condition variables (two system calls a hand-over).
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>

#include "base/function_ref.h"

namespace weft {

inline constexpr int64_t kSpinMicroseconds = 50;

// What one waiting thread has learned about its waits. Where several waits in a row outlasted the
// spin, spinning only takes the core from those who work, so the next ones sleep almost at once;
// a wait that was short after all restores the full spin. One object a thread, not shared.
class Patience {
 public:
  int64_t spin_ns() const { return long_waits_ < kPatientWaits ? kFullSpinNs : kShortSpinNs; }
  void remember(int64_t waited_ns) {
    if (waited_ns <= kFullSpinNs) {
      long_waits_ = 0;
    } else if (long_waits_ < kPatientWaits) {
      ++long_waits_;
    }
  }

 private:
  static constexpr int kPatientWaits = 4;
  static constexpr int64_t kFullSpinNs = kSpinMicroseconds * 1000;
  static constexpr int64_t kShortSpinNs = 2000;
  int long_waits_ = 0;
};

class WaitWord {
 public:
  static constexpr int64_t kNoDeadline = std::numeric_limits<int64_t>::max();
  static constexpr int kEverybody = std::numeric_limits<int>::max();

  // Whether a value that only grows (and wraps) has come as far as `target`; right while the two
  // are less than 2^31 apart.
  static bool reached(uint32_t value, uint32_t target) {
    return static_cast<int32_t>(value - target) >= 0;
  }

  // Sequentially consistent, as `done` of a waiter about to sleep must be (free on x86).
  uint32_t load() const { return value_.load(std::memory_order_seq_cst); }
  // Both return the new value and wake nobody.
  uint32_t add(uint32_t n) { return value_.fetch_add(n, std::memory_order_seq_cst) + n; }
  uint32_t set_bits(uint32_t bits) {
    return value_.fetch_or(bits, std::memory_order_seq_cst) | bits;
  }
  bool has_sleepers() const { return sleepers_.load(std::memory_order_seq_cst) != 0; }
  // Wakes up to `count` sleeping waiters, which then look at the value again.
  void wake(int count = kEverybody) {
    if (has_sleepers()) wake_sleepers(count);
  }

  // Returns true as soon as done(value) holds, false once `deadline_ns` (of now_ns) has passed.
  // `done` may also look at other words; then whoever makes it true there asks `has_sleepers` and
  // changes this word too.
  bool wait_until(FunctionRef<bool(uint32_t value)> done, Patience& patience,
                  int64_t deadline_ns = kNoDeadline);

 private:
  bool sleep_until(FunctionRef<bool(uint32_t)> done, int64_t deadline_ns);
  void wake_sleepers(int count);

  std::atomic<uint32_t> value_{0};
  std::atomic<uint32_t> sleepers_{0};
};

}  // namespace weft
