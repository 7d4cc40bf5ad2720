// A machine without a model, for tests of the scheduler: runs its plans in order with
// `max_in_flight` of them under way, chooses tokens by a rule, and checks every plan against what a
// plan must be.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "base/random.h"
#include "engine/scheduler.h"

namespace weft::engine {

struct MachineOptions {
  SchedulerOptions scheduler;
  int64_t num_blocks = 64, block_size = 16;
  std::vector<int64_t> windows;    // of cache groups 1 on
  int64_t num_window_blocks = 64;  // of each of them
};

class ScheduledMachine {
 public:
  explicit ScheduledMachine(const MachineOptions& options)
      : options_(options),
        pools_(groups(0, options.windows),
               groups(options.num_blocks,
                      std::vector<int64_t>(options.windows.size(), options.num_window_blocks)),
               options.block_size),
        cache_(pools_, {.enabled = options.scheduler.shares_prefixes}),
        scheduler_(options.scheduler, pools_, cache_, times_) {
    for (int g = 0; g < pools_.num_groups(); ++g)
      written_.emplace_back(static_cast<size_t>(pools_.pool(g).num_blocks() * options.block_size),
                            0);
  }

  struct Job {
    explicit Job(cache::BlockPools& pools) : sequence(pools) {}
    Sequence sequence;
    int64_t num_wanted = 0;
    bool ended = false;
    int64_t first_plan = -1, last_plan = -1;
  };

  Job& submit(std::vector<int32_t> prompt, int64_t num_wanted, int32_t priority = 0,
              uint64_t salt = 0) {
    jobs_.push_back(std::make_unique<Job>(pools_));
    Job& job = *jobs_.back();
    job.num_wanted = num_wanted;
    Sequence& s = job.sequence;
    s.number = jobs_.size();
    s.priority = priority;
    s.salt = salt;
    s.num_prompt = static_cast<int64_t>(prompt.size());
    s.tokens = std::move(prompt);
    by_sequence_[&s] = &job;
    scheduler_.add(s);
    return job;
  }

  void cancel(Job& job) {
    if (!job.ended) scheduler_.remove(job.sequence);
    job.ended = true;
  }

  // Makes plans until the ring is full or nothing can be planned, then takes an answer. False where
  // all is done.
  bool turn() {
    while (static_cast<int64_t>(ring_.size()) <
           std::max<int64_t>(1, scheduler_.wanted_in_flight())) {
      if (!plan()) break;
    }
    if (ring_.empty()) return false;
    answer();
    return true;
  }

  bool plan() {
    Schedule schedule;
    const std::map<const Sequence*, int64_t> before = planned_before();
    scheduler_.schedule(schedule);
    for (Sequence* s : schedule.preempted) preempted.push_back(s->number);
    if (schedule.empty()) return false;
    check(schedule, before);
    ++num_plans;
    for (const Schedule::Chunk& chunk : schedule.chunks) {
      Job& job = *by_sequence_.at(chunk.sequence);
      if (job.first_plan < 0) job.first_plan = num_plans;
      job.last_plan = num_plans;
    }
    ring_.push_back(std::move(schedule));
    return true;
  }

  void answer() {
    const Schedule schedule = std::move(ring_.front());
    ring_.pop_front();
    for (const Schedule::Chunk& chunk : schedule.chunks) {
      Job& job = *by_sequence_.at(chunk.sequence);
      Sequence& s = job.sequence;
      if (!chunk.samples || job.ended || schedule.number < s.first_valid) continue;
      scheduler_.sampled(s);
      s.tokens.push_back(static_cast<int32_t>(uniform_bits(s.number, 0, s.tokens.size()) % 1000));
      if (s.num_generated() < job.num_wanted) continue;
      scheduler_.remove(s);
      job.ended = true;
    }
  }

  // Runs to the end; fails where that takes more plans than one token each would.
  void finish() {
    int64_t most = 1000;
    for (const auto& job : jobs_)
      most += 8 * (job->sequence.num_prompt + job->num_wanted) * options_.num_blocks;
    while (turn()) ASSERT_GT(most--, 0) << "no end in sight";
    for (const auto& job : jobs_) {
      const Sequence& s = job->sequence;
      EXPECT_TRUE(job->ended) << "sequence " << s.number << ", state " << static_cast<int>(s.state)
                              << ", " << s.num_unplanned() << " of " << s.tokens.size()
                              << " tokens unplanned, " << s.blocks.full().num_blocks()
                              << " blocks, " << cache_.num_available() << " of "
                              << pools_.full().num_blocks() << " available, sampling " << s.sampling
                              << ", budget " << options_.scheduler.max_num_batched_tokens
                              << ", chunked " << options_.scheduler.chunked_prefill;
    }
    for (int g = 0; g < pools_.num_groups(); ++g)
      EXPECT_EQ(cache_.num_available(g), pools_.pool(g).num_blocks()) << "group " << g;
    EXPECT_TRUE(pools_.is_consistent());
    EXPECT_TRUE(cache_.is_consistent());
  }

  Scheduler& scheduler() { return scheduler_; }
  StepTimes& times() { return times_; }
  cache::PrefixCache& cache() { return cache_; }
  cache::BlockPools& pools() { return pools_; }
  const std::deque<Schedule>& ring() const { return ring_; }
  std::vector<std::unique_ptr<Job>>& jobs() { return jobs_; }
  int64_t num_plans = 0;
  int64_t num_computed = 0;         // tokens of all plans
  std::vector<uint64_t> preempted;  // numbers, in order

 private:
  std::map<const Sequence*, int64_t> planned_before() const {
    std::map<const Sequence*, int64_t> planned;
    for (const auto& job : jobs_) planned[&job->sequence] = job->sequence.num_planned;
    return planned;
  }

