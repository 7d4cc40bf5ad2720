// Layers that see a window keep their window and no more, and nothing of an answer shows it.
#include <gmock/gmock.h>

#include <algorithm>

#include "base/error.h"
#include "engine/limits.h"
#include "engine/tiny_engine.h"

namespace weft::engine {
namespace {

// Gemma 3: 6 of 7 layers see 16 tokens.
EngineOptions gemma_options() {
  EngineOptions options = tiny_options(tiny_path("gemma3.BF16"));
  options.max_num_batched_tokens = 32;
  return options;
}

struct Held {
  int64_t full = 0, window = 0;
};

// The most blocks that sequences held after any step of one request, and none at its end.
Held most_held(Engine& engine, const std::vector<int32_t>& prompt, int64_t max_tokens) {
  Request request;
  request.prompt_ids = prompt;
  request.sampling.max_tokens = max_tokens;
  request.sampling.ignore_eos = true;
  engine.submit(request);
  Held most;
  for (bool more = true; more;) {
    more = engine.step({});
    const EngineStats s = engine.stats();
    const Held now{s.num_blocks - s.num_free_blocks - s.num_idle_blocks,
                   s.num_window_blocks - s.num_free_window_blocks - s.num_idle_window_blocks};
    most = {std::max(most.full, now.full), std::max(most.window, now.window)};
    EXPECT_TRUE(more || (now.full == 0 && now.window == 0));
  }
  return most;
}

TEST(WindowGroups, ALongPromptHoldsItsWindowAlone) {
  SKIP_WITHOUT_TINY_MODELS();
  for (const bool prefix_caching : {true, false}) {
    EngineOptions options = gemma_options();
    options.prefix_caching = prefix_caching;
    const auto engine = Engine::load(options);
    const Held held = most_held(*engine, some_ids(150), 40);
    EXPECT_EQ(held.full, 12);   // 189 tokens in blocks of 16
    EXPECT_EQ(held.window, 3);  // a step's 32 and the 15 before them
  }
}

TEST(WindowGroups, TheCacheTakesAsMuchLess) {
  SKIP_WITHOUT_TINY_MODELS();
  EngineOptions options = gemma_options();
  options.max_num_seqs = 1;
  options.max_num_batched_tokens = 16;
  options.max_model_len = 2000;
  const auto bytes_of = [](const Engine& engine) {
    int64_t bytes = 0;
    for (const RankShare& rank : engine.split().ranks) bytes += rank.kv_bytes;
    return bytes;
  };
  const auto grouped = Engine::load(options);
  options.window_groups = false;
  const auto whole = Engine::load(options);
  ASSERT_EQ(grouped->split().kv_groups.size(), 2u);
  EXPECT_EQ(whole->split().kv_groups.size(), 1u);
  EXPECT_EQ(grouped->kv_cache_blocks(), 125);
  EXPECT_EQ(whole->kv_cache_blocks(), 125);
  const std::vector<KvGroup>& groups = grouped->split().kv_groups;
  EXPECT_EQ(groups[0].num_layers, 1);
  EXPECT_EQ(groups[1].num_layers, 6);
  EXPECT_EQ(groups[1].num_blocks, 2 * 3 + 1);  // two sequences' windows and a chunk
  EXPECT_EQ(bytes_of(*whole) * (125 + 6 * 7) / (125 * 7), bytes_of(*grouped));
  EXPECT_EQ(most_held(*grouped, some_ids(1900), 4).full, 119);
}

// Neither where it is off, nor where every position of a prompt has to be computed.
TEST(WindowGroups, WhatIsNotLookedForIsNotCountedSo) {
  SKIP_WITHOUT_TINY_MODELS();
  EngineOptions options = gemma_options();
  const auto engine = Engine::load(options);
  engine->generate(greedy(some_ids(40), 2));
  EXPECT_EQ(engine->stats().looked_up_prompt_tokens, 40);
  Request whole = greedy(some_ids(50), 2);
  whole.sampling.prompt_logprobs = 0;
  engine->generate(whole);
  EXPECT_EQ(engine->stats().prompt_tokens, 90);
  EXPECT_EQ(engine->stats().looked_up_prompt_tokens, 40);
  options.prefix_caching = false;
  const auto other = Engine::load(options);
  other->generate(greedy(some_ids(40), 2));
  EXPECT_EQ(other->stats().prompt_tokens, 40);
  EXPECT_EQ(other->stats().looked_up_prompt_tokens, 0);
}

// A beginning that is longer than the window is taken over, with its last window.
TEST(WindowGroups, PrefixesAreTakenOverPastTheWindow) {
  SKIP_WITHOUT_TINY_MODELS();
  const auto engine = Engine::load(gemma_options());
  std::vector<int32_t> prompt = some_ids(99);
  const GenerationResult first = engine->generate(greedy(prompt, 8));
  EXPECT_EQ(engine->stats().cached_prompt_tokens, 0);
  const GenerationResult again = engine->generate(greedy(prompt, 8));
  EXPECT_EQ(engine->stats().cached_prompt_tokens, 96);
  EXPECT_EQ(again.token_ids, first.token_ids);
  // A conversation that goes on.
  prompt.insert(prompt.end(), first.token_ids.begin(), first.token_ids.end());
  prompt.push_back(7);
  const GenerationResult next = engine->generate(greedy(prompt, 8));
  EXPECT_EQ(engine->stats().cached_prompt_tokens, 96 + 106);
  EngineOptions plain = gemma_options();
  plain.window_groups = plain.prefix_caching = false;
  const auto other = Engine::load(plain);
  EXPECT_EQ(other->generate(greedy(prompt, 8)).token_ids, next.token_ids);
}

// Two blocks hold no more than a window of 16: the prompt is computed in small chunks, and answers
// take turns.
TEST(WindowGroups, AllIsAnsweredFromTheFewestBlocks) {
  SKIP_WITHOUT_TINY_MODELS();
  EngineOptions options = gemma_options();
  options.num_window_blocks = 2;
  const auto engine = Engine::load(options);
  options.num_window_blocks = 0;
  options.window_groups = false;
  const auto plain = Engine::load(options);
  EXPECT_EQ(engine->generate(greedy(some_ids(120), 30)).token_ids,
            plain->generate(greedy(some_ids(120), 30)).token_ids);
  const BatchWorkload two{.batch_size = 2, .depth = 0, .input_len = 40, .output_len = 10};
  EXPECT_THROW(engine->run_batch(two), Error);
  EXPECT_EQ(plain->run_batch(two).step_s.size(), 9u);
  options.window_groups = true;
  options.num_window_blocks = 1;
  EXPECT_THROW(Engine::load(options), Error);
}

// ---- sizes

SplitReport one_rank(int64_t full_bytes, int64_t window, int64_t window_bytes) {
  SplitReport split;
  split.ranks.resize(1);
  split.ranks[0].kv_bytes_per_token = full_bytes + window_bytes;
  split.ranks[0].kv_group_bytes_per_token = {full_bytes, window_bytes};
  split.kv_groups = {{.num_layers = 1, .bytes_per_token = full_bytes},
                     {.window = window, .num_layers = 5, .bytes_per_token = window_bytes}};
  return split;
}

int64_t bytes_of(const SplitReport& split, const std::vector<int64_t>& blocks) {
  return 16 * (blocks[0] * split.kv_groups[0].bytes_per_token +
               blocks[1] * split.kv_groups[1].bytes_per_token);
}

TEST(WindowGroups, MemoryGoesToTheWindowsFirstAndThenToContexts) {
  const SplitReport split = one_rank(64, 512, 320);
  EngineOptions options;
  options.max_num_seqs = 4;
  options.kv_cache_bytes = int64_t{64} << 20;
  const std::vector<int64_t> blocks = choose_num_blocks(split, 8192, options);
  // Four sequences hold 33 + 1 blocks each, as many are cached, a step has 32.
  EXPECT_EQ(blocks[1], 2 * 4 * 34 + 32);
  EXPECT_LE(bytes_of(split, blocks), options.kv_cache_bytes);
  EXPECT_GT(bytes_of(split, {blocks[0] + 1, blocks[1]}), options.kv_cache_bytes);
  // Less than the windows want: as many blocks in either group, as without groups.
  options.kv_cache_bytes = int64_t{16} * 200 * 384;
  EXPECT_EQ(choose_num_blocks(split, 2048, options), (std::vector<int64_t>{200, 200}));
}

TEST(WindowGroups, AContextFitsWhereItsWindowsDo) {
  const SplitReport split = one_rank(64, 512, 320);
  EngineOptions options;
  // 2048 blocks of full attention, and the 65 of a step of 512 tokens.
  options.kv_cache_bytes = int64_t{16} * (2048 * 64 + 65 * 320);
  EXPECT_EQ(choose_model_len(split, 32768, options), 32768);
  EXPECT_EQ(choose_num_blocks(split, 32768, options), (std::vector<int64_t>{2048, 65}));
  options.max_model_len = 32768;
  --options.kv_cache_bytes;
  EXPECT_THROW(choose_model_len(split, 32768, options), Error);
  // A little more goes to the windows.
  options.kv_cache_bytes += int64_t{16} * 400 * 320;
  const std::vector<int64_t> blocks = choose_num_blocks(split, 32768, options);
  EXPECT_EQ(blocks[0], 2048);
  EXPECT_NEAR(static_cast<double>(blocks[1]), 65 + 400, 5);
  EXPECT_LE(bytes_of(split, blocks), options.kv_cache_bytes);
}

TEST(WindowGroups, WhereAllLayersSlideContextsCostNothing) {
  const SplitReport split = one_rank(0, 512, 320);
  EngineOptions options;
  options.max_num_seqs = 2;
  options.kv_cache_bytes = int64_t{64} << 20;
  EXPECT_EQ(choose_num_blocks(split, 32768, options),
            (std::vector<int64_t>{2 * 2048, 2 * 2 * 34 + 32}));
}

}  // namespace
}  // namespace weft::engine
