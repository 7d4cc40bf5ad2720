// Properties of plans under random requests (checked by ScheduledMachine for each plan), a plain
// oracle for the order of small cases, and what a plan costs.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/clock.h"
#include "engine/scheduled_machine.h"
#include "engine/scheduler.h"

namespace weft::engine {
namespace {

uint64_t draw(uint64_t seed, uint64_t use, uint64_t below) {
  return uniform_bits(seed, use, 7) % below;
}

MachineOptions random_options(uint64_t seed) {
  MachineOptions o;
  SchedulerOptions& s = o.scheduler;
  s.max_num_batched_tokens = 1 + static_cast<int64_t>(draw(seed, 0, 100));
  s.max_num_seqs = 1 + static_cast<int64_t>(draw(seed, 1, 12));
  s.micro_batch_size = draw(seed, 2, 3) == 0 ? 1 + static_cast<int64_t>(draw(seed, 3, 5)) : 0;
  s.num_stages = 1 + static_cast<int64_t>(draw(seed, 4, 4));
  s.max_in_flight = s.num_stages > 1 ? s.num_stages + 1 : 1;
  s.policy = static_cast<SchedulePolicy>(draw(seed, 5, 3));
  s.chunked_prefill = draw(seed, 6, 4) != 0;
  s.shares_prefixes = draw(seed, 7, 3) != 0;
  o.num_blocks = 8 + static_cast<int64_t>(draw(seed, 8, 40));
  // Half of them have layers with a window too, some two kinds; from too few blocks for one long
  // chunk to more than enough.
  if (draw(seed, 9, 2) == 0) o.windows = {1 + static_cast<int64_t>(draw(seed, 10, 60))};
  if (draw(seed, 11, 6) == 0) o.windows = {40, 7};
  o.num_window_blocks = 6 + static_cast<int64_t>(draw(seed, 12, 30));
  return o;
}

// Requests come while others run, some are cancelled; every plan is a right one, all end, and no
// block is lost.
TEST(SchedulerRandom, EveryPlanIsRightAndAllEnd) {
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    SCOPED_TRACE(seed);
    const MachineOptions options = random_options(seed);
    ScheduledMachine machine(options);
    const int64_t most = options.num_blocks * options.block_size;
    for (uint64_t i = 0; i < 30; ++i) {
      const uint64_t at = 1000 * (i + 1);
      const auto length = 1 + static_cast<int64_t>(draw(seed, at, 100));
      const auto wanted = 1 + static_cast<int64_t>(draw(seed, at + 1, 40));
      if (machine.scheduler().can_ever_fit(length + wanted) && length + wanted <= most)
        machine.submit(prompt_of(draw(seed, at + 2, 4), length), wanted,
                       static_cast<int32_t>(draw(seed, at + 3, 3)), draw(seed, at + 4, 2));
      for (uint64_t t = draw(seed, at + 5, 4); t > 0; --t) machine.turn();
      if (draw(seed, at + 6, 6) == 0 && !machine.jobs().empty())
        machine.cancel(*machine.jobs()[draw(seed, at + 7, machine.jobs().size())]);
    }
    machine.finish();
    if (HasFailure()) return;
  }
}

// First come, first served, with room for everything: what a page of plain code says.
std::vector<std::vector<std::pair<size_t, int64_t>>> oracle(const std::vector<int64_t>& prompts,
                                                            int64_t wanted, int64_t budget,
                                                            size_t most) {
  struct Plain {
    int64_t left, generated = 0;
    bool in = false, done = false;
  };
  std::vector<Plain> all;
  for (const int64_t length : prompts) all.push_back({length});
  std::vector<std::vector<std::pair<size_t, int64_t>>> plans;
  while (std::any_of(all.begin(), all.end(), [](const Plain& p) { return !p.done; })) {
    std::vector<std::pair<size_t, int64_t>> plan;
    int64_t room = budget;
    std::vector<bool> used(all.size());
    const auto take = [&](size_t i, int64_t count) {
      plan.emplace_back(i, count);
      room -= count;
      used[i] = true;
      all[i].left -= count;
    };
    for (size_t i = 0; i < all.size(); ++i)
      if (all[i].in && !all[i].done && all[i].left == 1 && room > 0) take(i, 1);
    for (size_t i = 0; i < all.size(); ++i)
      if (all[i].in && !all[i].done && !used[i] && room > 0) take(i, std::min(all[i].left, room));
    for (size_t i = 0; i < all.size(); ++i) {
      const auto running = static_cast<size_t>(
          std::count_if(all.begin(), all.end(), [](const Plain& p) { return p.in && !p.done; }));
      if (all[i].in || running >= most || room == 0) continue;
      all[i].in = true;
      take(i, std::min(all[i].left, room));
    }
    for (size_t i = 0; i < all.size(); ++i) {
      if (!used[i] || all[i].left > 0) continue;
      all[i].left = 1;  // the token that was chosen
      all[i].done = ++all[i].generated == wanted;
    }
    plans.push_back(plan);
  }
  return plans;
}

TEST(SchedulerRandom, SmallCasesEqualAPlainOracle) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    MachineOptions o;
    o.num_blocks = 1000;
    o.scheduler.shares_prefixes = false;
    o.scheduler.max_slowdown = 0;
    o.scheduler.max_num_batched_tokens = 4 + static_cast<int64_t>(draw(seed, 0, 60));
    // Decodes that take turns are another test's.
    o.scheduler.max_num_seqs = 1 + static_cast<int64_t>(draw(seed, 1, 4));
    ScheduledMachine machine(o);
    std::vector<int64_t> prompts;
    for (uint64_t i = 0; i < 1 + draw(seed, 2, 6); ++i)
      prompts.push_back(1 + static_cast<int64_t>(draw(seed, 10 + i, 90)));
    const auto wanted = 1 + static_cast<int64_t>(draw(seed, 3, 5));
    for (size_t i = 0; i < prompts.size(); ++i) machine.submit(prompt_of(i, prompts[i]), wanted);
    const auto expected = oracle(prompts, wanted, o.scheduler.max_num_batched_tokens,
                                 static_cast<size_t>(o.scheduler.max_num_seqs));
    for (const auto& plan : expected) {
      ASSERT_TRUE(machine.plan());
      std::vector<std::pair<size_t, int64_t>> found;
      for (const Schedule::Chunk& c : machine.ring().back().chunks)
        found.emplace_back(c.sequence->number - 1, c.positions.size());
      ASSERT_EQ(found, plan);
      machine.answer();
    }
    machine.finish();
  }
}

