#include "engine/draft_policy.h"

#include <gtest/gtest.h>

#include <memory>

#include "engine/scheduler.h"

namespace weft::engine {
namespace {

StepTimes machine(double flat, double per_token) {
  StepTimes times;
  for (const int64_t count : {1, 2, 4, 8, 16, 32, 64, 128, 256, 512}) {
    StepLoad load;
    load.num_tokens = count;
    times.learn(load, flat + per_token * static_cast<double>(count));
  }
  return times;
}

// Sequences that decode, each with its context known to the draft model but for its newest token.
class Decoding {
 public:
  Decoding(int count, int64_t length, const StepTimes& target, const StepTimes& draft,
           const DraftLimits& limits = {5, 512, 4096, false})
      : pools_(1024, 16), cache_(1024, 16), policy_(limits, target, draft, cache_) {
    for (int i = 0; i < count; ++i) {
      sequences_.push_back(std::make_unique<Sequence>(pools_));
      Sequence& s = *sequences_.back();
      s.tokens.assign(static_cast<size_t>(length), 7);
      s.num_planned = length - 1;
      s.num_left = 100;
      EXPECT_TRUE(s.blocks.grow(length));
      cache_.fill(s.blocks.full().ids(), {0, length - 1});
      ready_.push_back(&s);
    }
  }

  void choose() {
    StepLoad load;
    for (const Sequence* s : ready_) load.add(s->num_planned, 1);
    policy_.choose(ready_, load, 1.0);
  }
  int64_t guesses(size_t i) const { return sequences_[i]->draft_wish.num_guesses; }
  int64_t num_guesses() const {
    int64_t sum = 0;
    for (size_t i = 0; i < sequences_.size(); ++i) sum += guesses(i);
    return sum;
  }
  // As if a step had verified guesses.
  void verify(size_t i, int64_t guessed, int64_t accepted) {
    sequences_[i]->record.learn(guessed, accepted);
    policy_.learn(guessed, accepted);
  }
  Sequence& sequence(size_t i) { return *sequences_[i]; }
  DraftCache& cache() { return cache_; }
  DraftPolicy& policy() { return policy_; }

