// What a transport takes: each verb timed between its own barriers, by every member of a group, on
// `comm::Communicator` alone, so that any transport is measured by the same lines.
//
// Thread rule: the functions that take a Communicator are collective; every member calls them in
// the same order and gets the same figure, that of the slowest member.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "comm/comm.h"

namespace weft::cli {

// How long is measured: the median of `num_runs` runs of at least `run_ns` each (one call, where
// that takes longer).
struct CommPatience {
  int num_runs = 5;
  int64_t run_ns = 10'000'000;
};

enum class Collective : uint8_t { kAllReduce, kReduceScatter, kAllGather };
std::string_view name_of(Collective verb);
// Of the bytes of a collective, the share that each member must send and receive, whatever the
// algorithm: 2 (n - 1) / n for all_reduce, (n - 1) / n for the others. Bytes times that over time
// is the bus bandwidth (as nccl-tests has it), which does not change with n where links are full.
double bus_factor(Collective verb, int num_ranks);

// A power of two from `smallest` to `largest`, each four times the one before; the largest always.
std::vector<int64_t> message_sizes(int64_t smallest, int64_t largest);

double barrier_seconds(comm::Communicator& member, const CommPatience& patience);
// num_bytes: the whole of the data, a multiple of 8. Sums of int64; rows of 8 bytes are cut among
// the members. Each call follows a barrier, and the data is written anew before it. The first
// result is checked (WEFT_CHECK).
double collective_seconds(comm::Communicator& member, Collective verb, int64_t num_bytes,
                          const CommPatience& patience);
// Every member copies so many bytes from one place of its own to another, all at once.
double copy_seconds(comm::Communicator& member, int64_t num_bytes, const CommPatience& patience);
// Half the round trip of a message between two members, while the others wait at a barrier.
double message_seconds(comm::Communicator& member, int first, int second, int64_t num_bytes,
                       const CommPatience& patience);

// One cache line on its way from one CPU to another: half of the shortest round trip of a counter
// that two threads pass to each other. What no exchange over shared memory can go below.
double line_seconds(int first_cpu, int second_cpu);

}  // namespace weft::cli
