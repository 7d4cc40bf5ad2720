// The collectives of processes of one machine, in memory that all of them map.
//
// As between threads (comm/thread_group.h) everything is made of *steps*: a member puts what it
// shows into its own memory, adds to its arrival counter and waits until all others have done the
// same. A member's memory has two sides, used in turn: what was shown in step k is written over in
// step k + 2 at the earliest, when everybody has arrived at step k + 1 and so is done with step k.
//
//   gate | seat of member 0 | seat of member 1 | ... | sides of 0: [2, kSideBytes] | sides of 1 ...
//
//   one shot    show all, step, add what the others show                  one step each kSideBytes
//   reduce      show the others' blocks, step, add what is shown of mine     kSideBytes / members
//   gather      show my block, step, copy what the others show            one step each kSideBytes
//   two shots   reduce, then gather, piece by piece
//
// Longer data goes in pieces of 256 KiB, so that the memory stays small and a step is no more than
// some hundredths of a piece's time.
//
// A step also compares what the members call. Who does not come is waited for until the deadline,
// or until the job fails for another reason (a process that is killed or frozen is found by the
// watch); no wait depends on its being woken.
// Thread rule: one thread at a time.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/range.h"
#include "base/wait_word.h"
#include "comm/job_part.h"
#include "comm/shared_word.h"
#include "comm/thread_group.h"

namespace weft::comm {

class Window {
 public:
  static constexpr int64_t kSideBytes = 256 * 1024;

  // Of the memory for so many members.
  static int64_t num_bytes(int size);
  // memory: num_bytes(size) bytes that all members see, zeros before the first member's first verb.
  // processes: of the job, in the same order in each; this one is that of `index`.
  Window(JobPart& part, std::vector<int> processes, int index, std::byte* memory,
         std::chrono::milliseconds deadline);

  // The verbs of comm/process_group.h; `verb` is what the caller does with them.
  using Bounds = std::span<const int64_t>;
  void barrier(const char* phase);
  void one_shot(std::span<int64_t> data, const char* phase);
  void two_shot(std::span<int64_t> data, const char* phase);
  void reduce_blocks(Verb verb, std::span<int64_t> data, Bounds bounds, const char* phase);
  void gather_blocks(Verb verb, std::span<std::byte> all, Bounds bounds, const char* phase);
  void broadcast(std::span<std::byte> data, int root, const char* phase);

 private:
  struct Call {
    Verb verb;
    int64_t num_bytes;  // of the data of the whole verb
    const char* phase;
  };
  struct Shown {
    Verb verb;
    int64_t num_bytes;
  };
  struct alignas(128) Seat {
    std::atomic<uint32_t> arrivals;
    Shown shown[2];
  };
  struct alignas(128) Gate {
    SharedWord word;
  };

  int size() const { return static_cast<int>(processes_.size()); }
  size_t side_index() const { return num_steps_ & 1; }
  Seat& seat(int member) const { return seats_[member]; }
  // Of the step that comes next, or that was the last one.
  std::byte* side(int member, size_t index) const {
    return sides_ + (2 * member + static_cast<int64_t>(index)) * kSideBytes;
  }
  std::byte* next_side() const { return side(index_, side_index()); }
  const std::byte* shown_by(int member) const { return side(member, side_index() ^ 1); }

  void step(const Call& call);
  void wait_for_all(uint32_t target, const Call& call);
  int first_missing(uint32_t target, int from) const;
  void check_same_call(const Call& call);
  [[noreturn]] void fail_silent(uint32_t target, const Call& call);

  // The piece `round` of each block.
  void reduce_piece(std::span<int64_t> data, Bounds bounds, int64_t round, const Call& call);
  void gather_piece(std::span<std::byte> all, Bounds bounds, int64_t round, const Call& call);

  JobPart& part_;
  const std::vector<int> processes_;
  const int index_;
  const std::chrono::milliseconds deadline_;
  Gate* gate_ = nullptr;
  Seat* seats_ = nullptr;       // [size]
  std::byte* sides_ = nullptr;  // [size, 2, kSideBytes]
  uint32_t num_steps_ = 0;
  std::vector<int64_t> bounds_, byte_bounds_;  // [size + 1], of two_shot
  Patience patience_;
};

}  // namespace weft::comm
