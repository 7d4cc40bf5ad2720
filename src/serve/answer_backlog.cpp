#include "serve/answer_backlog.h"

#include <algorithm>
#include <utility>

#include "serve/answer.h"

namespace weft::serve {

void AnswerBacklog::note(const Answer* answer, Wait wait) {
  const std::lock_guard lock(mutex_);
  const auto known = waits_.find(answer);
  num_bytes_ += wait.num_bytes - (known == waits_.end() ? 0 : known->second.num_bytes);
  if (wait.num_bytes == 0) {
    if (known != waits_.end()) waits_.erase(known);
  } else {
    waits_[answer] = std::move(wait);
  }
}

std::vector<std::shared_ptr<Answer>> AnswerBacklog::take_slowest(int64_t most_bytes,
                                                                 int64_t grace_ns, int64_t now) {
  std::vector<std::shared_ptr<Answer>> slowest;
  if (num_bytes_ <= most_bytes) return slowest;
  const std::lock_guard lock(mutex_);
  std::vector<std::pair<double, const Answer*>> by_slowness;
  for (const auto& [answer, wait] : waits_)
    if (now - wait.since_ns >= grace_ns)
      by_slowness.emplace_back(static_cast<double>(now - wait.since_ns) /
                                   static_cast<double>(std::max<int64_t>(wait.num_taken, 1)),
                               answer);
  std::ranges::sort(by_slowness, std::greater());
  for (const auto& [_, answer] : by_slowness) {
    if (num_bytes_ <= most_bytes) break;
    const auto known = waits_.find(answer);
    num_bytes_ -= known->second.num_bytes;
    if (auto alive = known->second.answer.lock()) slowest.push_back(std::move(alive));
    waits_.erase(known);
  }
  return slowest;
}

}  // namespace weft::serve
