// What the processes of a replica have to agree on before they load: each sees its own machine.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "comm/comm.h"
#include "comm/job.h"

namespace weft::engine {

// Collective; `processes` has a member a process, ranked alike.

// The least that any process has of each number, in place.
void take_least(comm::Communicator& processes, std::span<int64_t> numbers, const char* phase);

// The CPUs that this process takes of those that it may use: processes of one host that may use the
// same ones share them out evenly. (Where the launcher has bound them apart, each keeps its own.)
std::vector<int> share_cpus(const comm::Job& job, comm::Communicator& processes,
                            std::vector<int> usable);

// What to say where the processes of this host may use less than half of its CPUs between them:
// mpirun binds a process to one core unless it is told not to.
std::optional<std::string> binding_warning(const comm::Job& job, size_t num_usable,
                                           size_t num_online);

}  // namespace weft::engine
