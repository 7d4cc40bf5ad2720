// A few threads for what may take long (JSON of megabytes, templates, encoding, JSON of answers),
// so that neither the network's threads nor an engine's wait for it. The queue of new work is
// bounded.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace weft::serve {

class TaskPool {
 public:
  // Must not throw.
  using Task = std::function<void()>;

  TaskPool(int num_threads, size_t most_waiting);
  ~TaskPool() { stop(); }
  TaskPool(const TaskPool&) = delete;
  TaskPool& operator=(const TaskPool&) = delete;

  // Drops what waits, and waits for what runs. Nothing is taken any more. Not from a task.
  void stop();

  // New work: false where too much waits.
  [[nodiscard]] bool try_post(Task task);
  // More of what was begun: it goes first, and its number is bounded by what was begun.
  void post(Task task);

 private:
  struct Queue {
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<Task> fresh, begun;
    bool stopping = false;
  };
  static void run(const std::shared_ptr<Queue>& queue);

  size_t most_waiting_;
  std::shared_ptr<Queue> queue_;
  std::vector<std::thread> threads_;
};

}  // namespace weft::serve
