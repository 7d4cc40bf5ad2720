// A sequence's bits do not depend on what shares its batch: sequences of random ids answered side
// by side give the hashes that each gives alone, for any split and chunking.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace weft::parity {
namespace {

constexpr int64_t kInput = 50, kOutput = 20;

std::string model_path(const char* name) {
  const char* folder = std::getenv("WEFT_TINY_MODELS");
  return folder == nullptr ? std::string() : std::string(folder) + "/" + name;
}

struct Setting {
  const char* name;
  int tp = 1;
  const char* pp = "";
  int threads = 1;
  int64_t chunk = 512;
  int64_t depth = 0;
  kernels::KvType kv = kernels::KvType::kF32;
  std::optional<kernels::Isa> isa = {};
  engine::Placement placement = engine::Placement::kAuto;
};

std::vector<uint64_t> hashes(const std::string& path, const Setting& setting,
                             const std::vector<uint64_t>& sequences) {
  engine::EngineOptions options;
  options.model_path = path;
  options.topology.tensor_parallel_size = setting.tp;
  options.topology.pipeline_parallel = setting.pp;
  options.threads_per_rank = setting.threads;
  options.placement = setting.placement;
  options.max_num_batched_tokens = setting.chunk;
  options.max_model_len = setting.depth + kInput + kOutput;
  options.max_num_seqs = static_cast<int64_t>(sequences.size());
  options.kv_type = setting.kv;
  options.isa = setting.isa;
  engine::BatchWorkload workload;
  workload.batch_size = static_cast<int64_t>(sequences.size());
  workload.depth = setting.depth;
  workload.input_len = kInput;
  workload.output_len = kOutput;
  workload.hash_logits = true;
  workload.sequences = sequences;
  const engine::BatchTiming timing = engine::Engine::load(options)->run_batch(workload);
  EXPECT_EQ(kOutput - 1, static_cast<int64_t>(timing.step_s.size()));
  return timing.logits_hash;
}

class Batch : public testing::TestWithParam<const char*> {};

TEST_P(Batch, NeighboursDoNotShow) {
  const std::string path = model_path(GetParam());
  if (path.empty()) GTEST_SKIP() << "WEFT_TINY_MODELS is not set";
  if (!std::filesystem::exists(path)) FAIL() << path << " is missing";
  constexpr uint64_t kSequences = 13;
  for (const Setting& setting :
       {Setting{"one rank"}, Setting{.name = "three ranks", .tp = 3, .chunk = 64},
        Setting{.name = "two threads, chunks of 7", .threads = 2, .chunk = 7},
        Setting{.name = "two stages of two ranks", .tp = 2, .pp = "2"},
        Setting{.name = "two ranks of their own, chunks of several sequences",
        .tp = 2,
        .chunk = 67,
        .placement = engine::Placement::kDedicated},
        Setting{.name = "stages of three ranks of their own",
        .tp = 3,
        .pp = "2",
        .threads = 2,
        .chunk = 101,
        .placement = engine::Placement::kDedicated},
        Setting{.name = "AVX2", .isa = kernels::Isa::kAvx2},
        Setting{.name = "deep, BF16 cache", .depth = 40, .kv = kernels::KvType::kBF16},
        Setting{.name = "deep, Q8 cache", .tp = 2, .depth = 40, .kv = kernels::KvType::kQ8}}) {
    SCOPED_TRACE(setting.name);
    if (setting.isa && kernels::table_for(*setting.isa) == nullptr) continue;
    const Setting alone{.name = "alone", .depth = setting.depth, .kv = setting.kv};
    std::vector<uint64_t> expected, sequences;
    for (uint64_t s = 0; s < kSequences; ++s) {
      expected.push_back(hashes(path, alone, {s}).at(0));
      sequences.push_back(s);
    }
    EXPECT_NE(expected[0], expected[1]);
    EXPECT_EQ(expected, hashes(path, setting, sequences));
    const std::vector<uint64_t> some = {11, 2, 7};
    EXPECT_EQ((std::vector<uint64_t>{expected[11], expected[2], expected[7]}),
              hashes(path, setting, some));
  }
}

// More sequences than the head takes rows at once.
TEST_P(Batch, SeventyAreAnsweredAsFew) {
  const std::string path = model_path(GetParam());
  if (path.empty()) GTEST_SKIP() << "WEFT_TINY_MODELS is not set";
  std::vector<uint64_t> many(70);
  std::iota(many.begin(), many.end(), uint64_t{100});
  const std::vector<uint64_t> few = {100, 163, 164, 169};
  const Setting setting{.name = "one rank", .threads = 2};
  const std::vector<uint64_t> found = hashes(path, setting, many);
  EXPECT_EQ((std::vector<uint64_t>{found[0], found[63], found[64], found[69]}),
            hashes(path, setting, few));
}

// Contexts of several spans (kernels::kAttentionSpan), which threads share out where there are more
// of them than tiles.
TEST_P(Batch, SharedContextsDoNotShow) {
  const std::string path = model_path(GetParam());
  if (path.empty()) GTEST_SKIP() << "WEFT_TINY_MODELS is not set";
  constexpr int64_t kDepth = 1300;
  for (const kernels::KvType kv :
       {kernels::KvType::kF32, kernels::KvType::kBF16, kernels::KvType::kQ8}) {
    const std::vector<uint64_t> expected =
        hashes(path, {.name = "alone", .depth = kDepth, .kv = kv}, {5});
    for (Setting setting :
         {Setting{.name = "two threads", .threads = 2},
          Setting{.name = "five threads, chunks of 7", .threads = 5, .chunk = 7},
          Setting{.name = "three ranks of two threads", .tp = 3, .threads = 2},
          Setting{.name = "a pool of five ranks", .tp = 5},
          Setting{.name = "two stages of two threads", .pp = "2", .threads = 2},
          Setting{.name = "AVX2, three threads", .threads = 3, .isa = kernels::Isa::kAvx2}}) {
      SCOPED_TRACE(setting.name);
      if (setting.isa && kernels::table_for(*setting.isa) == nullptr) continue;
      setting.depth = kDepth;
      setting.kv = kv;
      EXPECT_EQ(expected, hashes(path, setting, {5}));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Parity, Batch,
                         testing::Values("llama.Q4_0.gguf", "llama.Q4_K.gguf", "llama.Q6_K.gguf",
                                         "qwen2.Q8_0.gguf", "gemma3.BF16.gguf",
                                         "heads15kv5.Q4_1.gguf"),
                         [](const auto& param_info) {
                           std::string name = param_info.param;
                           for (char& c : name)
                             if (c == '.') c = '_';
                           return name;
                         });

}  // namespace
}  // namespace weft::parity
