// A 32-bit word in memory that several processes map, on which they sleep: base/wait_word.h for
// processes. A sleep is short, because who would wake the sleeper may be killed before it does;
// between two sleeps the waiter looks at what else may have ended its wait.
//
// Ordering as in WaitWord: what was written before `add` is visible to who sees the new value.
#pragma once

#include <atomic>
#include <cstdint>

namespace weft::comm {

class SharedWord {
 public:
  uint32_t load() const { return value_.load(std::memory_order_seq_cst); }
  // The new value; wakes nobody.
  uint32_t add(uint32_t n) { return value_.fetch_add(n, std::memory_order_seq_cst) + n; }

  // Changes the word and wakes all who sleep, where anybody does.
  void open() {
    if (sleepers_.load(std::memory_order_seq_cst) != 0) wake_sleepers();
  }
  // A sleeper calls announce, load, looks once more at what it waits for, and sleeps while the word
  // is what it saw, `longest_ns` at most. forget ends it.
  void announce() { sleepers_.fetch_add(1, std::memory_order_seq_cst); }
  void sleep(uint32_t seen, int64_t longest_ns);
  void forget() { sleepers_.fetch_sub(1, std::memory_order_relaxed); }

 private:
  void wake_sleepers();

  // Of a process that is killed in its sleep the mark stays, at the price of a call of the system.
  std::atomic<uint32_t> value_, sleepers_;
};

}  // namespace weft::comm
