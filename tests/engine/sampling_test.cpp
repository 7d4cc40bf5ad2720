#include "engine/sampling.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <map>

#include "base/error.h"

namespace weft::engine {
namespace {

constexpr int64_t kVocab = 100;
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

using Change = std::function<void(SamplingParams&)>;

std::string refusal(const Change& change) {
  SamplingParams params;
  change(params);
  try {
    check_sampling(params, kVocab);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    return error.what();
  }
  return "";
}

TEST(CheckSampling, TakesTheDefaultsAndTheEndsOfEveryRange) {
  const Change accepted[] = {
      [](SamplingParams&) {},
      [](SamplingParams& p) { p.n = 16'384; },
      [](SamplingParams& p) { p.n = 2, p.best_of = 2; },
      [](SamplingParams& p) { p.max_tokens = 1, p.min_tokens = 1; },
      [](SamplingParams& p) { p.temperature = 0; },
      [](SamplingParams& p) { p.temperature = 100; },
      [](SamplingParams& p) { p.top_k = -1; },
      [](SamplingParams& p) { p.top_k = std::numeric_limits<int32_t>::max(); },
      [](SamplingParams& p) { p.top_p = 1e-9f; },
      [](SamplingParams& p) { p.min_p = 1; },
      [](SamplingParams& p) { p.typical_p = 1e-9f; },
      [](SamplingParams& p) { p.repetition_penalty = 0.1f; },
      [](SamplingParams& p) { p.presence_penalty = -2, p.frequency_penalty = 2; },
      [](SamplingParams& p) {
        p.logit_bias = {{0, -100}, {kVocab - 1, 100}};
      },
      [](SamplingParams& p) {
        p.bad_words = {{1, 2, 3}};
      },
      [](SamplingParams& p) { p.allowed_token_ids = {0}; },
      [](SamplingParams& p) { p.stop_token_ids = {99}; },
      [](SamplingParams& p) { p.stop = {"."}; },
      [](SamplingParams& p) { p.logprobs = 0, p.prompt_logprobs = 20; },
      [](SamplingParams& p) { p.logprobs = p.prompt_logprobs = kWholeVocabulary; },
  };
  for (size_t i = 0; i < std::size(accepted); ++i) EXPECT_EQ(refusal(accepted[i]), "") << i;
}

TEST(CheckSampling, RefusesWhatIsOutsideAndNamesTheField) {
  const std::pair<const char*, Change> refused[] = {
      {"n ", [](SamplingParams& p) { p.n = 0; }},
      {"n ", [](SamplingParams& p) { p.n = 16'385; }},
      {"best_of ", [](SamplingParams& p) { p.n = 3, p.best_of = 2; }},
      {"best_of ", [](SamplingParams& p) { p.best_of = -1; }},
      {"temperature 0", [](SamplingParams& p) { p.n = 2, p.temperature = 0; }},
      {"max_tokens ", [](SamplingParams& p) { p.max_tokens = 0; }},
      {"max_tokens ", [](SamplingParams& p) { p.max_tokens = int64_t{1} << 60; }},
      {"min_tokens ", [](SamplingParams& p) { p.min_tokens = 17; }},
      {"min_tokens ", [](SamplingParams& p) { p.min_tokens = -1; }},
      {"temperature ", [](SamplingParams& p) { p.temperature = -0.1f; }},
      {"temperature ", [](SamplingParams& p) { p.temperature = kNaN; }},
      {"temperature ", [](SamplingParams& p) { p.temperature = 101; }},
      {"top_k ", [](SamplingParams& p) { p.top_k = -2; }},
      {"top_p ", [](SamplingParams& p) { p.top_p = 0; }},
      {"top_p ", [](SamplingParams& p) { p.top_p = 1.01f; }},
      {"top_p ", [](SamplingParams& p) { p.top_p = kNaN; }},
      {"min_p ", [](SamplingParams& p) { p.min_p = -0.1f; }},
      {"min_p ", [](SamplingParams& p) { p.min_p = 1.1f; }},
      {"typical_p ", [](SamplingParams& p) { p.typical_p = 0; }},
      {"repetition_penalty ", [](SamplingParams& p) { p.repetition_penalty = 0; }},
      {"repetition_penalty ", [](SamplingParams& p) { p.repetition_penalty = 1e-38f; }},
      {"repetition_penalty ",
       [](SamplingParams& p) { p.repetition_penalty = std::numeric_limits<float>::infinity(); }},
      {"presence_penalty ", [](SamplingParams& p) { p.presence_penalty = 2.1f; }},
      {"frequency_penalty ", [](SamplingParams& p) { p.frequency_penalty = kNaN; }},
      {"logit_bias ",
       [](SamplingParams& p) {
         p.logit_bias = {{kVocab, 1}};
       }},
      {"logit_bias ",
       [](SamplingParams& p) {
         p.logit_bias = {{5, 101}};
       }},
      {"logit_bias ",
       [](SamplingParams& p) {
         p.logit_bias = {{5, kNaN}};
       }},
      {"bad_words ", [](SamplingParams& p) { p.bad_words = {{}}; }},
      {"bad_words ",
       [](SamplingParams& p) {
         p.bad_words = {{1, -1}};
       }},
      {"allowed_token_ids ", [](SamplingParams& p) { p.allowed_token_ids.emplace(); }},
      {"allowed_token_ids ", [](SamplingParams& p) { p.allowed_token_ids = {100}; }},
      {"stop_token_ids ", [](SamplingParams& p) { p.stop_token_ids = {100}; }},
      {"stop string ",
       [](SamplingParams& p) {
         p.stop = {"a", ""};
       }},
      {"logprobs ", [](SamplingParams& p) { p.logprobs = 129; }},
      {"prompt_logprobs ", [](SamplingParams& p) { p.prompt_logprobs = -2; }},
  };
  for (const auto& [field, change] : refused)
    EXPECT_NE(refusal(change).find(field), std::string::npos) << field << ": " << refusal(change);
  // Of a number that is too large, how large it may be.
  const std::string too_many = refusal([](SamplingParams& p) { p.max_tokens = INT64_MAX; });
  EXPECT_NE(too_many.find("1 to 1099511627776"), std::string::npos) << too_many;
}

// What a row does to each id that it names, its adjustments applied in order to a logit of `from`.
struct Filled {
  model::LogitRow row;
  StepPlan plan;
  std::map<int32_t, float> after;
};

Filled fill(ChoiceTokens tokens, float from = 1.0f) {
  Filled filled;
  tokens.fill(filled.row, filled.plan);
  for (int64_t i = filled.row.adjustments.begin; i < filled.row.adjustments.end; ++i) {
    const model::TokenAdjustment& a = filled.plan.adjustments[static_cast<size_t>(i)];
    float l = filled.after.contains(a.id) ? filled.after[a.id] : from;
    l += a.bias;
    const float penalty = filled.row.repetition_penalty;
    if (a.repeated != 0) l = l > 0 ? l / penalty : l * penalty;
    filled.after[a.id] = l - a.penalty;
  }
  return filled;
}

ChoiceTokens choice(const SamplingParams& params, std::span<const int32_t> prompt = {},
                    std::vector<int32_t> end_ids = {}) {
  return {std::make_shared<const SamplingRules>(params, end_ids, kVocab), prompt, 11, 3};
}

TEST(ChoiceTokens, SaysNothingWhereNothingIsAskedFor) {
  ChoiceTokens tokens = choice({}, std::vector<int32_t>{1, 2, 3}, {2});
  tokens.add(5);
  const Filled filled = fill(tokens);
  EXPECT_TRUE(filled.plan.adjustments.empty());
  EXPECT_TRUE(filled.plan.masks.empty());
  EXPECT_TRUE(filled.row.mask.empty());
  EXPECT_EQ(filled.row.seed, 11u);
  EXPECT_EQ(filled.row.choice, 3u);
  EXPECT_EQ(filled.row.temperature, 1.0f);
  EXPECT_EQ(filled.row.num_logprobs, -1);
}

TEST(ChoiceTokens, CarriesTheFilters) {
  const Filled filled = fill(choice({.temperature = 0.5f,
                                     .top_k = 7,
                                     .top_p = 0.9f,
                                     .min_p = 0.1f,
                                     .typical_p = 0.8f,
                                     .repetition_penalty = 1.5f,
                                     .logprobs = kWholeVocabulary}));
  EXPECT_EQ(filled.row.temperature, 0.5f);
  EXPECT_EQ(filled.row.top_k, 7);
  EXPECT_EQ(filled.row.top_p, 0.9f);
  EXPECT_EQ(filled.row.min_p, 0.1f);
  EXPECT_EQ(filled.row.typical_p, 0.8f);
  EXPECT_EQ(filled.row.repetition_penalty, 1.5f);
  EXPECT_EQ(filled.row.num_logprobs, model::kAllLogprobs);
}

TEST(ChoiceTokens, TinyTemperaturesAreGreedyOrRaised) {
  EXPECT_EQ(fill(choice({.temperature = 1e-6f})).row.temperature, 0.0f);
  EXPECT_EQ(fill(choice({.temperature = 1e-4f})).row.temperature, kLowestTemperature);
}

TEST(ChoiceTokens, BestOfNeedsTheLogprobsOfItsTokens) {
  EXPECT_EQ(fill(choice({.n = 1, .best_of = 4})).row.num_logprobs, 0);
  EXPECT_EQ(fill(choice({.n = 4, .best_of = 4})).row.num_logprobs, -1);
}

TEST(ChoiceTokens, PenaltiesCountWhatTheyShould) {
  const std::vector<int32_t> prompt = {10, 20, 20};
  ChoiceTokens tokens = choice(
      {.repetition_penalty = 2.0f, .presence_penalty = 0.25f, .frequency_penalty = 0.5f}, prompt);
  for (const int32_t id : {30, 20, 30}) tokens.add(id);
  const std::map<int32_t, float> positive = {{10, 0.5f}, {20, 0.5f - 0.75f}, {30, 0.5f - 1.25f}};
  EXPECT_EQ(fill(tokens, 1.0f).after, positive);
  const std::map<int32_t, float> negative = {{10, -2.0f}, {20, -2.0f - 0.75f}, {30, -2.0f - 1.25f}};
  EXPECT_EQ(fill(tokens, -1.0f).after, negative);
}

TEST(ChoiceTokens, ThePromptCountsForRepetitionAlone) {
  const std::vector<int32_t> prompt = {10, 20};
  ChoiceTokens tokens = choice({.presence_penalty = 1.0f}, prompt);
  tokens.add(20);
  EXPECT_EQ(fill(tokens).after, (std::map<int32_t, float>{{20, 0.0f}}));
}

TEST(ChoiceTokens, BiasComesBeforePenalties) {
  ChoiceTokens tokens =
      choice({.repetition_penalty = 2.0f, .logit_bias = {{7, 3.0f}, {8, 1.0f}, {7, -5.0f}}});
  tokens.add(7);
  const std::map<int32_t, float> expected = {{7, (1.0f - 5.0f) * 2.0f}, {8, 2.0f}};
  EXPECT_EQ(fill(tokens).after, expected);
}

TEST(ChoiceTokens, BadWordsForbidTheirLastIdAfterTheOthers) {
  ChoiceTokens tokens = choice({.bad_words = {{4}, {5, 6}, {5, 6, 7}}}, std::vector<int32_t>{5});
  const auto forbidden = [&] {
    std::vector<int32_t> ids;
    for (const auto& [id, logit] : fill(tokens).after)
      if (std::isinf(logit)) ids.push_back(id);
    return ids;
  };
  EXPECT_EQ(forbidden(), std::vector<int32_t>{4});  // the prompt's 5 does not count
  tokens.add(5);
  EXPECT_EQ(forbidden(), (std::vector<int32_t>{4, 6}));
  tokens.add(6);
  EXPECT_EQ(forbidden(), (std::vector<int32_t>{4, 7}));
  tokens.take_back(1);
  EXPECT_EQ(forbidden(), (std::vector<int32_t>{4, 6}));
}

TEST(ChoiceTokens, EndsAreHeldBackForMinTokens) {
  SamplingParams params{.min_tokens = 2, .stop_token_ids = {9, 8}};
  ChoiceTokens tokens = choice(params, {}, {2});
  EXPECT_EQ(fill(tokens).after.size(), 3u);
  tokens.add(1);
  for (const auto& [id, logit] : fill(tokens).after) EXPECT_TRUE(std::isinf(logit)) << id;
  tokens.add(1);
  EXPECT_TRUE(fill(tokens).after.empty());
  params.ignore_eos = true;
  EXPECT_EQ(fill(choice(params, {}, {2})).after.size(), 2u);
}

TEST(ChoiceTokens, AllowedIdsAreAMaskOfTheVocabulary) {
  const Filled filled = fill(choice({.allowed_token_ids = {{0, 33, 99}}}));
  EXPECT_EQ(filled.row.mask.size(), 4);
  EXPECT_EQ(filled.plan.masks, (std::vector<uint32_t>{1, 2, 0, 8}));
}

// Taken back tokens leave no trace, and a copy that is told the same ids writes the same rows.
TEST(ChoiceTokens, TheSameIdsGiveTheSameRow) {
  const std::vector<int32_t> prompt = {1, 2, 3, 4};
  const SamplingParams params{.repetition_penalty = 1.3f, .frequency_penalty = 0.1f};
  ChoiceTokens straight = choice(params, prompt), drafted = straight;
  for (int32_t i = 0; i < 300; ++i) {
    const int32_t id = (i * 37) % 90;
    straight.add(id);
    for (const int32_t draft : {id + 1, id + 2, id + 9}) drafted.add(draft);
    drafted.take_back(3);
    drafted.add(id);
  }
  EXPECT_EQ(fill(straight).after, fill(drafted).after);
  EXPECT_EQ(fill(straight).after.size(), 90u);
}

TEST(SamplingRules, KnowWhatEndsAnAnswer) {
  const std::vector<int32_t> ends = {2, 3};
  SamplingParams params{.stop_token_ids = {50}};
  EXPECT_TRUE(SamplingRules(params, ends, kVocab).ends_answer(3));
  EXPECT_TRUE(SamplingRules(params, ends, kVocab).ends_answer(50));
  EXPECT_FALSE(SamplingRules(params, ends, kVocab).ends_answer(51));
  params.ignore_eos = true;
  EXPECT_FALSE(SamplingRules(params, ends, kVocab).ends_answer(3));
  EXPECT_TRUE(SamplingRules(params, ends, kVocab).ends_answer(50));
}

}  // namespace
}  // namespace weft::engine
