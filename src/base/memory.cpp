#include "base/memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

namespace weft {
namespace {

// The number in a file of one line; -1 where there is none ("max", no such file).
int64_t read_number(const char* path) {
  std::ifstream file(path);
  int64_t value = -1;
  return file >> value ? value : -1;
}

// Room that the cgroup (v2, then v1) leaves; the largest number where none is set.
int64_t cgroup_room() {
  const char* const files[][2] = {{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"},
                                  {"/sys/fs/cgroup/memory/memory.limit_in_bytes",
                                   "/sys/fs/cgroup/memory/memory.usage_in_bytes"}};
  for (const auto& [limit_file, used_file] : files) {
    const int64_t limit = read_number(limit_file), used = read_number(used_file);
    if (limit >= 0 && used >= 0) return std::max<int64_t>(0, limit - used);
  }
  return std::numeric_limits<int64_t>::max();
}

}  // namespace

int64_t parse_mem_available(std::istream& meminfo) {
  for (std::string name; meminfo >> name;) {
    int64_t kilobytes = 0;
    if (name == "MemAvailable:" && meminfo >> kilobytes && kilobytes < (int64_t{1} << 50))
      return kilobytes * 1024;
  }
  return 0;
}

int64_t available_memory_bytes() {
  std::ifstream meminfo("/proc/meminfo");
  return std::min(parse_mem_available(meminfo), cgroup_room());
}

}  // namespace weft
