// The logits of some rows, cut along the vocabulary: what this member of a stage holds of them, and
// how it joins its findings with those of the other members. Members hold equally many shards, in
// order of the vocabulary; a shard may be empty.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/activity.h"
#include "base/range.h"
#include "base/thread_team.h"
#include "comm/comm.h"
#include "kernels/kernels.h"

namespace weft::model {

class LogitShards {
 public:
  struct Shard {
    Range vocab;              // ids
    float* logits = nullptr;  // [rows, stride]
    int64_t stride = 0;
    float* row(int64_t local) const { return logits + local * stride; }
    int64_t size() const { return vocab.size(); }
    int32_t first_id() const { return static_cast<int32_t>(vocab.begin); }
  };

  // All references outlive the object.
  LogitShards(const kernels::KernelTable& table, ThreadTeam& team, comm::Communicator& communicator,
              ActivityClock& clock, std::vector<Shard> shards)
      : table_(table),
        team_(team),
        communicator_(communicator),
        clock_(clock),
        shards_(std::move(shards)) {}

  const kernels::KernelTable& table() const { return table_; }
  size_t size() const { return shards_.size(); }
  const Shard& operator[](size_t shard) const { return shards_[shard]; }
  // The place of this member's first shard among the shards of all.
  size_t first_part() const { return static_cast<size_t>(communicator_.rank()) * size(); }

  // Runs body(shard, item) for every shard and each of `count` items.
  template <typename Body>
  void for_each(size_t count, const Body& body) {
    team_.parallel_for(static_cast<int64_t>(size() * count), [&](int64_t tile, int) {
      body(static_cast<size_t>(tile) % size(), static_cast<size_t>(tile) / size());
    });
  }

  // Collective. `mine` is equally long with every member; all members' in order, until the next
  // call.
  template <typename T>
  std::span<const T> gather(std::span<const T> mine) {
    if (communicator_.size() == 1) return mine;
    gathered_.resize(mine.size_bytes() * static_cast<size_t>(communicator_.size()));
    clock_.enter(Activity::kWaitPeers);
    communicator_.all_gather(std::as_bytes(mine), gathered_, "vocabulary");
    clock_.enter(Activity::kCompute);
    return {reinterpret_cast<const T*>(gathered_.data()), gathered_.size() / sizeof(T)};
  }
  // Collective: sums over the members, in place.
  void add_up(std::span<int64_t> numbers) {
    if (communicator_.size() == 1) return;
    clock_.enter(Activity::kWaitPeers);
    communicator_.all_reduce(numbers, "vocabulary");
    clock_.enter(Activity::kCompute);
  }

 private:
  const kernels::KernelTable& table_;
  ThreadTeam& team_;
  comm::Communicator& communicator_;
  ActivityClock& clock_;
  std::vector<Shard> shards_;
  std::vector<std::byte> gathered_;
};

}  // namespace weft::model
