#include "fleet/engine_client.h"

#include <gtest/gtest.h>

#include <functional>

namespace weft::fleet {
namespace {

engine::RequestLimits limits() {
  return {.vocab_size = 100, .max_model_len = 32, .context_length = 32};
}

TEST(CheckGenerate, HoldsEveryNumberOfAMessageToTheEnginesLimits) {
  Generate request;
  request.prompt_ids = {1, 2, 3};
  EXPECT_NO_THROW(check_generate(request, limits()));
  request.prompt_ids = {1, 100};
  EXPECT_THROW(check_generate(request, limits()), Error);
  request.prompt_ids.assign(33, 1);
  EXPECT_THROW(check_generate(request, limits()), Error);
  request.prompt_ids = {1};
  request.sampling.bad_words = {{-1}};
  EXPECT_THROW(check_generate(request, limits()), Error);
}

// Whatever reader of bodies made the message.
TEST(CheckGenerate, HoldsWhatOneOfManyUsersMayAskFor) {
  using Change = std::function<void(engine::SamplingParams&)>;
  const std::vector<std::pair<std::string, Change>> changes = {
      {"n", [](auto& p) { p.n = 129; }},
      {"best_of", [](auto& p) { p.best_of = 129; }},
      {"stop", [](auto& p) { p.stop.assign(65, "."); }},
      {"a stop string", [](auto& p) { p.stop = {std::string(4097, '.')}; }},
      {"bad_words", [](auto& p) { p.bad_words.assign(2049, {1}); }},
      {"logit_bias",
       [](auto& p) {
         p.logit_bias.assign(4097, {1, 0.5f});
       }},
      {"stop_token_ids", [](auto& p) { p.stop_token_ids.assign(1025, 1); }},
      {"logprobs", [](auto& p) { p.logprobs = 21; }},
      {"prompt_logprobs", [](auto& p) { p.prompt_logprobs = engine::kWholeVocabulary; }}};
  for (const auto& [field, change] : changes) {
    Generate request;
    request.prompt_ids = {1};
    change(request.sampling);
    try {
      check_generate(request, limits());
      ADD_FAILURE() << field;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUsage);
      EXPECT_TRUE(error.summary().starts_with(field + " asks for ")) << error.summary();
    }
  }
  Generate most;
  most.prompt_ids = {1};
  most.sampling.n = 128;
  most.sampling.logprobs = 20;
  EXPECT_NO_THROW(check_generate(most, limits()));
}

TEST(CheckGenerate, LogprobsAreCountedOverAllPositions) {
  engine::RequestLimits wide = limits();
  wide.max_model_len = 100'000;
  const auto refusal = [&](const Generate& request) -> std::string {
    try {
      check_generate(request, wide);
    } catch (const Error& error) {
      return error.summary();
    }
    return "";
  };
  Generate request;
  request.prompt_ids.assign(23'809, 1);
  request.sampling.prompt_logprobs = 20;
  EXPECT_EQ(refusal(request), "");
  request.sampling.logprobs = 20;
  EXPECT_TRUE(refusal(request).starts_with("logprobs asks for 500325")) << refusal(request);
  request.prompt_ids.push_back(1);
  EXPECT_TRUE(refusal(request).starts_with("prompt_logprobs asks for 500010"));
  request.prompt_ids = {1};
  request.sampling.prompt_logprobs.reset();
  request.sampling.n = 64;
  request.sampling.max_tokens = 372;
  EXPECT_EQ(refusal(request), "");
  request.sampling.max_tokens = 373;
  EXPECT_NE(refusal(request), "");
}

}  // namespace
}  // namespace weft::fleet