// Microseconds of a plan: the least, which is what it takes on an idle machine, and the median.
struct PlanTime {
  double least = 0, median = 0;
};

// 256 answers of 512 tokens, one plan after another.
PlanTime time_of_a_plan(size_t num_groups) {
  SchedulerOptions options;
  options.max_num_seqs = 256;
  options.max_num_batched_tokens = 8192;
  const int64_t windows[] = {0, 200}, num_blocks[] = {256 * 40, 256 * 20};
  cache::BlockPools pools(std::span<const int64_t>(windows).first(num_groups),
                          std::span<const int64_t>(num_blocks).first(num_groups), 16);
  cache::PrefixCache cache(pools, {});
  StepTimes times;
  Scheduler scheduler(options, pools, cache, times);
  std::vector<std::unique_ptr<Sequence>> sequences;
  for (uint64_t i = 0; i < 256; ++i) {
    sequences.push_back(std::make_unique<Sequence>(pools));
    Sequence& s = *sequences.back();
    s.number = i;
    s.tokens.reserve(1024);
    s.tokens = prompt_of(i, 512);
    s.num_prompt = 512;
    scheduler.add(s);
  }
  Schedule schedule;
  std::vector<int64_t> times_ns;
  for (int step = 0; step < 150; ++step) {
    const int64_t begin = now_ns();
    scheduler.schedule(schedule);
    const int64_t ns = now_ns() - begin;
    if (schedule.chunks.size() == 256) times_ns.push_back(ns);
    for (const Schedule::Chunk& chunk : schedule.chunks) {
      if (!chunk.samples) continue;
      scheduler.sampled(*chunk.sequence);
      chunk.sequence->tokens.push_back(step);
    }
  }
  EXPECT_GT(times_ns.size(), 50u);
  std::sort(times_ns.begin(), times_ns.end());
  for (const auto& s : sequences) scheduler.remove(*s);
  return {static_cast<double>(times_ns[0]) / 1e3,
          static_cast<double>(times_ns[times_ns.size() / 2]) / 1e3};
}

// Optimised, and nobody counts what is read and written.
bool is_release_build() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__OPTIMIZE__)
  return false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
  return false;
#else
  return true;
#endif
#else
  return true;
#endif
}

TEST(SchedulerRandom, APlanIsCheap) {
  for (const size_t num_groups : {1u, 2u}) {
    const PlanTime us = time_of_a_plan(num_groups);
    std::printf("a plan of 256 sequences in %zu groups takes %.1f us (median %.1f)\n", num_groups,
                us.least, us.median);
    if (is_release_build()) {
      EXPECT_LT(us.least, 50.0);
    }
  }
}

}  // namespace
}  // namespace weft::engine