 private:
  cache::BlockPools pools_;
  DraftCache cache_;
  DraftPolicy policy_;
  std::vector<std::unique_ptr<Sequence>> sequences_;
  std::vector<Sequence*> ready_;
};

TEST(DraftPolicy, GuessesMoreWhereMoreIsRight) {
  const StepTimes target = machine(0.010, 0.0001), draft = machine(0.001, 0.00001);
  Decoding one(1, 40, target, draft);
  one.choose();
  const int64_t at_first = one.guesses(0);
  EXPECT_GT(at_first, 0);
  for (int i = 0; i < 30; ++i) one.verify(0, 5, 5);
  one.choose();
  EXPECT_EQ(one.guesses(0), 5);
  for (int i = 0; i < 60; ++i) one.verify(0, 3, 0);
  one.choose();
  EXPECT_EQ(one.guesses(0), 0);
}

TEST(DraftPolicy, WantsNothingOfADraftModelThatIsTooSlow) {
  const StepTimes target = machine(0.010, 0.0001), draft = machine(0.009, 0.0001);
  Decoding one(1, 40, target, draft);
  for (int i = 0; i < 30; ++i) one.verify(0, 5, 4);
  one.choose();
  EXPECT_EQ(one.guesses(0), 0);
}

// One sequence alone does not pay for the draft model's step; all of them together do.
TEST(DraftPolicy, SharesAStepOfTheDraftModelAmongAll) {
  const StepTimes target = machine(0.010, 0.00002), draft = machine(0.004, 0.00001);
  Decoding many(16, 40, target, draft);
  many.choose();
  EXPECT_GE(many.num_guesses(), 16);
  for (size_t i = 1; i < 16; ++i) many.sequence(i).may_draft = false;
  many.choose();
  EXPECT_EQ(many.num_guesses(), 0);
}

TEST(DraftPolicy, LeavesOutThoseThatGuessWrong) {
  const StepTimes target = machine(0.005, 0.001), draft = machine(0.0005, 0.00005);
  Decoding two(2, 40, target, draft);
  for (int i = 0; i < 20; ++i) {
    two.verify(0, 3, 0);
    two.verify(1, 3, 3);
  }
  two.choose();
  EXPECT_EQ(two.guesses(0), 0);
  EXPECT_GT(two.guesses(1), 0);
}

TEST(DraftPolicy, KeepsWithinTheAnswerAndTheContext) {
  const StepTimes target = machine(0.010, 0.0001), draft = machine(0.0001, 0.00001);
  Decoding three(3, 40, target, draft, {5, 512, 42, true});
  three.sequence(0).num_left = 2;
  three.sequence(1).num_left = 1;
  three.choose();
  EXPECT_EQ(three.guesses(0), 1);
  EXPECT_EQ(three.guesses(1), 0);
  EXPECT_EQ(three.guesses(2), 2) << "the draft model's context ends";
}

TEST(DraftPolicy, CatchesUpWhereTheRestOfTheAnswerPays) {
  const StepTimes target = machine(0.010, 0.0001), draft = machine(0.001, 0.0001);
  Decoding two(2, 1000, target, draft);
  for (size_t i = 0; i < 2; ++i)
    two.cache().overwrite(two.sequence(i).blocks.full().ids(), {0, 1000});
  two.sequence(0).num_left = 4;  // its prompt would take the draft model 0.1 s
  two.sequence(1).num_left = 200;
  two.choose();
  EXPECT_EQ(two.sequence(0).draft_wish.num_tokens, 0);
  EXPECT_EQ(two.guesses(1), 0) << "not yet";
  const int64_t piece = two.sequence(1).draft_wish.num_tokens;
  EXPECT_GT(piece, 16);
  EXPECT_LT(piece, 200) << "the other answer waits meanwhile";
}

// Where nothing pays, probes take a hundredth or two of the time, and not more.
TEST(DraftPolicy, ProbesWithinItsShare) {
  const StepTimes target = machine(0.010, 0.0001), draft = machine(0.002, 0.00001);
  Decoding one(1, 40, target, draft);
  for (int i = 0; i < 60; ++i) one.verify(0, 2, 0);
  int64_t num_probes = 0;
  constexpr int64_t kSteps = 5000;
  for (int64_t i = 0; i < kSteps; ++i) {
    one.choose();
    if (one.guesses(0) == 0) {
      one.sequence(0).record.skip();
      continue;
    }
    ++num_probes;
    one.verify(0, one.guesses(0), 0);
  }
  // Two guesses take two steps of the draft model and a little of the target's.
  const double share = static_cast<double>(num_probes) * 0.0043 / (0.0101 * kSteps);
  EXPECT_GT(num_probes, 20);
  EXPECT_LT(share, DraftPolicy::kProbeShare);
  for (int i = 0; i < 8; ++i) one.verify(0, 2, 2);  // the text has changed
  one.choose();
  EXPECT_GT(one.guesses(0), 0);
}

// New sequences begin with what the others know.
TEST(DraftPolicy, LearnsFromAllSequences) {
  const StepTimes target = machine(0.010, 0.0001), draft = machine(0.002, 0.00001);
  Decoding two(2, 40, target, draft);
  EXPECT_NEAR(two.policy().overall_chance(), 0.7, 1e-9);
  for (int i = 0; i < 60; ++i) two.verify(0, 3, 0);
  EXPECT_LT(two.policy().overall_chance(), 0.1);
  two.sequence(0).may_draft = false;
  two.choose();
  EXPECT_EQ(two.guesses(1), 0);
  EXPECT_LT(two.sequence(1).record.chance(), 0.1);
}

}  // namespace
}  // namespace weft::engine
