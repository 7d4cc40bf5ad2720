// Messages from one member to one of another process. A message counts as unread until its receiver
// has asked for it; each has memory of its own until then, which is kept and reused.
//
// Room for 64 where threads have four (comm/mailbox.h): the last stage says its answers to a
// planner that first hands over all that may be in flight, which is 32 steps. Were there less room,
// the two would wait for each other. What is in flight bounds the memory, too.
//
// Thread rule: one thread puts; any thread may sweep meanwhile.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>

#include "comm/link.h"
#include "tensor/buffer.h"

namespace weft::comm {

class Outbox {
 public:
  Outbox(Link& link, int process, int tag) : link_(link), process_(process), tag_(tag) {}

  enum class Put : uint8_t { kSent, kUnderWay, kFull };
  // Copies the message and posts it. kUnderWay: it is posted, and looks must move it on.
  Put put(std::span<const std::byte> message);
  // Looks at what is under way; how many messages still are.
  int sweep();
  // Why the link could not send; empty while it can.
  std::string failure() const;

 private:
  static constexpr size_t kNumSlots = 64;
  struct Slot {
    tensor::Buffer memory;
    Transfer transfer;
  };
  void look(Slot& slot);
  Slot* free_slot();

  Link& link_;
  const int process_, tag_;
  mutable std::mutex mutex_;
  std::array<Slot, kNumSlots> slots_;
  std::string failure_;
};

}  // namespace weft::comm
