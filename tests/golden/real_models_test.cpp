// The real models against transformers in float32 on the same dequantised weights: tokens, top-1,
// KL and perplexity (docs/goldens.md has the bounds and what llama.cpp reaches).
//
// The models are looked for in $WEFT_TEST_MODELS, where tools/test_models puts them.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "golden/agreement.h"

namespace weft::golden {
namespace {

// What is asked of a kind of weights, besides a perplexity within 1 % of the reference's.
struct Bounds {
  double min_top1, max_mean_kl;
};

constexpr Bounds kQuantized{0.97, 0.01};  // weights of the file, activations of 8 bits
constexpr Bounds kBf16{0.99, 1e-3};       // weights and activations
constexpr Bounds kQ8Cache{0.95, 0.01};    // whatever the weights

struct Param {
  std::string file, goldens;
  Bounds bounds;
  kernels::KvType kv_type;
};

std::string kv_name(kernels::KvType type) { return std::string(kernels::name(type)); }

void PrintTo(const Param& param, std::ostream* out) {
  *out << param.goldens << ", cache " << kv_name(param.kv_type);
}

std::string name_of(const testing::TestParamInfo<Param>& info) {
  return as_test_name(info.param.goldens + "_cache_" + kv_name(info.param.kv_type));
}

std::vector<Param> params() {
  std::vector<Param> list;
  for (const auto kv_type : {kernels::KvType::kBF16, kernels::KvType::kF32, kernels::KvType::kQ8}) {
    list.push_back({"SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2-135m-q4_1", kQuantized, kv_type});
    list.push_back({"SmolLM2-135M-Instruct.BF16.gguf", "smollm2-135m-bf16", kBf16, kv_type});
    list.push_back({"gemma-3-270m.Q4_K_M.gguf", "gemma-3-270m-q4_k_m", kQuantized, kv_type});
  }
  for (Param& param : list)
    if (param.kv_type == kernels::KvType::kQ8) param.bounds = kQ8Cache;
  return list;
}

constexpr int kDepth = 128;  // of our lists where the reference has one

// Each file with the cache type that is the default, the smallest with all of them; `make
// test-full` runs the rest.
bool is_always_run(const Param& param) {
  return param.kv_type == kernels::KvType::kBF16 || param.goldens == "smollm2-135m-q4_1";
}

class RealModels : public testing::TestWithParam<Param> {
 protected:
  void SetUp() override {
    const char* folder = std::getenv("WEFT_TEST_MODELS");
    if (folder == nullptr) GTEST_SKIP() << "WEFT_TEST_MODELS is not set";
    if (!is_always_run(GetParam()) && std::getenv("WEFT_FULL_TESTS") == nullptr)
      GTEST_SKIP() << "WEFT_FULL_TESTS is not set";
    engine::EngineOptions options;
    options.model_path = std::string(folder) + "/" + GetParam().file;
    ASSERT_TRUE(std::filesystem::exists(options.model_path)) << options.model_path;
    options.kv_type = GetParam().kv_type;
    options.max_model_len = 1040;  // the longest window and a little
    engine_ = engine::Engine::load(options);
    goldens_ =
        read_top_file(std::string(WEFT_SOURCE_DIR "/tests/goldens/") + GetParam().goldens + ".bin");
  }

  std::unique_ptr<engine::Engine> engine_;
  TopFile goldens_;
};

TEST_P(RealModels, AgreeWithTheReference) {
  ASSERT_EQ(goldens_.vocab_size, engine_->model().vocab_size);
  Agreement all;
  Perplexity perplexity;
  for (const TopCase& c : goldens_.cases) {
    const auto ours = score(*engine_, c.ids, c.num_positions > 0 ? kDepth : 0);
    if (c.num_positions > 0) {
      const Agreement one = compare_lists(c, ours);
      fmt::print("  {:<24} {:5} positions  top-1 {:6.2f} %  KL {:.5f}\n", c.name, one.num_positions,
                 100 * one.top1(), one.mean_kl());
      all.add(one);
    }
    if ((c.flags & kPerplexity) != 0) add_perplexity(c, ours, perplexity);
  }
  fmt::print(
      "{} with a cache of {}: {} positions, top-1 {:.2f} %, mean KL {:.5f} ({} ids absent), "
      "perplexity {:.4f} ({:.4f}, {:+.3f} %)\n",
      goldens_.model, kv_name(GetParam().kv_type), all.num_positions, 100 * all.top1(),
      all.mean_kl(), all.num_absent, perplexity.ours(), perplexity.reference(),
      100 * perplexity.excess());
  RecordProperty("top1", fmt::format("{:.5f}", all.top1()));
  RecordProperty("mean_kl", fmt::format("{:.6f}", all.mean_kl()));
  RecordProperty("perplexity", fmt::format("{:.4f}", perplexity.ours()));
  EXPECT_GE(all.num_positions, 2000);
  EXPECT_GE(all.top1(), GetParam().bounds.min_top1);
  EXPECT_LE(all.mean_kl(), GetParam().bounds.max_mean_kl);
  EXPECT_LE(std::abs(perplexity.excess()), 0.01);
}

TEST_P(RealModels, SameTokens) {
  if (GetParam().kv_type != kernels::KvType::kBF16) GTEST_SKIP() << "the cache has no part in it";
  int num_cases = 0;
  for (const TopCase& c : goldens_.cases) {
    if (c.text.empty()) continue;
    const std::vector<int32_t> expected(c.ids.begin(), c.ids.begin() + c.num_prompt_tokens);
    EXPECT_EQ(engine_->tokenizer().encode(c.text, (c.flags & kAddedSpecial) != 0,
                                          (c.flags & kParsedSpecial) != 0),
              expected)
        << c.name;
    ++num_cases;
  }
  EXPECT_GE(num_cases, 12);
}

INSTANTIATE_TEST_SUITE_P(Goldens, RealModels, testing::ValuesIn(params()), name_of);

}  // namespace
}  // namespace weft::golden
