// Messages from one member to one of another process: a ring of four, as comm/mailbox.h has between
// threads. A message counts as unread until its receiver has asked for it.
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
  static constexpr size_t kNumSlots = 4;
  struct Slot {
    tensor::Buffer memory;
    Transfer transfer;
  };
  void look(Slot& slot);

  Link& link_;
  const int process_, tag_;
  mutable std::mutex mutex_;
  std::array<Slot, kNumSlots> slots_;
  size_t next_ = 0;
  std::string failure_;
};

}  // namespace weft::comm
