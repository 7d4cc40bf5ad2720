// What waits for slow clients beyond the share that each connection has, over all answers of a
// server: running ones and finished ones, whole ones and streams. Where it is more than its bound,
// the slowest are to be dropped until the rest fits.
//
// Slowest is whose wait is longest for what was taken in it: each byte taken counts, and the share
// that everybody has on top, so that a wait that has only begun is no slow one. Who has waited for
// less than `grace_ns` is not asked at all: an answer may come in one piece, however large (what
// that takes is bounded where it is asked for, see "logprobs in hand").
//
// Rejected: to refuse the piece that does not fit. It is as likely a fast client's, and a finished
// answer has no more pieces. Thread-safe.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace weft::serve {

class Answer;

class AnswerBacklog {
 public:
  struct Wait {
    int64_t num_bytes = 0;  // in memory, beyond the share
    int64_t since_ns = 0;   // that something has waited for the client without a break
    int64_t num_taken = 0;  // bytes meanwhile, and the share
    std::weak_ptr<Answer> answer;
  };

  // In place of what was said of this answer before. num_bytes 0: it has nothing beyond its share.
  void note(const Answer* answer, Wait wait);

  int64_t num_bytes() const { return num_bytes_; }

  // Whom to drop, slowest first, so that what is left fits into most_bytes. They are forgotten.
  std::vector<std::shared_ptr<Answer>> take_slowest(int64_t most_bytes, int64_t grace_ns,
                                                    int64_t now);

 private:
  std::mutex mutex_;
  std::unordered_map<const Answer*, Wait> waits_;
  std::atomic<int64_t> num_bytes_{0};
};

}  // namespace weft::serve
