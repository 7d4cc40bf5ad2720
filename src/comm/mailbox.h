// Messages from one member to another: a ring of four, each with memory of its own that is kept
// and reused. The sender copies in and goes on; it waits only while four messages lie unread.
//
// Four, because a stage of a pipeline runs at most a few micro-batches ahead of the next one: more
// would only hide a stalled receiver and hold activations in memory.
// Thread rule: one sending thread, one receiving thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/wait_word.h"
#include "tensor/buffer.h"

namespace weft::comm {

// The counters that members wait on count in twos; bit 0 means aborted, so that the word a sleeper
// watches changes when somebody gives up.
inline constexpr uint32_t kAbortedBit = 1;
inline constexpr uint32_t kOneArrival = 2;
inline uint32_t count_in(uint32_t value) { return value & ~kAbortedBit; }

enum class BoxWait { kDone, kTimedOut, kAborted };

class alignas(128) Mailbox {
 public:
  static constexpr uint32_t kNumSlots = 4;

  // Copies `message` in, once there is a free slot.
  BoxWait put(std::span<const std::byte> message, Patience& patience, int64_t timeout_ns);
  // Copies the oldest message out; its size must be that of `message` (checked).
  BoxWait take(std::span<std::byte> message, const char* phase, Patience& patience,
               int64_t timeout_ns);
  void wake_aborted();

 private:
  struct Slot {
    tensor::Buffer memory;
    int64_t num_bytes = 0;
  };
  Slot& slot_of(uint32_t count) { return slots_[count / kOneArrival % kNumSlots]; }

  // Both count messages in twos and wrap; bit 0: aborted.
  alignas(128) WaitWord num_put_;
  alignas(128) WaitWord num_taken_;
  alignas(128) std::array<Slot, kNumSlots> slots_;
};

}  // namespace weft::comm
