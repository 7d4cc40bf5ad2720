// What is made of the logits: lists of logprobs, greedy choices and samples.
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "engine/tiny_engine.h"

namespace weft::engine {
namespace {

// log softmax in double, of the logits of one position.
std::vector<double> log_softmax(const std::vector<float>& logits, double temperature = 1.0) {
  const double max = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float x : logits) sum += std::exp((x - max) / temperature);
  std::vector<double> out;
  for (const float x : logits) out.push_back((x - max) / temperature - std::log(sum));
  return out;
}

void expect_list(const std::vector<TokenLogprob>& list, const std::vector<double>& expected,
                 int num_best, int32_t chosen) {
  ASSERT_GE(list.size(), static_cast<size_t>(num_best));
  const auto holds = [&](const TokenLogprob& e) { return e.id == chosen; };
  const auto best_end = list.begin() + num_best;
  // The chosen one is among the best, or follows them.
  const bool chosen_is_best = std::any_of(list.begin(), best_end, holds);
  ASSERT_EQ(list.size(), static_cast<size_t>(num_best + (chosen_is_best ? 0 : 1)));
  EXPECT_TRUE(std::any_of(list.begin(), list.end(), holds));
  for (const TokenLogprob& e : list)
    EXPECT_NEAR(e.logprob, expected[static_cast<size_t>(e.id)], 2e-6) << e.id;
  for (int i = 0; i + 1 < num_best; ++i)
    EXPECT_GE(list[static_cast<size_t>(i)].logprob, list[static_cast<size_t>(i) + 1].logprob);
  std::vector<double> sorted = expected;
  std::sort(sorted.rbegin(), sorted.rend());
  for (int i = 0; i < num_best; ++i)
    EXPECT_NEAR(list[static_cast<size_t>(i)].logprob, sorted[static_cast<size_t>(i)], 2e-6);
}

TEST(Logprobs, AreTheLogSoftmaxBestFirst) {
  SKIP_WITHOUT_TINY_MODELS();
  for (const int tp : {1, 3}) {
    EngineOptions options = tiny_options(tiny_path("llama.F32"));
    options.topology.tensor_parallel_size = tp;
    const auto engine = Engine::load(options);
    for (const int num_best : {0, 1, 5, 128}) {
      Request request = greedy(some_ids(12), 1);
      request.full_prompt_logits = true;
      request.sampling.prompt_logprobs = num_best;
      request.sampling.logprobs = num_best;
      const GenerationResult result = engine->generate(request);
      ASSERT_EQ(result.prompt_logits.size(), 12u);
      ASSERT_EQ(result.prompt_logprobs.size(), 12u);
      EXPECT_TRUE(result.prompt_logprobs[0].empty());
      for (size_t p = 1; p < 12; ++p)
        expect_list(result.prompt_logprobs[p], log_softmax(result.prompt_logits[p - 1]), num_best,
                    request.prompt_ids[p]);
      ASSERT_EQ(result.logprobs.size(), 1u);
      expect_list(result.logprobs[0], log_softmax(result.prompt_logits[11]), num_best,
                  result.token_ids[0]);
    }
  }
}

// Those of the list by their place, and the prompt's own token wherever it stands.
TEST(Logprobs, OfPromptsHaveTheirRanksAmongAllTokens) {
  SKIP_WITHOUT_TINY_MODELS();
  for (const char* model : {"llama.F32", "gemma2.Q8_0"}) {
    for (const int tp : {1, 3}) {
      EngineOptions options = tiny_options(tiny_path(model));
      options.topology.tensor_parallel_size = tp;
      const auto engine = Engine::load(options);
      for (const int num_best : {0, 3, kWholeVocabulary}) {
        Request request = greedy(some_ids(40), 1);
        request.full_prompt_logits = true;
        request.sampling.prompt_logprobs = num_best;
        const GenerationResult result = engine->generate(request);
        int64_t worst = 0;
        for (size_t p = 1; p < request.prompt_ids.size(); ++p) {
          const std::vector<float>& logits = result.prompt_logits[p - 1];
          for (const TokenLogprob& entry : result.prompt_logprobs[p]) {
            int64_t rank = 1;
            const float logit = logits[static_cast<size_t>(entry.id)];
            for (size_t id = 0; id < logits.size(); ++id)
              if (logits[id] > logit ||
                  (logits[id] == logit && static_cast<int32_t>(id) < entry.id))
                ++rank;
            EXPECT_EQ(entry.rank, rank) << model << " tp " << tp << " at " << p;
            worst = std::max(worst, rank);
          }
        }
        EXPECT_GT(worst, 100);  // random tokens are not the likely ones
      }
    }
  }
}

TEST(Logprobs, AreAbsentUnlessAskedFor) {
  SKIP_WITHOUT_TINY_MODELS();
  const auto engine = Engine::load(tiny_options(tiny_path("llama.F32")));
  const GenerationResult result = engine->generate(greedy(some_ids(12), 3));
  EXPECT_TRUE(result.logprobs.empty());
  EXPECT_TRUE(result.prompt_logprobs.empty());
  EXPECT_TRUE(result.prompt_logits.empty());
}

// A hash over positions that differ must differ; without the request there is none.
TEST(LogitsHash, SeesEveryPosition) {
  SKIP_WITHOUT_TINY_MODELS();
  const auto engine = Engine::load(tiny_options(tiny_path("llama.F32")));
  const uint64_t four = engine->generate(greedy(some_ids(12), 4)).logits_hash;
  EXPECT_NE(four, 0u);
  EXPECT_NE(four, engine->generate(greedy(some_ids(12), 5)).logits_hash);
  Request request = greedy(some_ids(12), 4);
  request.sampling.prompt_logprobs = 0;
  EXPECT_NE(four, engine->generate(request).logits_hash);
  request.hash_logits = false;
  EXPECT_EQ(engine->generate(request).logits_hash, 0u);
}

TEST(Greedy, TakesTheLargestLogit) {
  SKIP_WITHOUT_TINY_MODELS();
  const auto engine = Engine::load(tiny_options(tiny_path("llama.Q4_1")));
  Request request = greedy(some_ids(12), 1);
  request.full_prompt_logits = true;
  request.sampling.seed = 99;  // no part in it
  const GenerationResult result = engine->generate(request);
  const std::vector<float>& logits = result.prompt_logits.back();
  EXPECT_EQ(result.token_ids[0], std::max_element(logits.begin(), logits.end()) - logits.begin());
}

Request sampled(uint64_t seed, float temperature, int64_t max_tokens) {
  Request request = greedy(some_ids(6), max_tokens);
  request.sampling.temperature = temperature;
  request.sampling.seed = seed;
  request.hash_logits = false;
  return request;
}

TEST(Sampling, RepeatsWithItsSeed) {
  SKIP_WITHOUT_TINY_MODELS();
  EngineOptions options = tiny_options(tiny_path("llama.F32"));
  const auto engine = Engine::load(options);
  const auto first = engine->generate(sampled(1, 1.0f, 24)).token_ids;
  EXPECT_EQ(engine->generate(sampled(1, 1.0f, 24)).token_ids, first);
  EXPECT_NE(engine->generate(sampled(2, 1.0f, 24)).token_ids, first);
  options.topology.tensor_parallel_size = 5;
  EXPECT_EQ(Engine::load(options)->generate(sampled(1, 1.0f, 24)).token_ids, first);
}

// Pearson's chi-squared of one position's samples against the softmax of its logits: the 24 most
// likely ids and one bin for the rest. The seeds are fixed, so the figure is always the same; a
// sampler without faults exceeds 52 with a probability of 0.1 %.
TEST(Sampling, FollowsTheSoftmax) {
  SKIP_WITHOUT_TINY_MODELS();
  constexpr int kSamples = 2000, kBins = 24;
  const auto engine = Engine::load(tiny_options(tiny_path("llama.F32")));
  for (const float temperature : {0.7f, 1.5f}) {
    Request request = sampled(0, temperature, 1);
    request.full_prompt_logits = true;
    const auto expected = log_softmax(engine->generate(request).prompt_logits.back(), temperature);
    std::map<int32_t, int> counts;
    for (uint64_t seed = 0; seed < kSamples; ++seed)
      ++counts[engine->generate(sampled(seed, temperature, 1)).token_ids[0]];
    std::vector<int32_t> ids(expected.size());
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i);
    std::sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) {
      return expected[static_cast<size_t>(a)] > expected[static_cast<size_t>(b)];
    });
    double chi_squared = 0, rest_expected = kSamples, rest_seen = kSamples;
    for (int i = 0; i < kBins; ++i) {
      const int32_t id = ids[static_cast<size_t>(i)];
      const double want = kSamples * std::exp(expected[static_cast<size_t>(id)]);
      const double seen = counts[id];
      chi_squared += (seen - want) * (seen - want) / want;
      rest_expected -= want;
      rest_seen -= seen;
    }
    chi_squared += (rest_seen - rest_expected) * (rest_seen - rest_expected) / rest_expected;
    EXPECT_LT(chi_squared, 52.0) << "temperature " << temperature;
  }
}

TEST(Sampling, TinyTemperatureIsGreedy) {
  SKIP_WITHOUT_TINY_MODELS();
  const auto engine = Engine::load(tiny_options(tiny_path("llama.F32")));
  EXPECT_EQ(engine->generate(sampled(3, 1e-6f, 24)).token_ids,
            engine->generate(sampled(3, 0.0f, 24)).token_ids);
}

}  // namespace
}  // namespace weft::engine
