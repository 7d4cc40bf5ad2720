// A team of threads that executes the tiles of one phase at a time.
//
// The caller (the team's leader, thread 0) writes straight-line code and hands out phases:
//
//   team.parallel_for(num_tiles, [&](int64_t tile, int thread) { ... });   // returns when all done
//
// Every thread begins with an equal run of neighbouring tiles, which it takes in order, so that
// what it reads is one stream; once done it takes the last tiles of others, so that an unequal tile
// or a busy core does not hold the phase up (of a team larger than eight, workers look at seven
// others and the leader; the leader looks at all). A phase costs one release by the leader and one
// arrival by each worker that took a tile; a worker that is still asleep is not waited for. Workers
// that have nothing to do spin for `kSpinMicroseconds` and then sleep on a futex
// (base/wait_word.h): waking costs 25 us here against 40 ns for a spin, but a spin without bound
// starves ranks that outnumber the cores. A team of one runs the tiles inline and owns no thread.
//
// Thread rule: one leader at a time; bodies must not call back into the team and must not throw
// (a body that throws ends the program as a bug). The results of a phase are visible to the
// leader and to all tiles of later phases. Every thread of a team, and every leader that calls
// `prepare_this_thread`, rounds to nearest, flushes denormals and treats them as zero
// (base/float_state.h).
//
// Rejected: one counter for all (each thread then jumps from stream to stream); a task graph (a
// layer is a chain of eight phases, there is nothing to steal across them); OpenMP (its waits
// cannot be bounded and named).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/float_state.h"
#include "base/function_ref.h"

namespace weft {

class ThreadTeam {
 public:
  using Body = FunctionRef<void(int64_t tile, int thread)>;

  // num_threads >= 1, the leader included. cpus: where to pin thread i (empty: not pinned;
  // otherwise one entry a thread). The constructor does not pin the caller: the leader calls
  // `pin_leader` from its own thread.
  explicit ThreadTeam(int num_threads, std::vector<int> cpus = {});
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  int num_threads() const;
  // Pins the calling thread to cpus[0], until the team ends, and prepares its floating-point state.
  void pin_leader();
  // Runs body(tile, thread) for tile in [0, num_tiles); thread in [0, num_threads).
  void parallel_for(int64_t num_tiles, Body body);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace weft
