#include "comm/outbox.h"

#include <cstring>

namespace weft::comm {

void Outbox::look(Slot& slot) {
  if (!slot.transfer.pending || link_.test(slot.transfer) == Outcome::kPending) return;
  // A send has no size to be wrong.
  if (const std::string why = link_.failure(slot.transfer); !why.empty()) failure_ = why;
}

// The first one, so that no more have memory than were ever under way at a time. Messages arrive in
// the order in which they are posted, wherever they lie.
Outbox::Slot* Outbox::free_slot() {
  for (Slot& slot : slots_) {
    look(slot);
    if (!slot.transfer.pending) return &slot;
  }
  return nullptr;
}

Outbox::Put Outbox::put(std::span<const std::byte> message) {
  const std::lock_guard lock(mutex_);
  Slot* const free = free_slot();
  if (free == nullptr) return Put::kFull;
  Slot& slot = *free;
  const auto num_bytes = static_cast<int64_t>(message.size());
  if (slot.memory.size() < num_bytes)
    slot.memory = tensor::Buffer(num_bytes, "messages between processes");
  if (!message.empty()) std::memcpy(slot.memory.data(), message.data(), message.size());
  link_.send(slot.transfer, process_, tag_, {slot.memory.data(), message.size()}, Until::kTaken);
  look(slot);
  return slot.transfer.pending ? Put::kUnderWay : Put::kSent;
}

int Outbox::sweep() {
  const std::lock_guard lock(mutex_);
  int under_way = 0;
  for (Slot& slot : slots_) {
    look(slot);
    under_way += slot.transfer.pending ? 1 : 0;
  }
  return under_way;
}

std::string Outbox::failure() const {
  const std::lock_guard lock(mutex_);
  return failure_;
}

}  // namespace weft::comm
