// Where ranks run: which ranks share a worker, how many threads it has, which cores.
//
// A worker is one team of threads with one leader. Dedicated: a worker a rank, pinned to cores of
// its own where they are named or all of them are taken. Pooled, where ranks x threads exceed the
// cores: one worker holds every rank and runs their tiles phase by phase (waking a sleeping thread
// costs 25 us, a spin 40 ns). No bit differs.
#pragma once

#include <string>
#include <vector>

#include "engine/engine.h"
#include "parallel/topology.h"

namespace weft::engine {

struct WorkerPlace {
  Range ranks;  // global ranks that this worker runs
  int num_threads = 1;
  std::vector<int> cpus;  // one a thread, or empty: not pinned
  int process = 0;        // of the job that the replica spans
};

struct PlacementPlan {
  std::vector<WorkerPlace> workers;
  int threads_per_rank = 1;
  bool pooled = false;
  std::vector<std::string> warnings;
};

// `cpus`: those that the process may use; `devices`: parsed --devices, each a set of CPUs, empty
// where the option was not given. Throws Error(kUsage) naming both numbers when more ranks than
// devices were asked for.
PlacementPlan place_ranks(int num_ranks, const EngineOptions& options, const std::vector<int>& cpus,
                          const std::vector<std::vector<int>>& devices);

// The ranks of each process, neighbours together. asked: "3,1", or empty for an even share. Throws
// Error(kUsage) for a process without a rank, or another sum or number than there is.
std::vector<Range> share_ranks(int num_ranks, const std::string& asked, int num_processes);

// The same where ranks are shared out over the processes of a job: what this process runs is placed
// on its `cpus` or `devices`, a worker a rank; of the others' ranks only their process is known.
PlacementPlan place_over_processes(const std::vector<Range>& ranks, const EngineOptions& options,
                                   const std::vector<int>& cpus,
                                   const std::vector<std::vector<int>>& devices, int process);

}  // namespace weft::engine
