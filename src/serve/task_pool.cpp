#include "serve/task_pool.h"

namespace weft::serve {

TaskPool::TaskPool(int num_threads, size_t most_waiting)
    : most_waiting_(most_waiting), queue_(std::make_shared<Queue>()) {
  for (int i = 0; i < num_threads; ++i) threads_.emplace_back([queue = queue_] { run(queue); });
}

void TaskPool::stop() {
  std::deque<Task> fresh, begun;  // dropped without the lock: a task may own a good deal
  {
    const std::lock_guard lock(queue_->mutex);
    queue_->stopping = true;
    fresh.swap(queue_->fresh);
    begun.swap(queue_->begun);
  }
  queue_->changed.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

bool TaskPool::try_post(Task task) {
  {
    const std::lock_guard lock(queue_->mutex);
    if (queue_->stopping || queue_->fresh.size() >= most_waiting_) return false;
    queue_->fresh.push_back(std::move(task));
  }
  queue_->changed.notify_one();
  return true;
}

void TaskPool::post(Task task) {
  {
    const std::lock_guard lock(queue_->mutex);
    if (queue_->stopping) return;
    queue_->begun.push_back(std::move(task));
  }
  queue_->changed.notify_one();
}

void TaskPool::run(const std::shared_ptr<Queue>& queue) {
  for (;;) {
    Task task;
    {
      std::unique_lock lock(queue->mutex);
      queue->changed.wait(
          lock, [&] { return queue->stopping || !queue->begun.empty() || !queue->fresh.empty(); });
      if (queue->stopping) return;
      std::deque<Task>& from = queue->begun.empty() ? queue->fresh : queue->begun;
      task = std::move(from.front());
      from.pop_front();
    }
    task();
  }
}

}  // namespace weft::serve
