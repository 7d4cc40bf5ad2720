// What is measured side by side by `weft bench comm`: ways to move bytes between the same ranks.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "comm/comm.h"
#include "comm/job.h"

namespace weft::cli {

// Called by every member on its own thread; a figure in seconds.
using MemberBody = std::function<double(comm::Communicator& member)>;

struct Contender {
  std::string transport;  // "threads", "shared memory", "messages", "Open MPI"
  std::string algorithm;  // of all_reduce: "one shot"; "" where the transport has but one way
  // What the transport does by itself: all verbs are measured with it, and with others all_reduce
  // alone.
  bool is_default = true;
  // Its messages between two ranks are its own.
  bool has_messages = true;
  // Runs body for every member; what rank 0 got from it, anything in a process without rank 0.
  // Collective over the processes. Throws what a member throws.
  std::function<double(const MemberBody& body)> run;
};

// So many threads of this process, each on a CPU of its own where `cpus` has enough.
std::vector<Contender> contenders_of_threads(int num_ranks, const std::vector<int>& cpus);

// Processes of a job that run ranks_per_process threads each: by messages, in shared memory where
// they are on one machine, MPI itself where each is one rank, and, in process 0 while the others
// wait, as many threads where it has a CPU for each. job outlives them. Collective.
std::vector<Contender> contenders_of_job(comm::Job& job, int ranks_per_process,
                                         const std::vector<int>& cpus);

}  // namespace weft::cli