  void check(const Schedule& plan, const std::map<const Sequence*, int64_t>& before) {
    const SchedulerOptions& o = options_.scheduler;
    std::set<const Sequence*> seen;
    std::set<std::pair<int, int32_t>> written;
    bool prompts_begun = false;
    int64_t num_tokens = 0;
    for (const Schedule::Chunk& chunk : plan.chunks) {
      const Sequence& s = *chunk.sequence;
      EXPECT_TRUE(seen.insert(&s).second) << "one chunk a sequence and plan";
      EXPECT_EQ(s.state, Sequence::State::kRunning);
      EXPECT_LT(chunk.positions.begin, chunk.positions.end);
      EXPECT_EQ(chunk.positions.end, s.num_planned);
      EXPECT_EQ(chunk.samples, s.num_planned == static_cast<int64_t>(s.tokens.size()));
      const bool was_running = before.at(&s) > 0;
      if (was_running) {
        EXPECT_EQ(chunk.positions.begin, before.at(&s));
      }
      // At most one sampling step in flight.
      for (const Schedule& other : ring_)
        for (const Schedule::Chunk& c : other.chunks)
          EXPECT_FALSE(c.sequence == &s && c.samples && other.number >= s.first_valid);
      // Decodes come first.
      const bool decode = chunk.positions.size() == 1 && was_running;
      if (!decode) prompts_begun = true;
      if (decode && s.num_generated() > 0 && o.chunked_prefill) {
        EXPECT_FALSE(prompts_begun && before.at(&s) >= s.num_prompt);
      }
      for (int g = 0; g < pools_.num_groups(); ++g) check_table(plan, chunk, g, written);
      num_tokens += chunk.positions.size();
    }
    EXPECT_LE(num_tokens, o.max_num_batched_tokens);
    EXPECT_EQ(num_tokens, plan.load.num_tokens);
    EXPECT_LE(scheduler_.num_running(), o.max_num_seqs);
    num_computed += num_tokens;
    run(plan);
  }

  // Every position that is computed or seen has its block, and no two chunks write into one.
  void check_table(const Schedule& plan, const Schedule::Chunk& chunk, int group,
                   std::set<std::pair<int, int32_t>>& written) {
    const int64_t size = options_.block_size;
    const auto& [blocks, first_block] = chunk.tables[static_cast<size_t>(group)];
    ASSERT_GE((first_block + blocks.size()) * size, chunk.positions.end);
    ASSERT_LE(first_block * size, cache::first_seen(pools_.window(group), chunk.positions.begin));
    for (int64_t b = chunk.positions.begin / size; b <= (chunk.positions.end - 1) / size; ++b)
      EXPECT_TRUE(written.insert({group, block_at(plan, chunk, group, b)}).second);
    // A window's table has what the chunk sees and no more, but for the block before a guess.
    if (group == 0) return;
    EXPECT_LE(blocks.size(), cache::most_blocks(pools_.window(group), chunk.positions.size(),
                                                chunk.positions.end, size));
  }

  int32_t block_at(const Schedule& plan, const Schedule::Chunk& chunk, int group,
                   int64_t index) const {
    const auto& [blocks, first_block] = chunk.tables[static_cast<size_t>(group)];
    return plan.block_ids[static_cast<size_t>(blocks.begin + index - first_block)];
  }
  uint64_t& slot(int group, int64_t block, int64_t position) {
    return written_[static_cast<size_t>(group)][static_cast<size_t>(
        block * options_.block_size + position % options_.block_size)];
  }

  // What workers do: copies, then all writes, then reads, which must find what the tokens before a
  // position write, whoever computed it.
  void run(const Schedule& plan) {
    const int64_t size = options_.block_size;
    for (const cache::BlockCopy& copy : plan.copies) {
      for (int64_t t = 0; t < size; ++t)
        slot(copy.group, copy.to, t) = slot(copy.group, copy.from, t);
    }
    for (const bool reads : {false, true}) {
      for (const Schedule::Chunk& chunk : plan.chunks) {
        const Sequence& s = *chunk.sequence;
        uint64_t hash = s.salt + 1;
        for (int64_t t = 0; t < chunk.positions.end; ++t) {
          hash = uniform_bits(hash, 2, static_cast<uint64_t>(s.tokens[static_cast<size_t>(t)]));
          for (int g = 0; g < pools_.num_groups(); ++g) {
            const int64_t seen = cache::first_seen(pools_.window(g), chunk.positions.begin);
            if (t < (reads ? seen : chunk.positions.begin)) continue;
            uint64_t& place = slot(g, block_at(plan, chunk, g, t / size), t);
            if (!reads) place = hash;
            ASSERT_EQ(place, hash)
                << "group " << g << ", position " << t << " of sequence " << s.number;
          }
        }
      }
    }
  }

  static std::vector<int64_t> groups(int64_t first, const std::vector<int64_t>& others) {
    std::vector<int64_t> all{first};
    all.insert(all.end(), others.begin(), others.end());
    return all;
  }

  MachineOptions options_;
  cache::BlockPools pools_;
  cache::PrefixCache cache_;
  StepTimes times_;
  Scheduler scheduler_;
  std::vector<std::unique_ptr<Job>> jobs_;
  std::map<const Sequence*, Job*> by_sequence_;
  std::deque<Schedule> ring_;
  std::vector<std::vector<uint64_t>> written_;  // [groups][blocks * block_size]
};

// `count` ids of one family; equal families and counts give equal ids.
inline std::vector<int32_t> prompt_of(uint64_t family, int64_t count) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i)
    ids.push_back(static_cast<int32_t>(uniform_bits(family, 1, static_cast<uint64_t>(i)) % 1000));
  return ids;
}

}  // namespace weft::engine
