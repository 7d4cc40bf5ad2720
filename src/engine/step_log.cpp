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
  return record;
}

std::vector<StepRecord> StepLog::since(uint64_t first) const {
  std::vector<StepRecord> records;
  const uint64_t oldest = num_added_ > ring_.size() ? num_added_ - ring_.size() : 0;
  for (uint64_t step = std::max(first, oldest); step < num_added_; ++step)
    records.push_back(ring_[step % ring_.size()]);
  return records;
}

}  // namespace weft::engine
