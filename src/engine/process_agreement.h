// What the processes of a replica have to agree on before they load: each sees its own machine.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "comm/comm.h"
#include "comm/job.h"
#include "engine/engine.h"
#include "engine/placement.h"

namespace weft::engine {

// Of groups whose members may rightly be late by hours (one reads from a slow disk, nobody asks
// anything of a server): a process that is lost is found by the job's watch.
inline constexpr std::chrono::hours kNoDeadline{24 * 365 * 10};

// Collective; `processes` has a member a process, ranked alike.

// The least that any process has of each number, in place.
void take_least(comm::Communicator& processes, std::span<int64_t> numbers, const char* phase);

// The CPUs that this process takes of those that it may use: processes of one host that may use the
// same ones share them out evenly. (Where the launcher has bound them apart, each keeps its own.)
std::vector<int> share_cpus(const comm::Job& job, comm::Communicator& processes,
                            std::vector<int> usable);

// The same of devices that the user named for each host: an equal run of them for each rank there.
std::vector<std::vector<int>> share_devices(const comm::Job& job, const std::vector<Range>& ranks,
                                            const std::vector<std::vector<int>>& devices);

// The ranks that are on this process's host: what has to fit into its memory. Also the options,
// with this host's part of a cache that was asked for by its bytes over all ranks.
std::pair<SplitReport, EngineOptions> part_of_host(const comm::Job& job,
                                                   const std::vector<Range>& ranks,
                                                   const SplitReport& split,
                                                   const EngineOptions& options);

// Throws Error(kModel), in every process, naming two hosts where the files under this path differ:
// in samples, or by every byte (checkpoint/model_digest.h).
void check_same_model(const comm::Job& job, comm::Communicator& processes, const std::string& path,
                      bool every_byte);

// What to say where the processes of this host may use less than half of its CPUs between them:
// mpirun binds a process to one core unless it is told not to.
std::optional<std::string> binding_warning(const comm::Job& job, size_t num_usable,
                                           size_t num_online);

}  // namespace weft::engine
