#include "base/cpu.h"

#include <hwloc.h>
#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <istream>
#include <iterator>
#include <memory>
#include <optional>

#include "base/error.h"

namespace weft {
namespace {

struct CpuSetDeleter {
  void operator()(cpu_set_t* set) const { CPU_FREE(set); }
};

struct TopologyDeleter {
  void operator()(hwloc_topology* topology) const { hwloc_topology_destroy(topology); }
};

std::vector<int> cpus_in(hwloc_const_cpuset_t set) {
  std::vector<int> cpus;
  for (int cpu = hwloc_bitmap_first(set); cpu >= 0; cpu = hwloc_bitmap_next(set, cpu))
    cpus.push_back(cpu);
  return cpus;
}

std::vector<int> intersection(const std::vector<int>& a, const std::vector<int>& b) {
  std::vector<int> both;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
  return both;
}

std::optional<int> number_in(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

// Collects the devices of a list and knows what to say about a wrong part of it.
class DeviceList {
 public:
  DeviceList(std::string_view text, const std::vector<int>& usable,
             const std::vector<NumaNode>& nodes)
      : text_(text), usable_(usable), nodes_(nodes) {}

  void add_part(std::string_view part);
  std::vector<std::vector<int>> take() { return std::move(devices_); }

 private:
  void add_node(std::string_view part, std::string_view id_text);
  void add_cpus(std::string_view part, int first, int last);
  void add_device(std::string_view part, std::vector<int> cpus);
  [[noreturn]] void fail(std::string_view part, const std::string& why) const {
    throw Error(ErrorKind::kUsage, fmt::format("--devices {}: '{}' {}", text_, part, why),
                existing(), "--devices 0-3, --devices 0,2,4-5 or --devices numa:0,numa:1");
  }
  std::string existing() const;

  std::string_view text_;
  const std::vector<int>& usable_;
  const std::vector<NumaNode>& nodes_;
  std::vector<int> taken_;
  std::vector<std::vector<int>> devices_;
};

std::string DeviceList::existing() const {
  std::string text = "this process may use the CPUs " + cpu_list_text(usable_);
  for (const NumaNode& node : nodes_)
    text += fmt::format("{} numa:{} ({})", &node == nodes_.data() ? "; nodes:" : ",", node.id,
                        node.cpus.empty() ? "no CPUs" : "CPUs " + cpu_list_text(node.cpus));
  return text;
}

void DeviceList::add_part(std::string_view part) {
  constexpr std::string_view kNode = "numa:";
  if (part.starts_with(kNode)) return add_node(part, part.substr(kNode.size()));
  const size_t dash = part.find('-');
  const auto first = number_in(part.substr(0, dash));
  const auto last = dash == part.npos ? first : number_in(part.substr(dash + 1));
  if (!first || !last) fail(part, "is neither a CPU, a range of CPUs nor a node");
  if (*last < *first) fail(part, "runs backwards");
  add_cpus(part, *first, *last);
}

void DeviceList::add_node(std::string_view part, std::string_view id_text) {
  const auto id = number_in(id_text);
  const auto node = std::find_if(nodes_.begin(), nodes_.end(),
                                 [&](const NumaNode& each) { return id && each.id == *id; });
  if (node == nodes_.end()) fail(part, "does not exist");
  if (node->cpus.empty()) fail(part, "has no CPU that this process may use");
  add_device(part, node->cpus);
}

void DeviceList::add_cpus(std::string_view part, int first, int last) {
  // The first missing one ends the loop, so an absurd range costs nothing.
  for (int64_t cpu = first; cpu <= last; ++cpu) {
    if (!std::binary_search(usable_.begin(), usable_.end(), static_cast<int>(cpu)))
      fail(part, fmt::format("names CPU {}, which this process may not use", cpu));
    add_device(part, {static_cast<int>(cpu)});
  }
}

void DeviceList::add_device(std::string_view part, std::vector<int> cpus) {
  for (const int cpu : cpus) {
    if (std::find(taken_.begin(), taken_.end(), cpu) != taken_.end())
      fail(part, fmt::format("names CPU {} a second time", cpu));
    taken_.push_back(cpu);
  }
  devices_.push_back(std::move(cpus));
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  const size_t begin = text.find_first_not_of(kBlank);
  if (begin == text.npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlank) - begin + 1);
}

}  // namespace

std::vector<int> usable_cpus() {
  // The kernel refuses a set smaller than its own, whose size nobody tells.
  for (int num_cpus = 1024; num_cpus <= 1 << 20; num_cpus *= 2) {
    const std::unique_ptr<cpu_set_t, CpuSetDeleter> set(CPU_ALLOC(static_cast<size_t>(num_cpus)));
    const size_t set_bytes = CPU_ALLOC_SIZE(num_cpus);
    if (sched_getaffinity(0, set_bytes, set.get()) != 0) {
      if (errno == EINVAL) continue;
      break;
    }
    std::vector<int> cpus;
    for (int cpu = 0; cpu < num_cpus; ++cpu)
      if (CPU_ISSET_S(static_cast<size_t>(cpu), set_bytes, set.get())) cpus.push_back(cpu);
    return cpus;
  }
  throw Error(ErrorKind::kInternal, "cannot find out which CPUs this process may use",
              std::strerror(errno));
}

std::vector<NumaNode> numa_nodes() {
  hwloc_topology* raw = nullptr;
  if (hwloc_topology_init(&raw) != 0)
    throw Error(ErrorKind::kInternal, "cannot read the machine's topology", "hwloc did not start");
  const std::unique_ptr<hwloc_topology, TopologyDeleter> topology(raw);
  if (hwloc_topology_load(raw) != 0)
    throw Error(ErrorKind::kInternal, "cannot read the machine's topology", std::strerror(errno));

  const std::vector<int> usable = usable_cpus();
  std::vector<NumaNode> nodes;
  hwloc_obj_t object = nullptr;
  while ((object = hwloc_get_next_obj_by_type(raw, HWLOC_OBJ_NUMANODE, object)) != nullptr)
    nodes.push_back({.id = static_cast<int>(object->os_index),
                     .cpus = intersection(cpus_in(object->cpuset), usable),
                     .memory_bytes = static_cast<int64_t>(object->attr->numanode.local_memory)});
  std::sort(nodes.begin(), nodes.end(),
            [](const NumaNode& a, const NumaNode& b) { return a.id < b.id; });
  if (nodes.empty()) nodes.push_back({.id = 0, .cpus = usable});
  return nodes;
}

std::vector<std::vector<int>> parse_devices(std::string_view text) {
  if (trimmed(text).empty()) return {};
  return parse_devices(text, usable_cpus(), numa_nodes());
}

std::vector<std::vector<int>> parse_devices(std::string_view text, const std::vector<int>& usable,
                                            const std::vector<NumaNode>& nodes) {
  text = trimmed(text);
  DeviceList list(text, usable, nodes);
  while (!text.empty()) {
    const size_t comma = text.find(',');
    list.add_part(trimmed(text.substr(0, comma)));
    if (comma == text.npos) break;
    text.remove_prefix(comma + 1);
    if (text.empty()) list.add_part("");  // a comma at the end promises one more
  }
  return list.take();
}

std::string cpu_list_text(const std::vector<int>& cpus) {
  std::string text;
  for (size_t begin = 0; begin < cpus.size();) {
    size_t end = begin + 1;
    while (end < cpus.size() && cpus[end] == cpus[end - 1] + 1) ++end;
    if (!text.empty()) text += ',';
    text += std::to_string(cpus[begin]);
    if (end - begin > 1) text += fmt::format("-{}", cpus[end - 1]);
    begin = end;
  }
  return text;
}

CpuDescription describe_cpu() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  return describe_cpu(cpuinfo);
}

CpuDescription describe_cpu(std::istream& cpuinfo) {
  // In the order of the ladder of kernels, Arm's names last.
  constexpr const char* kFlags[] = {
      "sse4_2",   "avx2",        "fma",         "f16c",     "avx512f",  "avx512bw",
      "avx512vl", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8", "asimd",
      "asimddp",  "i8mm",        "bf16",        "sve",      "sve2"};
  CpuDescription description{.model = "unknown processor", .flags = {}};
  bool has_model = false;
  std::string line, flags;
  while (std::getline(cpuinfo, line) && !(has_model && !flags.empty())) {
    const size_t colon = line.find(':');
    if (colon == line.npos) continue;
    const std::string_view key = trimmed(std::string_view(line).substr(0, colon));
    const std::string_view value = trimmed(std::string_view(line).substr(colon + 1));
    if (key == "model name" && !value.empty()) {
      description.model = value;
      has_model = true;
    }
    if (key == "flags" || key == "Features") flags = fmt::format(" {} ", value);
  }
  for (const char* flag : kFlags)
    if (flags.find(fmt::format(" {} ", flag)) != flags.npos) description.flags.emplace_back(flag);
  return description;
}

}  // namespace weft
