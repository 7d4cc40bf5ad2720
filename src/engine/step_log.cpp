#include "engine/step_log.h"

#include <algorithm>

namespace weft::engine {

StepRecord record_of(const StepPlan& plan) {
  StepRecord record;
  record.id = plan.id;
  record.num_sequences = static_cast<int64_t>(plan.chunks.size());
  for (const StepPlan::Chunk& chunk : plan.chunks) {
    record.load.add(chunk.first_position, chunk.tokens.size());
    record.load.has_prompt = record.load.has_prompt || chunk.tokens.size() > 1;
    const Range positions{chunk.first_position, chunk.first_position + chunk.tokens.size()};
    record.positions = record.positions.empty()
                           ? positions
                           : Range{std::min(record.positions.begin, positions.begin),
                                   std::max(record.positions.end, positions.end)};
  }
  record.load.num_rows = static_cast<int64_t>(plan.rows.size());
  return record;
}

void StepLog::add(const StepRecord& record) {
  if (ring_.empty()) return;
  const std::lock_guard lock(mutex_);
  ring_[num_added_ % ring_.size()] = record;
  ++num_added_;
}

void StepLog::worked(uint64_t id, int64_t work_ns) {
  if (ring_.empty()) return;
  const std::lock_guard lock(mutex_);
  // Steps are numbered as they are added, so its place is known.
  StepRecord& record = ring_[id % ring_.size()];
  if (num_added_ > 0 && record.id == id) record.work_ns = work_ns;
}

std::vector<StepRecord> StepLog::since(int64_t begin_ns) const {
  const std::lock_guard lock(mutex_);
  uint64_t first = num_added_;
  const uint64_t oldest = num_added_ > ring_.size() ? num_added_ - ring_.size() : 0;
  while (first > oldest && ring_[(first - 1) % ring_.size()].submitted_ns >= begin_ns) --first;
  std::vector<StepRecord> records;
  records.reserve(num_added_ - first);
  for (uint64_t step = first; step < num_added_; ++step)
    records.push_back(ring_[step % ring_.size()]);
  return records;
}

}  // namespace weft::engine
