// A packed model gives the bits of the model that it was packed from, for any split, format and
// instruction set: the answer of the packed folder, its source gone, against that of the source on
// one rank.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "engine/packing.h"
#include "parity/cases.h"

namespace weft::parity {
namespace {

namespace fs = std::filesystem;

struct Param {
  const char* model;  // a file, or a folder with safetensors
  const char* words;
};

void PrintTo(const Param& param, std::ostream* out) { *out << param.model << ", " << param.words; }

class Packed : public testing::TestWithParam<Param> {
 protected:
  void SetUp() override {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    std::string name = fmt::format("weft_packed_{}_{}", info->name(), ::getpid());
    for (char& c : name)
      if (c == '/') c = '_';
    folder_ = fs::path(testing::TempDir()) / name;
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path folder_;
};

TEST_P(Packed, SameBits) {
  const char* models = std::getenv("WEFT_TINY_MODELS");
  if (models == nullptr) GTEST_SKIP() << "WEFT_TINY_MODELS is not set";
  const fs::path source = folder_ / GetParam().model;
  fs::copy(fs::path(models) / GetParam().model, source, fs::copy_options::recursive);
  Case c = parse_case(GetParam().words, source);
  if (c.options.isa && kernels::table_for(*c.options.isa) == nullptr)
    GTEST_SKIP() << "this processor cannot run " << GetParam().words;
  Case plain = parse_case("tp1 chunk512", source);
  plain.options.kv_type = c.options.kv_type;
  const Answer expected = answer(*engine::Engine::load(plain.options), plain.work);

  engine::PackRequest request;
  request.engine = c.options;
  request.folder = folder_ / "packed";
  const engine::PackReport report = engine::pack(request);
  fs::remove_all(source);
  c.options.model_path = report.folder;
  c.options.topology = {};  // its own
  auto engine = engine::Engine::load(c.options);
  EXPECT_EQ(static_cast<int>(engine->split().ranks.size()), report.num_ranks);
  const Answer got = answer(*engine, c.work);
  EXPECT_EQ(got.logits_hash, expected.logits_hash);
  EXPECT_EQ(got.token_ids, expected.token_ids);
  EXPECT_EQ(got.logprob_bits, expected.logprob_bits);
  EXPECT_EQ(got.text, expected.text);
}

// Every format of panels; heads and slices that begin inside a block (head40, ffn1000), tied
// embeddings on one stage and on two, biases, windows, idle ranks.
const Param kParams[] = {{"llama.Q4_0.gguf", "tp1 threads2"},
                         {"llama.Q4_0.gguf", "tp3 dedicated chunk7"},
                         {"llama.Q4_1.gguf", "weights=3,1 pp2"},
                         {"llama.Q8_0.gguf", "tp3 pp2 isa=avx2"},
                         {"llama.Q4_K.gguf", "tp2 pp2 dedicated"},
                         {"llama.Q6_K.gguf", "tp3 isa=portable"},
                         {"llama-attn-bias.Q4_1.gguf", "tp3"},
                         {"llama-mlp-bias.BF16.gguf", "weights=2,1,1"},
                         {"llama-tied.F16.gguf", "pp2 threads2"},
                         {"llama-tied.BF16", "tp3"},
                         {"llama-tied.F16", "tp2 pp2 chunk16"},
                         {"ffn1000.F32", "weights=5,3,2 dedicated"},
                         {"head40.Q2_K.gguf", "tp3"},
                         {"head40.Q3_K.gguf", "tp3 pp2"},
                         {"head40.Q5_0.gguf", "tp3"},
                         {"head40.Q5_1.gguf", "weights=1,3"},
                         {"head40.Q5_K.gguf", "tp2 pp2"},
                         {"head40.IQ4_NL.gguf", "tp3"},
                         {"head40.IQ4_XS.gguf", "tp5 isa=avx2"},
                         {"head40.MXFP4.gguf", "tp3"},
                         {"ffn1000.Q4_K.gguf", "tp7 chunk64"},
                         {"gemma2.BF16", "stages=1@2,3@1 kvbf16"},
                         {"gemma3.Q4_K_M.gguf", "tp3 pp2 kvf16"},
                         {"heads1.Q4_0.gguf", "tp4 dedicated"},
                         {"heads9kv3.Q4_1.gguf", "weights=2,1,1 chunk16"},
                         {"layers29.Q8_0.gguf", "pp=13,13,3"}};

INSTANTIATE_TEST_SUITE_P(Parity, Packed, testing::ValuesIn(kParams), [](const auto& param_info) {
  std::string name = fmt::format("{}_{}", param_info.param.model, param_info.param.words);
  for (char& c : name)
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  return name;
});

}  // namespace
}  // namespace weft::parity
