// Which CPUs the network's threads run on, so that no rank is stopped in the middle of a phase, for
// which all others then wait, where there is a core to spare.
//
//   - ranks on devices that the user named (--devices): the network keeps off these;
//   - ranks that take the machine (no --threads): they are given an equal number of cores each, and
//     what is left over of the division is the network's;
//   - where nothing is left, or the user shares the machine out by --threads: the system finds a
//   core
//     for each thread that wakes, and nothing is changed.
//
// Rejected: taking a core from the ranks (one of 2 is half the speed, one of 16 more than all that
// the network takes); pinning where --threads leaves cores idle (two servers side by side would sit
// on the same ones); a nice value (the network's threads sleep most of the time, so that they are
// let in at once already, and a lower one would make every stream wait for a spinning rank).
#pragma once

#include <vector>

namespace weft::serve {

// Empty: not bound, all that the process may use.
struct CpuShares {
  std::vector<int> ranks, network;
};

// usable: what the process may use. named: the CPUs of --devices, empty without.
// threads_per_rank: 0 where the engine chooses. pooled: ranks share one team of threads.
CpuShares share_cpus(const std::vector<int>& usable, const std::vector<int>& named, int num_ranks,
                     int threads_per_rank, bool pooled);

// Binds the calling thread, and with it those that it starts meanwhile, for as long as it lives.
class BoundTo {
 public:
  explicit BoundTo(const std::vector<int>& cpus);  // empty: nothing
  ~BoundTo();
  BoundTo(const BoundTo&) = delete;
  BoundTo& operator=(const BoundTo&) = delete;

 private:
  std::vector<int> before_;
};

}  // namespace weft::serve
