// What a client told of one request, for tests that wait for it.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "fleet/engine_client.h"

namespace weft::fleet {

class Collected {
 public:
  OnEvent on_event() {
    return [shared = shared_](Event event) {
      const std::lock_guard lock(shared->mutex);
      shared->events.push_back(std::move(event));
      shared->changed.notify_all();
    };
  }
  // False where it is not so within a time that no test should take.
  bool wait_for(const std::function<bool(const std::vector<Event>&)>& holds) const {
    std::unique_lock lock(shared_->mutex);
    return shared_->changed.wait_for(lock, std::chrono::seconds(60),
                                     [&] { return holds(shared_->events); });
  }
  bool wait_until_ended() const {
    return wait_for(
        [](const std::vector<Event>& events) { return !events.empty() && events.back().ended; });
  }
  std::vector<Event> events() const {
    const std::lock_guard lock(shared_->mutex);
    return shared_->events;
  }
  size_t num_events() const { return events().size(); }
  std::string text(size_t choice = 0) const {
    std::string text;
    for (const Event& event : events())
      if (event.choice == choice) text += event.text;
    return text;
  }
  std::vector<int32_t> token_ids(size_t choice = 0) const {
    std::vector<int32_t> ids;
    for (const Event& event : events())
      if (event.choice == choice)
        ids.insert(ids.end(), event.token_ids.begin(), event.token_ids.end());
    return ids;
  }

 private:
  struct Shared {
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<Event> events;
  };
  std::shared_ptr<Shared> shared_ = std::make_shared<Shared>();
};

}  // namespace weft::fleet
