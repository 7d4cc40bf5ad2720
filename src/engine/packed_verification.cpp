#include <algorithm>
#include <atomic>
#include <mutex>
#include <vector>

#include "base/cpu.h"
#include "base/error.h"
#include "base/thread_team.h"
#include "checkpoint/packed_checkpoint.h"
#include "engine/packing.h"

namespace weft::engine {
namespace {

// One matrix of one rank.
struct Part {
  const checkpoint::PanelFile* file = nullptr;
  const checkpoint::PanelEntry* entry = nullptr;
  bool intact = true;
};

// The largest first: a sum is taken by one thread, and none shall begin it last.
std::vector<Part> parts_of(const checkpoint::PackedModel& packed) {
  std::vector<Part> parts;
  for (const checkpoint::PanelFile& file : packed.ranks) {
    for (const checkpoint::PanelEntry& entry : file.entries()) parts.push_back({&file, &entry});
  }
  std::stable_sort(parts.begin(), parts.end(), [](const Part& a, const Part& b) {
    return a.entry->bytes.size() > b.entry->bytes.size();
  });
  return parts;
}

void refuse_damaged(const std::vector<Part>& parts) {
  const Part* first = nullptr;
  int64_t num_damaged = 0;
  for (const Part& part : parts) {
    if (part.intact) continue;
    if (++num_damaged == 1) first = &part;
  }
  if (first == nullptr) return;
  const std::string more =
      num_damaged > 1 ? fmt::format(", and those of {} more matrices,", num_damaged - 1) : "";
  throw Error(ErrorKind::kModel,
              fmt::format("{}: the panels of {}{} are not those that were packed",
                          first->file->path().string(), first->entry->tensor, more),
              "the disk, a copy or another program changed them",
              "copy the folder again, or pack the model again: weft pack MODEL");
}

}  // namespace

VerifyReport verify_packed(const std::string& path, int num_threads, const OnPack& on_bytes) {
  const std::unique_ptr<checkpoint::Checkpoint> source = checkpoint::Checkpoint::open(path);
  if (source->packed() == nullptr)
    throw Error(ErrorKind::kUsage, fmt::format("{} is no packed model", path),
                "only weft pack writes sums beside the weights",
                "name a folder that weft pack made");
  std::vector<Part> parts = parts_of(*source->packed());
  VerifyReport report;
  report.path = path;
  report.num_ranks = static_cast<int>(source->packed()->ranks.size());
  int64_t total = 0;
  for (const Part& part : parts) total += part.entry->bytes.size();

  std::mutex mutex;  // of on_bytes and the bytes that it hears of
  std::atomic<bool> stopped{false};
  const auto add = [&](int64_t num_bytes) {
    const std::lock_guard lock(mutex);
    report.num_bytes += num_bytes;
    if (on_bytes && !on_bytes(report.num_bytes, total)) stopped.store(true);
    return !stopped.load();
  };
  ThreadTeam team(num_threads > 0 ? num_threads : static_cast<int>(usable_cpus().size()));
  team.parallel_for(static_cast<int64_t>(parts.size()), [&](int64_t i, int) {
    Part& part = parts[static_cast<size_t>(i)];
    if (!stopped.load()) part.intact = part.file->is_intact(*part.entry, add);
  });
  report.stopped = stopped.load();
  refuse_damaged(parts);
  return report;
}

}  // namespace weft::engine
