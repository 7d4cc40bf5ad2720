#include "engine/mask_work.h"

#include <gtest/gtest.h>

#include <thread>

#include "engine/counting_grammar.h"
#include "engine/sampling.h"

namespace weft::engine {
namespace {

using Ids = std::vector<int32_t>;
using Masks = std::vector<uint32_t>;

constexpr int64_t kVocab = 90;  // three words
constexpr int32_t kEnd = 2, kStop = 5;

std::shared_ptr<const SamplingRules> rules(SamplingParams params = {}) {
  return std::make_shared<const SamplingRules>(std::move(params), Ids{kEnd}, kVocab, true);
}

Masks mask_after(const Ids& ids) {
  return {CountingGrammar::word(ids, 0), CountingGrammar::word(ids, 1),
          CountingGrammar::word(ids, 2)};
}

// The masks after the tokens noted, and after each guess.
Masks filled(GrammarPlace& place, const Ids& guesses = {}) {
  Masks masks(3 * (1 + guesses.size()), 0xdeadbeef);
  place.fill(masks, guesses);
  return masks;
}

Masks joined(std::initializer_list<Masks> parts) {
  Masks all;
  for (const Masks& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

class GrammarPlaceTest : public testing::Test {
 protected:
  std::shared_ptr<const CountingGrammar> grammar_ = std::make_shared<const CountingGrammar>();
  CountingGrammar::Counts& counts_ = grammar_->counts();
  GrammarPlace place_{rules(), grammar_};
};

TEST_F(GrammarPlaceTest, FollowsWhenAMaskIsWanted) {
  place_.add(1);
  place_.add(3);
  EXPECT_EQ(counts_.matchers, 0);
  EXPECT_EQ(filled(place_), mask_after({1, 3}));
  EXPECT_EQ(filled(place_), mask_after({1, 3}));
  EXPECT_EQ(counts_.matchers, 1);
  EXPECT_EQ(counts_.advances, 2);
  place_.add(4);
  place_.add(6);
  place_.take_back(3);  // one of them was followed
  place_.add(8);
  EXPECT_EQ(filled(place_), mask_after({1, 8}));
}

TEST_F(GrammarPlaceTest, GuessesHaveMasksAndAreForgotten) {
  place_.add(1);
  EXPECT_EQ(filled(place_, {3, 4}),
            joined({mask_after({1}), mask_after({1, 3}), mask_after({1, 3, 4})}));
  EXPECT_EQ(filled(place_), mask_after({1}));
  // What comes after a guess that is forbidden, or an end, means nothing and does no harm.
  for (const int32_t last : {14, kEnd}) {
    const Masks masks = filled(place_, {3, last, 4});
    EXPECT_EQ(Masks(masks.begin(), masks.begin() + 6),
              joined({mask_after({1}), mask_after({1, 3})}));
    EXPECT_EQ(filled(place_), mask_after({1}));
  }
  EXPECT_EQ(place_.num_allowed(Ids{3, 4, 14, 3}), 2u);
  EXPECT_EQ(place_.num_allowed(Ids{3, kEnd, 4}), 2u);
  EXPECT_EQ(filled(place_), mask_after({1}));
}

TEST_F(GrammarPlaceTest, ACopyGoesItsOwnWay) {
  place_.add(1);
  filled(place_);
  place_.add(3);
  GrammarPlace copy = place_;
  copy.add(4);
  place_.add(6);
  EXPECT_EQ(filled(copy), mask_after({1, 3, 4}));
  EXPECT_EQ(filled(place_), mask_after({1, 3, 6}));
}

TEST_F(GrammarPlaceTest, WhatFailsForbidsEverythingFromThenOn) {
  place_.add(1);
  EXPECT_EQ(filled(place_, {3, CountingGrammar::kFailing, 4}),
            joined({mask_after({1}), mask_after({1, 3}), Masks(6)}));
  ASSERT_TRUE(place_.failure());
  EXPECT_EQ(place_.failure()->summary(), "it cannot go on");
  place_.add(4);
  EXPECT_EQ(filled(place_), Masks(3));
}

TEST_F(GrammarPlaceTest, AllowedIdsHoldBesides) {
  GrammarPlace place(rules({.allowed_token_ids = Ids{0, 33, 89}}), grammar_);
  place.add(1);
  Masks expected = mask_after({1});
  expected[0] &= 1u, expected[1] &= 2u, expected[2] &= 1u << 25;
  EXPECT_EQ(filled(place), expected);
}

// Workers of two threads each share a step's masks out: each is made once, where its row looks.
TEST(MaskWork, EveryMaskIsMadeOnceAndInItsPlace) {
  constexpr int kSteps = 40, kWorkers = 3, kPlaces = 9;
  const auto grammar = std::make_shared<const CountingGrammar>();
  std::vector<std::shared_ptr<GrammarPlace>> places;
  for (int i = 0; i < kPlaces; ++i)
    places.push_back(std::make_shared<GrammarPlace>(rules(), grammar));
  std::vector<Ids> ids(kPlaces);
  std::vector<std::unique_ptr<ThreadTeam>> teams;
  for (int w = 0; w < kWorkers; ++w) teams.push_back(std::make_unique<ThreadTeam>(2));
  MaskWork work;
  StepPlan plan;
  int num_masks = 0;
  for (int step = 0; step < kSteps; ++step) {
    plan.clear();
    work.clear();
    std::vector<Range> masks;
    std::vector<Ids> guesses;
    for (size_t i = 0; i < places.size(); ++i) {
      const auto id = static_cast<int32_t>(8 + 7 * ((i + static_cast<size_t>(step)) % 11));
      ids[i].push_back(id);
      places[i]->add(id);
      guesses.emplace_back((i + static_cast<size_t>(step)) % 4, 8);
      const auto begin = static_cast<int64_t>(plan.token_ids.size());
      plan.token_ids.insert(plan.token_ids.end(), guesses[i].begin(), guesses[i].end());
      masks.push_back(
          work.add(places[i], {begin, static_cast<int64_t>(plan.token_ids.size())}, plan));
      num_masks += 1 + static_cast<int>(guesses[i].size());
    }
    work.begin(plan);
    std::vector<std::thread> workers;
    for (const auto& team : teams) workers.emplace_back([&] { work.help(*team); });
    for (std::thread& worker : workers) worker.join();
    for (size_t i = 0; i < places.size(); ++i) {
      Ids known = ids[i];
      auto at = plan.masks.begin() + masks[i].begin;
      for (size_t row = 0; row <= guesses[i].size(); ++row, at += masks[i].size()) {
        ASSERT_EQ(Masks(at, at + masks[i].size()), mask_after(known)) << step << " " << i;
        known.push_back(8);
      }
    }
    ASSERT_GT(work.spent_ns(), 0);
  }
  EXPECT_EQ(grammar->counts().masks, num_masks);
  EXPECT_EQ(grammar->counts().overlaps, 0);
}

TEST(MaskWork, KeepsAPlaceUntilTheStepIsOver) {
  const auto grammar = std::make_shared<const CountingGrammar>();
  auto place = std::make_shared<GrammarPlace>(rules(), grammar);
  const std::weak_ptr<GrammarPlace> watched = place;
  MaskWork work;
  StepPlan plan;
  work.add(std::move(place), {}, plan);
  EXPECT_FALSE(work.empty());
  EXPECT_FALSE(watched.expired());
  work.clear();
  EXPECT_TRUE(work.empty());
  EXPECT_TRUE(watched.expired());
}

}  // namespace
}  // namespace weft::engine
