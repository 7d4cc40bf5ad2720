#include "engine/speculation.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/random.h"
#include "engine/ngram_draft.h"

namespace weft::engine {
namespace {

using Ids = std::vector<int32_t>;

Ids propose(NgramDraft& draft, const Ids& tokens, int64_t most) {
  Ids out = {-1};
  draft.propose(tokens, most, out);
  return out;
}

TEST(NgramDraft, ProposesWhatFollowedTheLastTime) {
  NgramDraft draft(64);
  EXPECT_EQ(propose(draft, {1, 2, 3, 4, 5, 6}, 4), Ids{});
  EXPECT_EQ(propose(draft, {1, 2, 3, 4, 5, 6, 2, 3, 4}, 4), (Ids{5, 6, 2, 3}));
  EXPECT_EQ(propose(draft, {1, 2, 3, 4, 5, 6, 2, 3, 4, 9}, 4), Ids{});
  // The last place counts: 9 followed 4 then.
  EXPECT_EQ(propose(draft, {1, 2, 3, 4, 5, 6, 2, 3, 4, 9, 2, 3, 4}, 2), (Ids{9, 2}));
}

TEST(NgramDraft, NeverProposesMoreThanIsAskedForOrKnown) {
  NgramDraft draft(8);
  const Ids tokens = {7, 7, 7, 7};
  EXPECT_EQ(propose(draft, tokens, 0), Ids{});
  EXPECT_EQ(propose(draft, tokens, 3), Ids{7});
}

// Against a search through everything, past the size that it was made for.
TEST(NgramDraft, EqualsASearch) {
  NgramDraft draft(0);
  Ids tokens;
  for (uint64_t i = 0; i < 3000; ++i) {
    tokens.push_back(static_cast<int32_t>(uniform_bits(1, 2, i) % 12));
    if (tokens.size() < 4) continue;
    Ids expected;
    const auto run = tokens.end() - NgramDraft::kNgram;
    for (auto end = tokens.end() - 1; end - tokens.begin() >= NgramDraft::kNgram; --end) {
      if (!std::equal(run, tokens.end(), end - NgramDraft::kNgram)) continue;
      expected.assign(end, std::min(end + 5, tokens.end()));
      break;
    }
    ASSERT_EQ(propose(draft, tokens, 5), expected) << i;
  }
}

StepTimes machine(double flat, double per_token) {
  StepTimes times;
  for (const int64_t count : {1, 2, 4, 8, 16, 32, 64, 128}) {
    StepLoad load;
    load.num_tokens = count;
    times.learn(load, flat + per_token * static_cast<double>(count));
  }
  return times;
}

TEST(Speculation, GuessesWhereTokensAreNearlyFree) {
  const StepTimes times = machine(0.010, 0.0002);
  EXPECT_EQ(best_num_guesses(times, {1, 1}, 0.95, 5), 5);
  EXPECT_EQ(best_num_guesses(times, {1, 1}, 0.001, 5), 0);
  const int64_t some = best_num_guesses(times, {1, 1}, 0.2, 8);
  EXPECT_GT(some, 0);
  EXPECT_LT(some, 8);
}

TEST(Speculation, GivesUpWhereEveryTokenCosts) {
  const StepTimes times = machine(0.0001, 0.001);
  EXPECT_EQ(best_num_guesses(times, {16, 16}, 0.8, 5), 0);
  EXPECT_EQ(best_num_guesses(StepTimes(), {1, 1}, 0.99, 5), 0) << "nothing is known yet";
}

TEST(Speculation, AChanceFollowsWhatIsAccepted) {
  GuessRecord record;
  for (int i = 0; i < 20; ++i) record.learn(5, 5);
  EXPECT_GT(record.chance(), 0.95);
  for (int i = 0; i < 20; ++i) record.learn(5, 0);
  EXPECT_LT(record.chance(), 0.05);
  EXPECT_FALSE(record.wants_probe());
  for (int64_t i = 0; i < GuessRecord::kProbeEvery; ++i) record.skip();
  EXPECT_TRUE(record.wants_probe());
}

}  // namespace
}  // namespace weft::engine
