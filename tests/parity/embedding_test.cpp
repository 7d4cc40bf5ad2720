// The vector of a prompt has the same bits for any split, chunks, batch and cache: alone and beside
// answers, and again once its beginning is cached.
#include <gtest/gtest.h>

#include <bit>
#include <cstdlib>
#include <map>
#include <ostream>
#include <string>
#include <vector>

#include "parity/cases.h"

namespace weft::parity {
namespace {

using engine::Pooling;
using engine::Request;

using Bits = std::vector<uint32_t>;
using Vectors = std::map<std::string, Bits>;

Request request_of(int64_t length, Pooling pooling, int64_t vocab_size) {
  Request request;
  request.prompt_ids = prompt_ids(length, vocab_size);
  request.pooling = pooling;
  return request;
}

Request answer_of(int64_t length, int64_t vocab_size) {
  Request request;
  request.prompt_ids = prompt_ids(length, vocab_size);
  request.prompt_ids.front() = 3;  // no prefix of the others
  request.sampling.max_tokens = 30;
  request.sampling.ignore_eos = true;
  return request;
}

// All vectors, asked for at once; `answers` are generated beside them.
Vectors vectors_of(engine::Engine& engine, bool answers) {
  const int64_t vocab_size = engine.model().vocab_size;
  std::map<uint64_t, std::string> names;
  if (answers)
    for (const int64_t length : {20, 90, 40}) engine.submit(answer_of(length, vocab_size));
  for (const int64_t length : {1, 37, 150, 300})
    for (const Pooling pooling : {Pooling::kMean, Pooling::kLast})
      names[engine.submit(request_of(length, pooling, vocab_size))] =
          std::to_string(length) + (pooling == Pooling::kMean ? " mean" : " last");
  Vectors vectors;
  const engine::OnEvent on_event = [&](const engine::RequestEvent& event) {
    const auto found = names.find(event.request.id);
    if (found == names.end()) return;
    EXPECT_FALSE(event.request.error);
    EXPECT_TRUE(event.request.ended);
    EXPECT_TRUE(event.request.choices.front().token_ids.empty());
    Bits& bits = vectors[found->second];
    EXPECT_TRUE(bits.empty()) << "told twice";
    for (const float x : event.request.embedding) bits.push_back(std::bit_cast<uint32_t>(x));
    EXPECT_EQ(static_cast<int64_t>(bits.size()), engine.model().hidden_size);
  };
  while (engine.step(on_event)) {
  }
  EXPECT_EQ(vectors.size(), names.size());
  return vectors;
}

struct Param {
  std::string file, words;
};
void PrintTo(const Param& param, std::ostream* out) { *out << param.file << ", " << param.words; }

// One rank, one vector at a time, whole prompts, nothing cached.
const Vectors& reference(const std::string& path) {
  static std::map<std::string, Vectors> known;
  const auto [place, is_new] = known.try_emplace(path);
  if (!is_new) return place->second;
  const Case plain = parse_case("tp1 chunk512 noprefix seqs1", path);
  const auto engine = engine::Engine::load(plain.options);
  return place->second = vectors_of(*engine, false);
}

class Embedding : public testing::TestWithParam<Param> {};

TEST_P(Embedding, SameBits) {
  const char* folder = std::getenv("WEFT_TINY_MODELS");
  if (folder == nullptr) GTEST_SKIP() << "WEFT_TINY_MODELS is not set";
  const std::string path = std::string(folder) + "/" + GetParam().file;
  const Case c = parse_case(GetParam().words, path);
  if (c.options.isa && kernels::table_for(*c.options.isa) == nullptr)
    GTEST_SKIP() << "this processor cannot run " << GetParam().words;
  const Vectors& expected = reference(path);
  const auto engine = engine::Engine::load(c.options);
  EXPECT_EQ(vectors_of(*engine, true), expected);
  EXPECT_EQ(vectors_of(*engine, false), expected);  // from what is cached by now
  // Blocks that were exchanged for equal ones are given back by the next plan.
  engine->submit(answer_of(60, engine->model().vocab_size));
  while (engine->step({})) {
  }
  const engine::EngineStats stats = engine->stats();
  EXPECT_EQ(stats.num_free_blocks + stats.num_idle_blocks, stats.num_blocks);
  if (c.options.prefix_caching) {
    EXPECT_GT(stats.cached_prompt_tokens, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Parity, Embedding,
                         testing::Values(Param{"llama.Q4_K.gguf", "tp3 dedicated chunk7"},
                                         Param{"llama.Q4_K.gguf", "pp2 tp2 chunk64 threads2"},
                                         Param{"llama.Q4_K.gguf",
                                               "tp5 pooled cache400 chunk48"},  // sent back, again
                                         Param{"llama.Q4_K.gguf", "tp2 isa=avx2 guess4 noprefix"},
                                         Param{"gemma3.Q8_0.gguf", "pp2 dedicated chunk16"},
                                         Param{"gemma3.Q8_0.gguf", "weights=2,1 unchunked"},
                                         Param{"heads9kv3.Q4_1.gguf", "tp4 pp2 chunk31 micro2"},
                                         Param{"heads9kv3.Q4_1.gguf", "tp1 chunk1 prefix"}),
                         [](const testing::TestParamInfo<Param>& tested) {
                           std::string name = tested.param.file + "_" + tested.param.words;
                           for (char& c : name)
                             if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
                           return name;
                         });

}  // namespace
}  // namespace weft::parity
