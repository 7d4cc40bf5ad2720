#include "comm/mailbox.h"

#include <cstring>

#include "base/clock.h"
#include "base/error.h"

namespace weft::comm {
namespace {

// Waits for `word` with the box's outcome; a wait that is over at once reads no clock.
BoxWait wait_on(WaitWord& word, FunctionRef<bool(uint32_t count)> ready, Patience& patience,
                int64_t timeout_ns) {
  const auto done = [&](uint32_t value) {
    return (value & kAbortedBit) != 0 || ready(count_in(value));
  };
  if (!done(word.load())) {
    const bool in_time = word.wait_until(done, patience, now_ns() + timeout_ns);
    if (!in_time) return BoxWait::kTimedOut;
  }
  return (word.load() & kAbortedBit) != 0 ? BoxWait::kAborted : BoxWait::kDone;
}

}  // namespace

BoxWait Mailbox::put(std::span<const std::byte> message, Patience& patience, int64_t timeout_ns) {
  const uint32_t put = count_in(num_put_.load());
  const BoxWait outcome = wait_on(
      num_taken_, [put](uint32_t taken) { return put - taken < kOneArrival * kNumSlots; }, patience,
      timeout_ns);
  if (outcome != BoxWait::kDone) return outcome;

  Slot& slot = slot_of(put);
  slot.num_bytes = static_cast<int64_t>(message.size());
  if (slot.memory.size() < slot.num_bytes)
    slot.memory = tensor::Buffer(slot.num_bytes, "messages between stages");
  if (!message.empty()) std::memcpy(slot.memory.data(), message.data(), message.size());
  num_put_.add(kOneArrival);
  num_put_.wake();
  return BoxWait::kDone;
}

BoxWait Mailbox::take(std::span<std::byte> message, const char* phase, Patience& patience,
                      int64_t timeout_ns) {
  const uint32_t taken = count_in(num_taken_.load());
  const BoxWait outcome = wait_on(
      num_put_, [taken](uint32_t put) { return put != taken; }, patience, timeout_ns);
  if (outcome != BoxWait::kDone) return outcome;

  const Slot& slot = slot_of(taken);
  WEFT_CHECK(slot.num_bytes == static_cast<int64_t>(message.size()),
             "{}: a message of {} bytes, {} expected", phase, slot.num_bytes, message.size());
  if (!message.empty()) std::memcpy(message.data(), slot.memory.data(), message.size());
  num_taken_.add(kOneArrival);
  num_taken_.wake();
  return BoxWait::kDone;
}

void Mailbox::wake_aborted() {
  for (WaitWord* word : {&num_put_, &num_taken_}) {
    word->set_bits(kAbortedBit);
    word->wake();
  }
}

}  // namespace weft::comm
