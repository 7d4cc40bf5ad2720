// The verbs between some processes of a job, over a link. Every process sends to every other one:
// one message's time for what takes a ring several, and groups between hosts are small.
//
//   all_reduce  one shot: everybody sends all to all and adds what arrives, in any order (sums are
//               exact). Two shots: everybody adds its own block, then sends it to all.
//               The crossover is measured at the first one, as between threads (thread_reduce.cpp).
//   rounded     the sums of all_reduce_sums and reduce_sums, where the options name a wire
//               (sum_wire.h): one shot each. A window adds what was rounded, whole.
//   as made     a reduction whose rows are made within, piece by piece (piece_order.h). What is
//               another's is sent once it is whole. Nobody waits meanwhile, and messages move when
//               somebody looks: the one that makes them does, after each piece.
//
// Processes of one machine take memory that they share instead (comm/window.h), which they open at
// their first verb; where they cannot, they go on with messages.
//
// Each verb is its own tag: a process that calls another one is waited for, and named, in vain.
// Thread rule: one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "comm/comm.h"
#include "comm/job_part.h"
#include "comm/link.h"
#include "comm/piece_order.h"
#include "comm/shared_memory.h"
#include "comm/thread_group.h"
#include "comm/window.h"
#include "tensor/buffer.h"

namespace weft::comm {

class SumsToSend;

class ProcessGroup {
 public:
  // processes: of the job, ascending or not, the same in each. number: of the group (JobPart).
  ProcessGroup(std::shared_ptr<JobPart> part, std::vector<int> processes, int64_t number,
               GroupOptions options);
  ~ProcessGroup();
  ProcessGroup(const ProcessGroup&) = delete;
  ProcessGroup& operator=(const ProcessGroup&) = delete;

  int size() const { return static_cast<int>(processes_.size()); }
  int index() const { return index_; }
  int process(int index) const { return processes_[static_cast<size_t>(index)]; }
  int64_t number() const { return number_; }
  std::chrono::milliseconds deadline() const { return options_.deadline; }
  JobPart& part() { return *part_; }
  const std::shared_ptr<JobPart>& shared_part() const { return part_; }

  // Cuts of data between the processes, [size() + 1], ascending: member i's is [i, i + 1).
  using Bounds = std::span<const int64_t>;

  void barrier(const char* phase);
  void all_reduce(std::span<int64_t> data, const char* phase);
  // Afterwards this process's block holds its sum; the rest is undefined.
  void reduce_blocks(std::span<int64_t> data, Bounds bounds, const char* phase);
  // This process's block lies in its place; afterwards all do.
  void gather_blocks(std::span<std::byte> all, Bounds bounds, const char* phase);
  void broadcast(std::span<std::byte> data, int root, const char* phase);
  // As all_reduce and reduce_blocks (whose blocks are whole rows), of sums that may be rounded.
  void all_reduce_sums(const SumRows& rows, const char* phase);
  void reduce_sums(const SumRows& rows, Bounds bounds, const char* phase);
  // The same by messages, of pieces that make(piece) makes, in their order.
  void reduce_sums_as_made(const SumRows& rows, const PieceOrder& pieces,
                           FunctionRef<void(Range)> make, const char* phase);
  // Where no window is to be opened: known without a word between processes, and to all alike.
  bool sends_sums() const {
    return size() > 1 && !(options_.shares_memory && part_->on_one_machine(processes_));
  }
  // The first of `count` numbers of groups that no process of this group has used.
  int64_t agree_on_groups(int64_t count);

 private:
  // The window of this group, null where it has none. Collective at the first verb.
  Window* window(const char* phase) {
    if (!window_tried_) open_window(phase);
    return window_.get();
  }
  void open_window(const char* phase);

  void one_shot(std::span<int64_t> data, const char* phase);
  void two_shot(std::span<int64_t> data, const char* phase);
  void reduce_blocks(Verb verb, std::span<int64_t> data, Bounds bounds, const char* phase);
  bool rounds() const { return options_.wire != SumWire::kInt64 && size() > 1; }
  // Sends each other process its rows, rounded, and adds what comes to this one's.
  void exchange_sums(Verb verb, const SumRows& rows, FunctionRef<Range(int)> rows_of,
                     const char* phase);
  [[noreturn]] void fail_no_sum(int process) const;
  // Posts the receives of this process's rows, by sender, and makes room for the sends.
  void expect(const SumsToSend& sums, const PieceOrder& pieces);
  void gather_blocks(Verb verb, std::span<std::byte> all, Bounds bounds, const char* phase);

  // A verb: begin, its receives and sends, finish.
  void begin(Verb verb, const char* phase);
  void receive(int from, std::span<std::byte> data);
  void send(int to, std::span<const std::byte> data);
  void finish(FunctionRef<void(size_t)> over);
  void finish();

  const std::shared_ptr<JobPart> part_;
  const std::vector<int> processes_;
  const int64_t number_;
  const GroupOptions options_;
  int index_ = -1;
  int64_t two_shot_bytes_;
  bool window_tried_ = false;
  std::optional<SharedMemory> memory_;  // of the window
  std::unique_ptr<Window> window_;
  uint32_t num_calls_ = 0;
  int tag_ = 0;
  Awaited awaited_;
  std::vector<Transfer> transfers_;  // receives first
  std::vector<int64_t> bounds_;      // of two_shot
  struct Incoming {
    Range units;  // of SumsToSend
    const std::byte* part;
  };
  std::vector<Incoming> incoming_;  // of reduce_sums_as_made: what transfers_ begin with
  tensor::Buffer copy_, parts_;     // grow, never shrink
};

}  // namespace weft::comm
