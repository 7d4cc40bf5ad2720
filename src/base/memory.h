// How much memory this process may still take.
#pragma once

#include <cstdint>
#include <iosfwd>

namespace weft {

// The system's estimate of what can be had without swapping (MemAvailable: page cache counts as
// free), bounded by the process's cgroup. 0 where the system does not say.
int64_t available_memory_bytes();
// MemAvailable of a /proc/meminfo; 0 where it has none.
int64_t parse_mem_available(std::istream& meminfo);

}  // namespace weft
