// What `inspect` says of each rank against what the ranks hold and send (issue: within 2 %).
//
// The real model is looked for in $WEFT_TEST_MODELS.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>

#include "engine/tiny_engine.h"

namespace weft::engine {
namespace {

void expect_near(int64_t measured, int64_t said, double share, const std::string& what) {
  EXPECT_LE(std::abs(static_cast<double>(measured - said)), share * static_cast<double>(said))
      << what << ": " << measured << " measured, " << said << " said";
}

void compare(const EngineOptions& options, const std::string& what) {
  const Inspection said = inspect(options);
  const auto engine = Engine::load(options);
  const SplitReport& held = engine->split();
  ASSERT_EQ(held.ranks.size(), said.split.ranks.size());
  constexpr int kPrompt = 33, kGenerated = 8;
  const GenerationResult result = engine->generate(greedy(some_ids(kPrompt), kGenerated));
  const int64_t num_steps_tokens = kPrompt + kGenerated - 1;  // the last one is not run
  for (size_t r = 0; r < held.ranks.size(); ++r) {
    const RankShare &want = said.split.ranks[r], &got = held.ranks[r];
    const std::string rank = fmt::format("{}, rank {}", what, r);
    EXPECT_GT(want.weight_bytes, 0) << rank;
    expect_near(got.weight_bytes, want.weight_bytes, 0.02, rank + ", weights");
    expect_near(result.ranks[r].reduce_bytes, want.reduce_bytes_per_token * num_steps_tokens, 0.02,
                rank + " all-reduce");
    // The cache holds whole blocks of the context.
    int64_t kv_bytes = 0, kv_bytes_per_token = 0;
    for (size_t g = 0; g < held.kv_groups.size(); ++g) {
      kv_bytes += got.kv_group_bytes_per_token[g] * held.kv_groups[g].num_blocks * 16;
      kv_bytes_per_token += got.kv_group_bytes_per_token[g];
    }
    EXPECT_EQ(got.kv_bytes, kv_bytes) << rank;
    EXPECT_EQ(got.kv_bytes_per_token, kv_bytes_per_token) << rank;
    EXPECT_EQ(got.kv_bytes_per_token, want.kv_bytes_per_token) << rank;
    EXPECT_EQ(got.logits_bytes, want.logits_bytes) << rank;
    EXPECT_EQ(got.step_bytes, want.step_bytes) << rank;
    EXPECT_GT(got.step_bytes, 0) << rank;
  }
  // 64 rows of FP32 of the whole vocabulary, in whole panels, on the ranks of the last stage.
  int64_t logits = 0;
  for (const RankShare& rank : held.ranks) {
    if (rank.stage != held.ranks.back().stage) {
      EXPECT_EQ(rank.logits_bytes, 0) << what;
    }
    logits += rank.logits_bytes;
  }
  const int64_t least = 64 * 4 * said.model.vocab_size;
  EXPECT_GE(logits, least) << what;
  EXPECT_LE(logits, least + 64 * 4 * 64 * static_cast<int64_t>(held.ranks.size())) << what;
}

std::vector<std::pair<std::string, parallel::TopologyRequest>> topologies(int64_t num_layers) {
  return {{"tp1", {}},
          {"tp3", {.tensor_parallel_size = 3}},
          {"tp7", {.tensor_parallel_size = 7}},
          {"tp2 pp2", {.tensor_parallel_size = 2, .pipeline_parallel = "2"}},
          {"weights", {.tp_weights = "2,1,1"}},
          {"stages", {.stages = fmt::format("1@1,{}@3", num_layers - 1)}}};
}

TEST(SplitBytes, OfTinyModels) {
  SKIP_WITHOUT_TINY_MODELS();
  for (const char* model : {"heads9kv3.Q4_1", "gemma3.BF16", "heads15kv5.Q8_0", "llama.F32"}) {
    EngineOptions options = tiny_options(tiny_path(model));
    const int64_t num_layers = inspect(options).model.num_layers;
    for (const auto& [name, topology] : topologies(num_layers)) {
      options.topology = topology;
      compare(options, fmt::format("{} {}", model, name));
    }
  }
}

TEST(SplitBytes, OfARealModel) {
  const char* folder = std::getenv("WEFT_TEST_MODELS");
  if (folder == nullptr) GTEST_SKIP() << "WEFT_TEST_MODELS is not set";
  EngineOptions options = tiny_options(fmt::format("{}/SmolLM2-135M-Instruct.Q4_1.gguf", folder));
  for (const auto& [name, topology] : topologies(30)) {
    options.topology = topology;
    compare(options, name);
  }
}

// Every weight is held once: the ranks' bytes together are those of one rank, but for KV heads that
// two ranks need, panels that end early and vectors that all keep.
TEST(SplitBytes, AddUpToTheModel) {
  SKIP_WITHOUT_TINY_MODELS();
  EngineOptions options = tiny_options(tiny_path("heads9kv3.Q4_1"));
  const int64_t whole = inspect(options).split.ranks[0].weight_bytes;
  options.topology = {.pipeline_parallel = "3"};
  int64_t staged = 0;
  for (const RankShare& rank : inspect(options).split.ranks) staged += rank.weight_bytes;
  EXPECT_GE(staged, whole);  // the tied embedding is on the first and on the last stage
  options.topology = {.tensor_parallel_size = 3};
  int64_t cut = 0;
  for (const RankShare& rank : inspect(options).split.ranks) cut += rank.weight_bytes;
  expect_near(cut, whole, 0.01, "three ranks with three heads and a KV head each");
}

}  // namespace
}  // namespace weft::engine
