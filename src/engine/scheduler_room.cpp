// The scheduler's part that finds blocks for what it plans (engine/scheduler.h).
#include <algorithm>

#include "base/error.h"
#include "engine/scheduler.h"

namespace weft::engine {

bool Scheduler::find_blocks(const BlockCounts& counts) {
  for (int group = 0; group < pools_.num_groups(); ++group) {
    if (counts[static_cast<size_t>(group)] > cache_.num_available(group)) return false;
  }
  for (int group = 0; group < pools_.num_groups(); ++group)
    cache_.evict(counts[static_cast<size_t>(group)], group);
  return true;
}

Scheduler::BlockCounts Scheduler::missing(const Sequence& s, int64_t num_tokens) const {
  BlockCounts counts{};
  for (int group = 0; group < pools_.num_groups(); ++group)
    counts[static_cast<size_t>(group)] = s.blocks.table(group).num_missing(num_tokens);
  return counts;
}

// Of a group with a window: what a sequence holds at most while its chunks are short.
int64_t Scheduler::most_window_blocks(int group, int64_t length) const {
  return std::min(
      cache::most_blocks(pools_.window(group), kLeastChunk, length, pools_.block_size()),
      pools_.pool(group).num_blocks());
}

// Room is left for the next block of each that runs already, and for the windows of prompts that
// have begun, so that nobody is let in only to be sent back; one that runs alone needs none.
Scheduler::BlockCounts Scheduler::wanted_to_begin(int64_t length) const {
  BlockCounts counts{pools_.full().blocks_for(length) + num_running()};
  for (int group = 1; group < pools_.num_groups(); ++group) {
    int64_t& count = counts[static_cast<size_t>(group)];
    count = most_window_blocks(group, length);
    for (const Sequence* s : running_) {
      const auto other = static_cast<int64_t>(s->tokens.size());
      const int64_t held = s->blocks.table(group).num_blocks();
      count += s->num_unplanned() > 1
                   ? std::max<int64_t>(1, most_window_blocks(group, other) - held)
                   : 1;
    }
  }
  return counts;
}

int64_t Scheduler::make_room_in_windows(Sequence& s, int64_t count, Schedule& out) {
  if (pools_.num_groups() == 1 || count == 0) return count;
  for (;;) {
    int64_t room = count;
    for (int group = 1; group < pools_.num_groups(); ++group) {
      const int64_t blocks = s.blocks.table(group).end_block() + cache_.num_available(group);
      room = std::min(room, blocks * pools_.block_size() - s.num_planned);
    }
    Sequence* last = room < std::min(count, kLeastChunk) ? victim(out, &s) : nullptr;
    if (last != nullptr) {
      preempt(*last, out);
      continue;
    }
    if (room <= 0) return 0;
    const int64_t end = s.num_planned + room;
    WEFT_CHECK(find_blocks(missing(s, end)) && s.blocks.grow(end), "blocks were found");
    return room;
  }
}

// Room for a decoding sequence's newest token, if need be by sending others back. False where only
// those of this very plan could make room.
bool Scheduler::make_room(Sequence& s, Schedule& out) {
  const auto length = static_cast<int64_t>(s.tokens.size());
  while (!find_blocks(missing(s, length))) {
    Sequence* last = victim(out);
    if (last == nullptr) return false;
    preempt(*last, out);
    if (last == &s) return false;
  }
  return s.blocks.grow(length);
}

// The youngest of the lowest priority that is not of this plan; of those behind `after`, if given.
Sequence* Scheduler::victim(const Schedule& out, const Sequence* after) const {
  for (size_t i = running_.size(); i-- > 0;) {
    if (running_[i] == after) return nullptr;
    if (running_[i]->last_plan != out.number) return running_[i];
  }
  return nullptr;
}

}  // namespace weft::engine
