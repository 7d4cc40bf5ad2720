// The processor that the program runs on: which CPUs it may use, how they lie in NUMA nodes, and
// what `--devices` names. Numbers are those of the operating system.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

namespace weft {

// Ascending. Those of the calling thread's affinity mask: ask before pinning threads.
std::vector<int> usable_cpus();

struct NumaNode {
  int id = 0;
  std::vector<int> cpus;     // the usable ones, ascending; empty for a node of memory alone
  int64_t memory_bytes = 0;  // 0 where unknown
};
// Ascending by id; a machine without NUMA has one node.
std::vector<NumaNode> numa_nodes();

// A list of devices, each a set of CPUs: "0-3" is four devices of one CPU, "0,2,4-5" likewise,
// "numa:0,numa:1" two devices of a node each; the kinds may be mixed. An empty text gives an empty
// list. Error(kUsage) names the part that is wrong and what exists; a CPU may be named only once.
std::vector<std::vector<int>> parse_devices(std::string_view text);
std::vector<std::vector<int>> parse_devices(std::string_view text, const std::vector<int>& usable,
                                            const std::vector<NumaNode>& nodes);

// "0-3,8": a list of CPUs as people write it.
std::string cpu_list_text(const std::vector<int>& cpus);

struct CpuDescription {
  std::string model;               // "AMD EPYC"; "unknown processor" where the system does not say
  std::vector<std::string> flags;  // of those that matter to the kernels: "avx2", "avx512_vnni"
};
CpuDescription describe_cpu();
// The same from a text in the format of /proc/cpuinfo.
CpuDescription describe_cpu(std::istream& cpuinfo);

}  // namespace weft
