// A member of a group that spans processes: a member of a thread group among those of its process,
// of which the first speaks with the other processes for all.
//
//   all_reduce    inside: add up ──> between: add up ──> inside: spread the sum
//   all_gather    inside: gather ──> between: gather blocks of ranks ──> inside: spread
//   send, recv    straight from thread to thread, inside or between
//
// The ranks of a process are neighbours, so what they hold of rows and parts is one block.
// Deadlines: whoever waits inside for the one that speaks allows it its own wait.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "comm/comm.h"
#include "comm/job_part.h"
#include "comm/process_group.h"
#include "comm/thread_member.h"

namespace weft::comm {

// The member `local` of this process in the group `number` of those processes (of the job, in the
// order of their ranks); first_ranks [processes + 1]: the first rank of each, and the size.
std::unique_ptr<Communicator> make_spanning_member(std::shared_ptr<JobPart> part,
                                                   std::vector<int> processes,
                                                   std::vector<int64_t> first_ranks, int64_t number,
                                                   std::unique_ptr<ThreadMember> inside,
                                                   GroupOptions options);

}  // namespace weft::comm
