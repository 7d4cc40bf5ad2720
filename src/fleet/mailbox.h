// What other threads ask of a thread that has work of its own: it looks without a lock whether
// something came, takes all of it at once, and sleeps where there is nothing else to do.
//
// Thread rule: one taker; anybody posts.
#pragma once

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

#include "base/wait_word.h"

namespace weft::fleet {

template <typename Message>
class Mailbox {
 public:
  // False once it is closed: nobody will take the message.
  bool post(Message message) {
    {
      const std::lock_guard lock(mutex_);
      if (is_closed_) return false;
      messages_.push_back(std::move(message));
    }
    nudge();
    return true;
  }
  // Ends a wait of the taker.
  void nudge() {
    count_.add(1);
    count_.wake();
  }
  // Of messages that nobody has taken yet.
  template <typename Counts>
  int64_t count_if(Counts counts) const {
    const std::lock_guard lock(mutex_);
    return std::ranges::count_if(messages_, counts);
  }

  // The taker's. All that came, in order; `messages` must be empty and lends its memory.
  void take(std::vector<Message>& messages) {
    const uint32_t count = count_.load();
    if (count == seen_) return;
    seen_ = count;
    const std::lock_guard lock(mutex_);
    messages.swap(messages_);
  }
  // Until something came since the last `take`, or the deadline (base/clock.h).
  void wait_until(int64_t deadline_ns) {
    count_.wait_until([this](uint32_t count) { return count != seen_; }, patience_, deadline_ns);
  }
  // Nothing is let in any more; `take` still gives what is there.
  void close() {
    const std::lock_guard lock(mutex_);
    is_closed_ = true;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<Message> messages_;
  bool is_closed_ = false;
  WaitWord count_;  // of posts and nudges
  uint32_t seen_ = 0;
  Patience patience_;
};

}  // namespace weft::fleet
