// One member of a thread group; its verbs are made of steps (comm/thread_group.h). Collectives and
// messages are in thread_member.cpp, the sums in thread_reduce.cpp.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/range.h"
#include "base/wait_word.h"
#include "comm/comm.h"
#include "comm/thread_group.h"

namespace weft::comm {

// Up to here a part is copied to scratch, which spares a trailing barrier; beyond it the barrier is
// cheaper than the copy (two passes over memory at 10 GB/s against some microseconds).
inline constexpr int64_t kCopiedPartBytes = 256 * 1024;

class ThreadMember final : public Communicator {
 public:
  ThreadMember(std::shared_ptr<ThreadGroup> group, int rank)
      : group_(std::move(group)),
        rank_(rank),
        deadline_(group_->options().deadline),
        parts_(static_cast<size_t>(group_->size())),
        two_shot_bytes_(group_->options().two_shot_bytes) {}

  // From now on this member waits for as long: where another one may first wait elsewhere.
  void set_deadline(std::chrono::milliseconds deadline) { deadline_ = deadline; }

  int rank() const override { return rank_; }
  int size() const override { return group_->size(); }

  void barrier(const char* phase) override { step(Verb::kBarrier, nullptr, 0, phase); }
  void all_reduce(std::span<int64_t> data, const char* phase) override;
  void reduce_scatter(std::span<int64_t> data, int64_t row_length, const char* phase) override;
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all,
                  const char* phase) override;
  void all_gather_rows(std::span<std::byte> all, int64_t row_bytes, const char* phase) override;
  void broadcast(std::span<std::byte> data, int root, const char* phase) override;
  void send(int to, std::span<const std::byte> data, const char* phase) override;
  void recv(int from, std::span<std::byte> data, const char* phase) override;
  std::unique_ptr<Communicator> split(int color, int key) override {
    return split_threads(color, key);
  }
  std::unique_ptr<ThreadMember> split_threads(int color, int key);

  bool lends_views() const override { return true; }
  std::span<const std::byte* const> exchange(const std::byte* mine, const char* phase) override {
    step(Verb::kExchange, mine, 0, phase);
    return parts_;
  }

  void abort(const std::string& reason) override { group_->family().abort(reason); }

 private:
  // Shows `part` to the others, waits until all have shown theirs and leaves them in parts_.
  void step(Verb verb, const std::byte* part, int64_t num_bytes, const char* phase);
  void wait_for_all(uint32_t target, const char* phase);
  void check_same_call(const Seat::Side& mine, int other) const;
  int side_index() const { return static_cast<int>(num_steps_ & 1); }
  // The scratch that the next step may show: nobody reads it any more (comm/thread_group.h).
  std::byte* scratch(int64_t num_bytes);
  const std::byte* shown_copy(const std::byte* from, int64_t num_bytes);

  void one_shot(std::span<int64_t> data, const char* phase);
  void two_shot(std::span<int64_t> data, const char* phase);
  void two_shot_piece(std::span<int64_t> data, int64_t call_bytes, const char* phase);
  // sum[i] += part[begin + i] over the other members' parts, i in [0, range.size()).
  void add_others(int64_t* sum, Range range) const;
  int64_t measure_crossover(const char* phase);

  // The part of a member in `size` elements that lie in rows of row_length.
  Range rows_of(int member, size_t num_elements, int64_t row_length) const;

  [[noreturn]] void fail_silent(const char* phase);
  [[noreturn]] void fail_aborted() const {
    throw Error(ErrorKind::kCommunication, group_->family().reason());
  }
  [[noreturn]] void fail_box(BoxWait outcome, const std::string& what);
  int64_t timeout_ns() const { return std::chrono::nanoseconds(deadline_).count(); }
  void check_peer(int peer, const char* phase) const {
    WEFT_CHECK(peer >= 0 && peer < size() && peer != rank_, "{}: rank {} has no peer {} in {}",
               phase, rank_, peer, size());
  }

  const std::shared_ptr<ThreadGroup> group_;
  const int rank_;
  std::chrono::milliseconds deadline_;
  uint32_t num_steps_ = 0;
  std::vector<const std::byte*> parts_;  // [size], of the last step
  int64_t two_shot_bytes_;
  Patience patience_;
};

}  // namespace weft::comm
