// Weights that are not finite: the request that meets them ends with the layer's number, and the
// engine goes on as if it had never been.
#include <gmock/gmock.h>

#include <limits>

#include "base/clock.h"
#include "base/error.h"
#include "checkpoint/model_files.h"
#include "engine/patched_model.h"
#include "engine/tiny_engine.h"

namespace weft::engine {
namespace {

using testing::HasSubstr;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr int64_t kHidden = 256;

std::string failure(Engine& engine, const Request& request) {
  try {
    engine.generate(request);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kModel);
    return error.summary();
  }
  ADD_FAILURE() << "the request was served";
  return "";
}

std::vector<EngineOptions> topologies(const std::string& path) {
  EngineOptions plain = tiny_options(path);
  plain.max_num_batched_tokens = 16;
  EngineOptions tensor = plain, pipeline = plain, both = plain;
  tensor.topology.tensor_parallel_size = 3;
  tensor.placement = Placement::kPooled;
  pipeline.topology.pipeline_parallel = "2";
  pipeline.placement = Placement::kDedicated;
  both.topology.tensor_parallel_size = 2;
  both.topology.pipeline_parallel = "2";
  both.placement = Placement::kDedicated;
  return {plain, tensor, pipeline, both};
}

class FailingRow : public checkpoint::FolderTest {};

TEST_F(FailingRow, NamesTheLayer) {
  SKIP_WITHOUT_TINY_MODELS();
  PatchedModel model(tiny_path("llama.F32"));
  model.set_weight("blk.2.ffn_down.weight", 0, 1, kInf);
  for (const EngineOptions& options : topologies(model.write(folder_ / "model.gguf"))) {
    const auto engine = Engine::load(options);
    EXPECT_THAT(failure(*engine, greedy(some_ids(40), 4)), HasSubstr("layer 2"));
    EXPECT_THAT(failure(*engine, greedy(some_ids(1), 4)), HasSubstr("layer 2"));
  }
}

// Out of the range of exact sums, though finite.
TEST_F(FailingRow, NamesTheLayerOfAnExtremeSum) {
  SKIP_WITHOUT_TINY_MODELS();
  PatchedModel model(tiny_path("llama.F32"));
  model.set_weight("blk.1.attn_output.weight", 0, kHidden, 1e9f);
  const auto engine = Engine::load(tiny_options(model.write(folder_ / "model.gguf")));
  EXPECT_THAT(failure(*engine, greedy(some_ids(40), 4)), HasSubstr("layer 1"));
}

TEST_F(FailingRow, OfTheHeadIsNamed) {
  SKIP_WITHOUT_TINY_MODELS();
  PatchedModel model(tiny_path("llama.F32"));
  model.set_weight("output.weight", 77 * kHidden, 1, std::numeric_limits<float>::quiet_NaN());
  const auto engine = Engine::load(tiny_options(model.write(folder_ / "model.gguf")));
  EXPECT_THAT(failure(*engine, greedy(some_ids(40), 4)), HasSubstr("logits"));
}

// One token's embedding is infinite: only prompts with it fail, and what they leave in the cache
// must not reach a later answer. The cache has four blocks, all of which the failed prompt fills,
// so the later answer finds its remains behind its own tokens.
TEST_F(FailingRow, EndsItsOwnRequestOnly) {
  SKIP_WITHOUT_TINY_MODELS();
  const int32_t bad_id = 2;  // some_ids has none under 5
  PatchedModel model(tiny_path("llama.F32"));
  model.set_weight("token_embd.weight", bad_id * kHidden, kHidden, kInf);
  std::vector<int32_t> bad_prompt = some_ids(60);
  for (size_t i = 4; i < 60; i += 3) bad_prompt[i] = bad_id;
  for (const auto kv_type : {kernels::KvType::kBF16, kernels::KvType::kF32}) {
    for (EngineOptions options : topologies(model.write(folder_ / "model.gguf"))) {
      options.kv_type = kv_type;
      options.max_model_len = 64;
      // Few tokens, which every rank adds up itself, and many, which ranks share out.
      for (const int length : {5, 20}) {
        const Request good = greedy(some_ids(length), 20);
        const auto expected = Engine::load(options)->generate(good);
        const auto engine = Engine::load(options);
        EXPECT_THAT(failure(*engine, greedy(bad_prompt, 4)), HasSubstr("layer 0"));
        const auto after = engine->generate(good);
        EXPECT_EQ(after.token_ids, expected.token_ids);
        EXPECT_EQ(after.logits_hash, expected.logits_hash);
      }
    }
  }
}

// A bad sum in the middle of the prompt, in a chunk that asks for no logits, spoils what later
// tokens attend to: the request fails, not only the row of that token.
TEST_F(FailingRow, AnywhereInThePromptFailsTheRequest) {
  SKIP_WITHOUT_TINY_MODELS();
  const int32_t bad_id = 2;
  PatchedModel model(tiny_path("llama.F32"));
  model.set_weight("token_embd.weight", bad_id * kHidden, kHidden, kInf);
  const int64_t begin_ns = now_ns();
  for (EngineOptions options : topologies(model.write(folder_ / "model.gguf"))) {
    for (const int64_t chunk : {1, 7, 512}) {
      for (const size_t bad : {10, 30}) {  // of 40: where two ranks share them out, one each
        std::vector<int32_t> prompt = some_ids(40);
        prompt[bad] = bad_id;
        options.max_num_batched_tokens = chunk;
        // One token: a later step would meet the spoilt cache again.
        Request request = greedy(prompt, 1);
        request.hash_logits = false;
        EXPECT_THAT(failure(*Engine::load(options), request), HasSubstr("layer 0"));
      }
    }
  }
  // Engines that ended with chunks of the prompt under way did not wait for a deadline.
  EXPECT_LT(seconds_between(begin_ns, now_ns()), 50);
}

// Every rank fails at once; whoever waits must see it, each time.
TEST_F(FailingRow, RanksThatFailTogetherEndTheStart) {
  SKIP_WITHOUT_TINY_MODELS();
  PatchedModel model(tiny_path("llama.F32"));
  model.rename("blk.0.attn_norm.weight", "blk.0.attn_morn.weight");
  EngineOptions options = tiny_options(model.write(folder_ / "model.gguf"));
  options.placement = Placement::kDedicated;
  for (int round = 0; round < 20; ++round) {
    options.topology.tensor_parallel_size = round % 2 == 0 ? 3 : 7;
    try {
      Engine::load(options);
      ADD_FAILURE() << "a model without a norm was loaded";
    } catch (const Error& e) {
      EXPECT_THAT(e.what(), HasSubstr("attn_norm"));
    }
  }
}

}  // namespace
}  // namespace weft::engine
