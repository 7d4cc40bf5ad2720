#include "engine/process_agreement.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/counted.h"
#include "base/error.h"
#include "base/range.h"
#include "checkpoint/model_digest.h"

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

// Of this host: the ranks of the processes before this one, its own, and all.
struct RanksOfHost {
  int64_t before = 0, own = 0, all = 0;
};

RanksOfHost ranks_of_host(const comm::Job& job, const std::vector<Range>& ranks) {
  RanksOfHost found;
  for (int process = 0; process < job.num_processes(); ++process) {
    if (!job.on_this_host(process)) continue;
    const int64_t count = ranks[static_cast<size_t>(process)].size();
    found.all += count;
    if (process < job.process()) found.before += count;
    if (process == job.process()) found.own = count;
  }
  return found;
}

// Of a model's files, as they travel.
struct ModelMark {
  int64_t num_files = 0, num_bytes = 0;
  std::array<char, 64> digest{};
  friend bool operator==(const ModelMark&, const ModelMark&) = default;
};

ModelMark mark_of(const std::string& path, bool every_byte) {
  checkpoint::FileDigests unremembered("");  // what lies on the disk now
  const checkpoint::ModelDigest model =
      every_byte ? checkpoint::whole_digest(path, unremembered) : checkpoint::sampled_digest(path);
  ModelMark mark{model.num_files, model.num_bytes, {}};
  std::copy_n(model.digest.begin(), std::min(model.digest.size(), mark.digest.size()),
              mark.digest.begin());
  return mark;
}

std::string described(const comm::Job& job, int process, const ModelMark& mark) {
  return fmt::format("process {} ({}) has {} of {} bytes, {}", process, job.peer(process).host,
                     counted(mark.num_files, "file"), mark.num_bytes,
                     std::string_view(mark.digest.data(), 12));
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
    const bool shares = job.on_this_host(process) && all[static_cast<size_t>(process)] == mine;
    sharing += shares ? 1 : 0;
    before += shares && process < job.process() ? 1 : 0;
  }
  const auto count = std::ssize(usable);
  if (sharing > count) return {usable[static_cast<size_t>(before % count)]};
  const Range part = equal_part({0, count}, before, sharing);
  return {usable.begin() + part.begin, usable.begin() + part.end};
}

std::vector<std::vector<int>> share_devices(const comm::Job& job, const std::vector<Range>& ranks,
                                            const std::vector<std::vector<int>>& devices) {
  if (devices.empty()) return devices;
  const auto [before, own, all] = ranks_of_host(job, ranks);
  const Range whole{0, std::ssize(devices)};
  if (all > whole.size())
    throw Error(ErrorKind::kUsage,
                fmt::format("{} of host {} were asked for on {}", counted(all, "rank"),
                            job.peer(job.process()).host, counted(whole.size(), "device")),
                "with --devices every rank needs a device of its own",
                "name more devices, start fewer processes, or leave --devices out");
  return {devices.begin() + equal_part(whole, before, all).begin,
          devices.begin() + equal_part(whole, before + own - 1, all).end};
}

std::pair<SplitReport, EngineOptions> part_of_host(const comm::Job& job,
                                                   const std::vector<Range>& ranks,
                                                   const SplitReport& split,
                                                   const EngineOptions& options) {
  SplitReport here = split;
  here.ranks.clear();
  for (int process = 0; process < job.num_processes(); ++process) {
    if (!job.on_this_host(process)) continue;
    const Range own = ranks[static_cast<size_t>(process)];
    here.ranks.insert(here.ranks.end(), split.ranks.begin() + own.begin,
                      split.ranks.begin() + own.end);
  }
  int64_t bytes_here = 0, bytes = 0;
  for (size_t g = 0; g < here.kv_groups.size(); ++g) {
    here.kv_groups[g].bytes_per_token = 0;
    for (const RankShare& rank : here.ranks)
      here.kv_groups[g].bytes_per_token += rank.kv_group_bytes_per_token[g];
    bytes_here += here.kv_groups[g].bytes_per_token;
    bytes += split.kv_groups[g].bytes_per_token;
  }
  EngineOptions options_here = options;
  if (options.kv_cache_bytes > 0 && bytes > 0)
    options_here.kv_cache_bytes = std::max<int64_t>(
        1, static_cast<int64_t>(static_cast<double>(options.kv_cache_bytes) *
                                static_cast<double>(bytes_here) / static_cast<double>(bytes)));
  return {std::move(here), std::move(options_here)};
}

void check_same_model(const comm::Job& job, comm::Communicator& processes, const std::string& path,
                      bool every_byte) {
  const ModelMark mine = mark_of(path, every_byte);
  const std::vector<ModelMark> all =
      gather<ModelMark>(processes, std::span(&mine, 1), "digests of the model");
  for (int process = 1; process < job.num_processes(); ++process) {
    const ModelMark& other = all[static_cast<size_t>(process)];
    if (other == all.front()) continue;
    throw Error(ErrorKind::kModel,
                fmt::format("the processes of this job have different models under {}", path),
                described(job, 0, all.front()) + "; " + described(job, process, other),
                "copy the model of one host to the other");
  }
}

std::optional<std::string> binding_warning(const comm::Job& job, size_t num_usable,
                                           size_t num_online) {
  size_t num_here = 0;
  for (int process = 0; process < job.num_processes(); ++process)
    num_here += job.on_this_host(process) ? 1 : 0;
  if (num_usable * num_here * 2 > num_online) return {};
  return fmt::format(
      "this process may use {} of {} CPUs; where its launcher bound it, it may use all with mpirun "
      "--bind-to none",
      num_usable, num_online);
}

}  // namespace weft::engine
