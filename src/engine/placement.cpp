#include "engine/placement.h"

#include <algorithm>
#include <charconv>

#include "base/counted.h"
#include "base/error.h"

namespace weft::engine {
namespace {

std::vector<int> flattened(const std::vector<std::vector<int>>& devices, Range part) {
  std::vector<int> cpus;
  for (int64_t d = part.begin; d < part.end; ++d) {
    const std::vector<int>& device = devices[static_cast<size_t>(d)];
    cpus.insert(cpus.end(), device.begin(), device.end());
  }
  return cpus;
}

// Dedicated workers on the devices that the user named: an equal run of devices a rank.
void place_on_devices(int num_ranks, int threads, const std::vector<std::vector<int>>& devices,
                      PlacementPlan& plan) {
  for (int r = 0; r < num_ranks; ++r) {
    std::vector<int> cpus =
        flattened(devices, equal_part({0, static_cast<int64_t>(devices.size())}, r, num_ranks));
    const int count = threads > 0 ? threads : static_cast<int>(cpus.size());
    if (count > static_cast<int>(cpus.size()))
      throw Error(ErrorKind::kUsage,
                  fmt::format("rank {} is given {} and asked to run {} threads", r,
                              counted(cpus.size(), "core"), count),
                  {}, "name more cores with --devices, or lower --threads");
    cpus.resize(static_cast<size_t>(count));
    plan.workers.push_back({{r, r + 1}, count, std::move(cpus)});
    plan.threads_per_rank = std::max(plan.threads_per_rank, count);
  }
}

}  // namespace

PlacementPlan place_ranks(int num_ranks, const EngineOptions& options, const std::vector<int>& cpus,
                          const std::vector<std::vector<int>>& devices) {
  PlacementPlan plan;
  const int num_cores = std::max(1, static_cast<int>(cpus.size()));
  if (!devices.empty()) {
    if (num_ranks > static_cast<int>(devices.size()))
      throw Error(ErrorKind::kUsage,
                  fmt::format("{} ranks were asked for on {} (--devices {})", num_ranks,
                              counted(devices.size(), "device"), options.devices),
                  "with --devices every rank needs a device of its own",
                  "name more devices, lower --tp or --pp, or leave --devices out to share cores");
    place_on_devices(num_ranks, options.threads_per_rank, devices, plan);
    return plan;
  }
  // Simulated stages sleep most of the time: they need no core each.
  const bool simulated = !options.stage_seconds.empty();
  const int threads =
      options.threads_per_rank > 0 ? options.threads_per_rank : std::max(1, num_cores / num_ranks);
  plan.threads_per_rank = threads;
  const bool crowded = num_ranks * threads > num_cores;
  if (crowded)
    plan.warnings.push_back(fmt::format("{} x {} share {}", counted(num_ranks, "rank"),
                                        counted(threads, "thread"), counted(num_cores, "core")));
  plan.pooled = options.placement == Placement::kPooled ||
                (options.placement == Placement::kAuto && crowded && num_ranks > 1 && !simulated);
  if (plan.pooled) {
    // A pool larger than the cores only where somebody asks for it by hand (tests do).
    const int pool = options.placement == Placement::kPooled
                         ? num_ranks * threads
                         : std::min(num_cores, num_ranks * threads);
    plan.workers.push_back({{0, num_ranks}, pool, {}});
    return plan;
  }
  // Who takes every core keeps them; fewer threads go where the system finds a core idle, or two
  // programs would sit on the first one together. (Measured: pinning gains nothing on one socket.)
  const bool takes_all = num_ranks * threads == num_cores;
  for (int r = 0; r < num_ranks; ++r) {
    std::vector<int> own;
    for (int t = 0; t < threads && takes_all; ++t)
      own.push_back(cpus[static_cast<size_t>(r * threads + t)]);
    plan.workers.push_back({{r, r + 1}, threads, std::move(own)});
  }
  return plan;
}

namespace {

std::vector<int64_t> parse_counts(const std::string& list) {
  std::vector<int64_t> counts;
  const char* at = list.data();
  const char* const end = at + list.size();
  while (true) {
    int64_t count = 0;
    const auto [next, error] = std::from_chars(at, end, count);
    if (error != std::errc() || count < 1 || count > parallel::kMaxRanksPerStage ||
        (next != end && *next != ','))
      throw Error(ErrorKind::kUsage, fmt::format("--ranks-per-process is '{}'", list),
                  fmt::format("it is a number of ranks for each process, 1 to {}",
                              parallel::kMaxRanksPerStage),
                  "give for example 3,1");
    counts.push_back(count);
    if (next == end) return counts;
    at = next + 1;
  }
}

}  // namespace

std::vector<Range> share_ranks(int num_ranks, const std::string& asked, int num_processes) {
  if (num_ranks < num_processes)
    throw Error(ErrorKind::kUsage,
                fmt::format("{} processes were started for a model split over {}", num_processes,
                            counted(num_ranks, "rank")),
                "every process runs one rank at least",
                fmt::format("raise --tp or --pp, or start {}", num_ranks));
  std::vector<Range> ranks;
  if (asked.empty()) {
    for (int process = 0; process < num_processes; ++process)
      ranks.push_back(equal_part({0, num_ranks}, process, num_processes));
    return ranks;
  }
  int64_t sum = 0;
  for (const int64_t count : parse_counts(asked)) {
    ranks.push_back({sum, sum + count});
    sum += count;
  }
  if (sum != num_ranks || std::ssize(ranks) != num_processes)
    throw Error(ErrorKind::kUsage, fmt::format("--ranks-per-process {} does not fit", asked),
                fmt::format("its sum is {}, of {}; it has {}, for {} processes", sum,
                            counted(num_ranks, "rank"), counted(std::ssize(ranks), "number"),
                            num_processes),
                "give one number for each process, or leave it out");
  return ranks;
}

PlacementPlan place_over_processes(const std::vector<Range>& ranks, const EngineOptions& options,
                                   const std::vector<int>& cpus,
                                   const std::vector<std::vector<int>>& devices, int process) {
  if (options.placement == Placement::kPooled)
    throw Error(ErrorKind::kUsage, "ranks of several processes cannot share one pool of threads",
                "a pool runs all ranks", "leave --placement out");
  const Range own = ranks.at(static_cast<size_t>(process));
  EngineOptions dedicated = options;
  dedicated.placement = Placement::kDedicated;
  PlacementPlan here = place_ranks(static_cast<int>(own.size()), dedicated, cpus, devices);
  PlacementPlan plan;
  plan.threads_per_rank = here.threads_per_rank;
  plan.warnings = std::move(here.warnings);
  for (int p = 0; p < static_cast<int>(ranks.size()); ++p) {
    const Range of_process = ranks[static_cast<size_t>(p)];
    for (int64_t rank = of_process.begin; rank < of_process.end; ++rank) {
      WorkerPlace place{{rank, rank + 1}, plan.threads_per_rank, {}, p};
      if (p == process) {
        const WorkerPlace& placed = here.workers[static_cast<size_t>(rank - own.begin)];
        place.num_threads = placed.num_threads;
        place.cpus = placed.cpus;
      }
      plan.workers.push_back(std::move(place));
    }
  }
  return plan;
}

}  // namespace weft::engine
