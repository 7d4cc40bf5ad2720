#include "serve/cpu_shares.h"

#include <sched.h>

#include <algorithm>

#include "base/cpu.h"

namespace weft::serve {
namespace {

std::vector<int> without(const std::vector<int>& all, const std::vector<int>& some) {
  std::vector<int> rest;
  for (const int cpu : all)
    if (std::ranges::find(some, cpu) == some.end()) rest.push_back(cpu);
  return rest;
}

// A system that does not let it leaves the thread where it is: that is only slower.
void bind_thread(const std::vector<int>& cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : cpus)
    if (cpu >= 0 && cpu < CPU_SETSIZE) CPU_SET(static_cast<size_t>(cpu), &set);
  sched_setaffinity(0, sizeof set, &set);
}

}  // namespace

CpuShares share_cpus(const std::vector<int>& usable, const std::vector<int>& named, int num_ranks,
                     int threads_per_rank, bool pooled) {
  if (!named.empty()) return {{}, without(usable, named)};
  const size_t ranks = static_cast<size_t>(std::max(1, num_ranks));
  if (pooled || threads_per_rank > 0 || ranks > usable.size()) return {};
  const size_t num_left = usable.size() % ranks;
  if (num_left == 0) return {};
  const auto end = usable.end() - static_cast<std::ptrdiff_t>(num_left);
  return {{usable.begin(), end}, {end, usable.end()}};
}

BoundTo::BoundTo(const std::vector<int>& cpus) {
  if (cpus.empty()) return;
  before_ = usable_cpus();
  bind_thread(cpus);
}

BoundTo::~BoundTo() {
  if (!before_.empty()) bind_thread(before_);
}

}  // namespace weft::serve
