#include "engine/process_agreement.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/range.h"

namespace weft::engine {
namespace {

// Of CPUs past the last bit nothing is told: they count as everybody's.
struct CpuSet {
  std::array<uint64_t, 16> bits{};
  friend bool operator==(const CpuSet&, const CpuSet&) = default;
};

CpuSet set_of(const std::vector<int>& cpus) {
  CpuSet set;
  for (const int cpu : cpus)
    if (cpu < 1024) set.bits[static_cast<size_t>(cpu / 64)] |= uint64_t{1} << (cpu % 64);
  return set;
}

template <typename T>
std::vector<T> gather(comm::Communicator& processes, std::span<const T> mine, const char* phase) {
  std::vector<T> all(mine.size() * static_cast<size_t>(processes.size()));
  processes.all_gather(std::as_bytes(mine), std::as_writable_bytes(std::span(all)), phase);
  return all;
}

}  // namespace

void take_least(comm::Communicator& processes, std::span<int64_t> numbers, const char* phase) {
  const std::vector<int64_t> all = gather<int64_t>(processes, numbers, phase);
  for (size_t i = 0; i < all.size(); ++i)
    numbers[i % numbers.size()] = std::min(numbers[i % numbers.size()], all[i]);
}

std::vector<int> share_cpus(const comm::Job& job, comm::Communicator& processes,
                            std::vector<int> usable) {
  const CpuSet mine = set_of(usable);
  const std::vector<CpuSet> all = gather<CpuSet>(processes, std::span(&mine, 1), "CPUs");
  int64_t sharing = 0, before = 0;
  for (int process = 0; process < job.num_processes(); ++process) {
    const bool shares = job.peer(process).host == job.peer(job.process()).host &&
                        all[static_cast<size_t>(process)] == mine;
    sharing += shares ? 1 : 0;
    before += shares && process < job.process() ? 1 : 0;
  }
  const auto count = std::ssize(usable);
  if (sharing > count) return {usable[static_cast<size_t>(before % count)]};
  const Range part = equal_part({0, count}, before, sharing);
  return {usable.begin() + part.begin, usable.begin() + part.end};
}

std::optional<std::string> binding_warning(const comm::Job& job, size_t num_usable,
                                           size_t num_online) {
  size_t num_here = 0;
  for (int process = 0; process < job.num_processes(); ++process)
    num_here += job.peer(process).host == job.peer(job.process()).host ? 1 : 0;
  if (num_usable * num_here * 2 > num_online) return {};
  return fmt::format(
      "this process may use {} of {} CPUs; where its launcher bound it, mpirun --bind-to none "
      "gives "
      "it all",
      num_usable, num_online);
}

}  // namespace weft::engine
