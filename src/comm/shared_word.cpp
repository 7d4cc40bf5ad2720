#include "comm/shared_word.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

namespace weft::comm {

// The kernel reads the word itself, and other processes read both.
static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t));
static_assert(std::atomic<uint32_t>::is_always_lock_free);

void SharedWord::sleep(uint32_t seen, int64_t longest_ns) {
  const timespec limit{static_cast<time_t>(longest_ns / 1'000'000'000),
                       static_cast<long>(longest_ns % 1'000'000'000)};
  // Every return means the same: look again.
  syscall(SYS_futex, &value_, FUTEX_WAIT, seen, &limit, nullptr, 0);
}

void SharedWord::wake_sleepers() {
  add(1);
  syscall(SYS_futex, &value_, FUTEX_WAKE, INT32_MAX, nullptr, nullptr, 0);
}

}  // namespace weft::comm
