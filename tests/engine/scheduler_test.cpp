// What plans hold, in words that a user would use; scheduler_random_test.cpp has the properties.
#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include "engine/scheduled_machine.h"

namespace weft::engine {
namespace {

MachineOptions small() {
  MachineOptions o;
  o.scheduler.max_num_batched_tokens = 64;
  o.scheduler.max_num_seqs = 8;
  return o;
}

std::vector<std::pair<uint64_t, int64_t>> chunks(const Schedule& plan) {
  std::vector<std::pair<uint64_t, int64_t>> list;
  for (const Schedule::Chunk& c : plan.chunks)
    list.emplace_back(c.sequence->number, c.positions.size());
  return list;
}

using List = std::vector<std::pair<uint64_t, int64_t>>;

TEST(Scheduler, DecodesComeFirstAndPromptsFillTheBudget) {
  ScheduledMachine machine(small());
  machine.submit(prompt_of(1, 10), 5);
  machine.submit(prompt_of(2, 100), 5);
  ASSERT_TRUE(machine.plan());
  EXPECT_EQ(chunks(machine.ring().back()), (List{{1, 10}, {2, 54}}));
  machine.answer();
  machine.submit(prompt_of(3, 40), 5);
  ASSERT_TRUE(machine.plan());
  EXPECT_EQ(chunks(machine.ring().back()), (List{{1, 1}, {2, 46}, {3, 17}}));
  machine.finish();
}

TEST(Scheduler, NoMoreRunThanAreAllowed) {
  MachineOptions o = small();
  o.scheduler.max_num_seqs = 2;
  ScheduledMachine machine(o);
  for (uint64_t i = 0; i < 5; ++i) machine.submit(prompt_of(i, 5), 3);
  ASSERT_TRUE(machine.plan());
  EXPECT_EQ(chunks(machine.ring().back()), (List{{1, 5}, {2, 5}}));
  machine.finish();
}

TEST(Scheduler, SmallerPrioritiesGoFirst) {
  ScheduledMachine machine(small());
  machine.submit(prompt_of(1, 40), 2, 1);
  machine.submit(prompt_of(2, 40), 2, 0);
  machine.submit(prompt_of(3, 40), 2, -1);
  ASSERT_TRUE(machine.plan());
  EXPECT_EQ(chunks(machine.ring().back()), (List{{3, 40}, {2, 24}}));
  machine.finish();
}

TEST(Scheduler, TheShortestGoesFirstButNobodyWaitsForEver) {
  MachineOptions o = small();
  o.scheduler.policy = SchedulePolicy::kShortest;
  o.scheduler.max_num_seqs = 1;
  ScheduledMachine machine(o);
  auto& long_one = machine.submit(prompt_of(0, 50), 1);
  for (uint64_t i = 1; i <= 200; ++i) machine.submit(prompt_of(i, 5), 1);
  machine.finish();
  EXPECT_EQ(long_one.first_plan, Scheduler::kMostOvertakings + 1);
}

TEST(Scheduler, TheLongestCachedPrefixGoesFirst) {
  MachineOptions o = small();
  o.scheduler.policy = SchedulePolicy::kPrefix;
  o.scheduler.max_num_seqs = 1;
  ScheduledMachine machine(o);
  machine.submit(prompt_of(7, 48), 1);
  while (machine.turn()) {
  }
  auto& other = machine.submit(prompt_of(8, 40), 1);
  auto& known = machine.submit(prompt_of(7, 60), 1);
  machine.finish();
  EXPECT_LT(known.first_plan, other.first_plan);
  EXPECT_EQ(known.sequence.num_reused, 48);
}

// Of followers of a prefix that is being computed none computes it again, in whichever plan of it
// they come.
TEST(Scheduler, APrefixThatIsBeingComputedIsShared) {
  ScheduledMachine machine(small());
  machine.submit(prompt_of(5, 160), 2);
  ASSERT_TRUE(machine.plan());  // its first 64
  for (int i = 0; i < 3; ++i) {
    std::vector<int32_t> prompt = prompt_of(5, 160);
    prompt.push_back(2000 + i);
    machine.submit(prompt, 2);
  }
  while (machine.turn()) {
  }
  // 160 tokens once, one or two more a follower (the last token of a full block and its own), and
  // the generated ones.
  EXPECT_LE(machine.num_computed, 160 + 3 * 2 + 4 * 2);
  machine.finish();
}

// One that needs every block, of which the cache would have it copy one.
TEST(Scheduler, ABlockToCopyFromIsGivenUpWhereItIsMissing) {
  for (const bool in_window : {false, true}) {
    MachineOptions o = small();
    o.num_blocks = in_window ? 64 : 8;
    if (in_window) o.windows = {60};
    o.num_window_blocks = 5;
    ScheduledMachine machine(o);
    machine.submit(prompt_of(5, 60), 1);
    while (machine.turn()) {
    }
    std::vector<int32_t> prompt = prompt_of(5, 56);
    while (prompt.size() < 127) prompt.push_back(2000);
    auto& job = machine.submit(prompt, 1);
    machine.finish();
    EXPECT_EQ(job.sequence.num_reused, 48);
  }
}

TEST(Scheduler, SaltsShareNothing) {
  ScheduledMachine machine(small());
  machine.submit(prompt_of(5, 64), 1, 0, 1);
  while (machine.turn()) {
  }
  auto& other = machine.submit(prompt_of(5, 64), 1, 0, 2);
  auto& same = machine.submit(prompt_of(5, 64), 1, 0, 1);
  machine.finish();
  EXPECT_EQ(other.sequence.num_reused, 0);
  EXPECT_GE(same.sequence.num_reused, 48);
}

TEST(Scheduler, TheYoungestOfTheLowestPriorityIsSentBack) {
  MachineOptions o = small();
  o.num_blocks = 9;
  o.scheduler.shares_prefixes = false;
  ScheduledMachine machine(o);
  machine.submit(prompt_of(1, 16), 60, 0);
  machine.submit(prompt_of(2, 16), 60, 1);
  machine.submit(prompt_of(3, 16), 60, 0);
  machine.finish();
  ASSERT_FALSE(machine.preempted.empty());
  EXPECT_EQ(machine.preempted.front(), 2u);
}

// Who is let in has room for what runs already to grow: eight that all want more than half of the
// cache send each other back twice each, where without that room it was up to 19 times in all.
TEST(Scheduler, NobodyIsLetInOnlyToBeSentBack) {
  for (const int64_t num_blocks : {15, 16, 18, 20}) {
    MachineOptions o = small();
    o.num_blocks = num_blocks;
    o.scheduler.shares_prefixes = false;
    ScheduledMachine machine(o);
    for (uint64_t i = 0; i < 8; ++i) machine.submit(prompt_of(i, 16), 200);
    machine.finish();
    EXPECT_FALSE(machine.preempted.empty());
    EXPECT_LE(machine.preempted.size(), 16u) << num_blocks;
  }
}

// Who has taken over, or copied out of, a block that a failed step wrote computes it again.
TEST(Scheduler, AFailureReachesThoseWhoReadItsBlocks) {
  MachineOptions o = small();
  o.scheduler.num_stages = 2;
  o.scheduler.max_in_flight = 3;
  ScheduledMachine machine(o);
  auto& leader = machine.submit(prompt_of(5, 40), 5);
  ASSERT_TRUE(machine.plan());
  std::vector<int32_t> begins_alike = prompt_of(5, 24);
  begins_alike.push_back(2000);
  auto& copies = machine.submit(begins_alike, 5);  // 16 tokens shared, 8 copied
  auto& shares = machine.submit(prompt_of(5, 36), 5);
  auto& before = machine.submit(prompt_of(5, 17), 5);  // what it shares was right
  ASSERT_TRUE(machine.plan());
  EXPECT_EQ(copies.sequence.num_reused, 24);
  EXPECT_EQ(shares.sequence.num_reused, 32);
  EXPECT_EQ(before.sequence.num_reused, 16);
  machine.scheduler().distrust(leader.sequence, 20);
  machine.cancel(leader);
  EXPECT_EQ(copies.sequence.state, Sequence::State::kWaiting);
  EXPECT_EQ(shares.sequence.state, Sequence::State::kWaiting);
  EXPECT_EQ(before.sequence.state, Sequence::State::kRunning);
  machine.finish();
  EXPECT_LE(copies.sequence.num_reused, 16);
}

TEST(Scheduler, WhatCanNeverFitIsKnown) {
  ScheduledMachine machine(small());
  EXPECT_TRUE(machine.scheduler().can_ever_fit(64 * 16));
  EXPECT_FALSE(machine.scheduler().can_ever_fit(64 * 16 + 1));
}

// 4 ms a step and 0.25 ms a token, so 16 answers take 8 ms.
void learn_times(ScheduledMachine& machine) {
  for (const int64_t count : {1, 16, 32, 64, 128, 256, 512}) {
    StepLoad load;
    load.num_tokens = count;
    machine.times().learn(load, 0.004 + 0.00025 * static_cast<double>(count));
  }
}

MachineOptions with_long_steps(int64_t max_num_seqs, double max_slowdown) {
  MachineOptions o = small();
  o.scheduler.max_num_batched_tokens = 512;
  o.scheduler.max_num_seqs = max_num_seqs;
  o.scheduler.max_slowdown = max_slowdown;
  o.num_blocks = 4096;
  return o;
}

TEST(Scheduler, ChunksBesideAnswersKeepTheStepShort) {
  ScheduledMachine machine(with_long_steps(64, 2.5));
  learn_times(machine);
  for (uint64_t i = 0; i < 16; ++i) machine.submit(prompt_of(i, 16), 1000);
  for (int i = 0; i < 4; ++i) machine.turn();
  machine.submit(prompt_of(99, 2000), 1);
  ASSERT_TRUE(machine.plan());
  // Of 2.5 times what 17 answers take, 8.25 ms, 12.6 ms are left for the chunk: 50 tokens.
  const Schedule& plan = machine.ring().back();
  ASSERT_EQ(plan.chunks.size(), 17u);
  EXPECT_NEAR(static_cast<double>(plan.chunks.back().positions.size()), 50, 2);
}

// The same where all places are taken and others wait for one: half as much again.
TEST(Scheduler, ChunksGrowWhileOthersWaitForAPlace) {
  ScheduledMachine machine(with_long_steps(17, 2.0));
  learn_times(machine);
  for (uint64_t i = 0; i < 16; ++i) machine.submit(prompt_of(i, 16), 1000);
  for (int i = 0; i < 4; ++i) machine.turn();
  const auto next_chunk = [&] {
    EXPECT_TRUE(machine.plan());
    const auto count = static_cast<double>(machine.ring().back().chunks.back().positions.size());
    machine.answer();
    return count;
  };
  // Of 2 and of 3 times what 17 answers take, 8.25 ms, 8.5 and 16.75 ms are left.
  machine.submit(prompt_of(99, 2000), 1);
  EXPECT_NEAR(next_chunk(), 34, 2);
  machine.submit(prompt_of(100, 16), 1);
  EXPECT_NEAR(next_chunk(), 67, 4);
}

// Where a queue is full, chunks are measured against the step of all who will decode: the first
// answers would otherwise keep the others out, and every step would be nearly empty.
TEST(Scheduler, AFullQueueIsNotLetInByCrumbs) {
  ScheduledMachine machine(with_long_steps(64, 2.5));
  learn_times(machine);
  machine.submit(prompt_of(0, 16), 1000);
  for (int i = 0; i < 4; ++i) machine.turn();
  for (uint64_t i = 1; i < 200; ++i) machine.submit(prompt_of(i, 512), 1000);
  ASSERT_TRUE(machine.plan());
  // 2.5 times what 64 answers take, 20 ms, less what the one and the weights take: 183 tokens.
  EXPECT_EQ(machine.ring().back().chunks.size(), 2u);
  EXPECT_NEAR(static_cast<double>(machine.ring().back().chunks.back().positions.size()), 183, 8);
}

// Who computes a prefix may have to wait for others of a higher priority, as many as come; who is
// of theirs goes on by itself.
TEST(Scheduler, NobodyWaitsForThePrefixOfALowerPriority) {
  ScheduledMachine machine(with_long_steps(8, 2.0));
  learn_times(machine);
  for (uint64_t i = 0; i < 4; ++i) machine.submit(prompt_of(i, 16), 1000);
  for (int i = 0; i < 4; ++i) machine.turn();
  const std::vector<int32_t> prefix = prompt_of(99, 800);
  machine.submit(prefix, 1, 5);
  machine.turn();
  std::vector<int32_t> prompt = prefix;
  prompt.push_back(2000);
  const auto& equal = machine.submit(prompt, 1, 5);
  const auto& higher = machine.submit(prompt, 1, 0);
  const int64_t before = machine.num_plans;
  for (uint64_t i = 0; i < 60; ++i) {
    machine.submit(prompt_of(1000 + i, 60), 1);
    machine.turn();
  }
  EXPECT_GT(higher.first_plan, 0);
  EXPECT_LE(higher.first_plan, before + 3);
  EXPECT_EQ(equal.first_plan, -1) << "the one whose prefix it shares is not through";
}

TEST(Scheduler, WithoutChunkingAPromptGoesBeforeAllAnswers) {
  MachineOptions o = small();
  o.scheduler.chunked_prefill = false;
  ScheduledMachine machine(o);
  machine.submit(prompt_of(1, 10), 50);
  machine.turn();
  machine.submit(prompt_of(2, 200), 1);
  ASSERT_TRUE(machine.plan());
  machine.answer();
  ASSERT_TRUE(machine.plan());
  EXPECT_EQ(chunks(machine.ring().back()), (List{{2, 64}}));
  machine.finish();
}

// The same, where the prompt finds no block for its next tokens: what lacks it holds them.
TEST(Scheduler, AnswersGoOnWhereTheirPromptLacksWindowBlocks) {
  MachineOptions o = small();
  o.scheduler.chunked_prefill = false;
  o.scheduler.max_num_batched_tokens = 32;
  o.scheduler.shares_prefixes = false;
  o.windows = {33};
  for (o.num_window_blocks = 4; o.num_window_blocks < 12; ++o.num_window_blocks) {
    ScheduledMachine machine(o);
    for (uint64_t i = 0; i < 3; ++i) {
      machine.submit(prompt_of(i, 30), 60);
      machine.turn();
    }
    machine.submit(prompt_of(9, 150), 20);
    machine.finish();
  }
}

TEST(Scheduler, ARingOfMicroBatchesTakesEachAnswerOnce) {
  MachineOptions o = small();
  o.scheduler.num_stages = 2;
  o.scheduler.max_in_flight = 3;
  ScheduledMachine machine(o);
  for (uint64_t i = 0; i < 6; ++i) machine.submit(prompt_of(i, 4), 20);
  for (int i = 0; i < 12; ++i) machine.turn();
  while (machine.plan()) {
  }
  ASSERT_EQ(machine.ring().size(), 3u);
  for (const Schedule& plan : machine.ring()) EXPECT_EQ(plan.chunks.size(), 2u);
  machine.finish();
}

// Where a smaller batch is no faster, it is not split.
TEST(Scheduler, MicroBatchesFollowTheMeasuredTime) {
  MachineOptions o = small();
  o.scheduler.num_stages = 2;
  o.scheduler.max_in_flight = 3;
  for (const bool flat : {true, false}) {
    ScheduledMachine machine(o);
    for (const int64_t count : {1, 2, 4, 8}) {
      StepLoad load;
      load.num_tokens = count;
      machine.times().learn(load, flat ? 0.010 : 0.002 * static_cast<double>(count));
    }
    for (uint64_t i = 0; i < 8; ++i) machine.submit(prompt_of(i, 4), 30);
    for (int i = 0; i < 12; ++i) machine.turn();
    EXPECT_EQ(machine.scheduler().wanted_in_flight(), flat ? 1 : 2);
  }
}

// A prompt that is planned whole waits for its answer like one that decodes: others that wait to be
// let in follow it at once.
TEST(Scheduler, PromptsThatWaitFillTheRing) {
  MachineOptions o = small();
  o.scheduler.num_stages = 2;
  o.scheduler.max_in_flight = 3;
  o.scheduler.micro_batch_size = 1;
  o.scheduler.max_num_batched_tokens = 16;
  ScheduledMachine machine(o);
  for (uint64_t i = 0; i < 5; ++i) machine.submit(prompt_of(i, 16), 1);
  ASSERT_TRUE(machine.plan());
  EXPECT_EQ(machine.scheduler().wanted_in_flight(), 3);
  machine.finish();
}

// With ten answers in a ring of four, no micro-batch is more than one larger than another.
TEST(Scheduler, MicroBatchesDifferByOneAtMost) {
  MachineOptions o = small();
  o.scheduler.num_stages = 4;
  o.scheduler.max_in_flight = 5;
  o.scheduler.max_num_seqs = 16;
  ScheduledMachine machine(o);
  for (const int64_t count : {1, 2, 4, 8}) {
    StepLoad load;
    load.num_tokens = count;
    machine.times().learn(load, 0.001 + 0.001 * static_cast<double>(count));
  }
  for (uint64_t i = 0; i < 10; ++i) machine.submit(prompt_of(i, 4), 60);
  for (int i = 0; i < 40; ++i) machine.turn();
  for (int i = 0; i < 20; ++i) {
    machine.turn();
    while (static_cast<int64_t>(machine.ring().size()) < machine.scheduler().wanted_in_flight() &&
           machine.plan()) {
    }
    ASSERT_GT(machine.ring().size(), 1u);
    size_t least = 100, most = 0, all = 0;
    for (const Schedule& plan : machine.ring()) {
      least = std::min(least, plan.chunks.size());
      most = std::max(most, plan.chunks.size());
      all += plan.chunks.size();
    }
    EXPECT_EQ(all, 10u);
    EXPECT_LE(most, least + 1);
  }
  machine.finish();
}

// A step is as slow as its slowest stage: where the others are quick, the pipeline is less deep
// than it has stages, and a batch that is cut gains less.
TEST(Scheduler, MicroBatchesFollowTheSlowestStage) {
  MachineOptions o = small();
  o.scheduler.num_stages = 4;
  o.scheduler.max_in_flight = 5;
  for (const bool uneven : {false, true}) {
    ScheduledMachine machine(o);
    for (const int64_t count : {1, 2, 4, 8}) {
      StepLoad load;
      load.num_tokens = count;
      const int64_t slow = 4'000'000 + 1'000'000 * count;  // a read of the weights, then products
      const int64_t quick = uneven ? slow / 10 : slow;
      const int64_t stages_ns[] = {quick, slow, quick, quick};
      machine.times().learn(load, stages_ns);
    }
    for (uint64_t i = 0; i < 8; ++i) machine.submit(prompt_of(i, 4), 30);
    for (int i = 0; i < 12; ++i) machine.turn();
    EXPECT_EQ(machine.scheduler().wanted_in_flight(), uneven ? 1 : 4);
  }
}

// The newest token filled its block, which was published; it is planned again, and before that the
// sequence leaves.
// The same where the one that failed was cancelled, or sent back, before its answer came.
TEST(Scheduler, AFailureOfOneThatIsGoneReachesThemToo) {
  MachineOptions o = small();
  o.scheduler.num_stages = 2;
  o.scheduler.max_in_flight = 3;
  ScheduledMachine machine(o);
  auto& leader = machine.submit(prompt_of(5, 40), 5);
  ASSERT_TRUE(machine.plan());
  machine.cancel(leader);  // what it published stays, its tail too
  auto& follower = machine.submit(prompt_of(5, 48), 5);
  ASSERT_TRUE(machine.plan());
  EXPECT_EQ(follower.sequence.num_reused, 40);
  machine.scheduler().distrust(leader.sequence, 33);
  EXPECT_EQ(follower.sequence.state, Sequence::State::kWaiting);
  EXPECT_GT(follower.sequence.first_valid, 2u);
  EXPECT_EQ(machine.cache().peek(0, prompt_of(5, 48), 48), 32);
  machine.finish();
}

TEST(Scheduler, WhatIsPlannedAgainMayLeaveFirst) {
  ScheduledMachine machine(small());
  ScheduledMachine::Job& job = machine.submit(prompt_of(1, 15), 9);
  ASSERT_TRUE(machine.plan());
  machine.answer();
  ASSERT_TRUE(machine.plan());
  ASSERT_EQ(job.sequence.num_planned, 16);
  machine.scheduler().distrust(job.sequence, 15);
  machine.answer();
  machine.cancel(job);
  machine.finish();
}

}  // namespace
}  // namespace weft::engine
