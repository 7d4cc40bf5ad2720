// Ranks that run on their own share the tokens of a step out between linears, where there are
// enough (parallel/sequence.h). Which of them treats a token shows in no bit: chunks that no number
// of ranks divides, chunks at and under the fewest tokens, a last chunk of a token or two, ranks
// that have no head and lay rows out for the others, stages of different width.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/spanning_engine.h"
#include "parity/cases.h"

namespace weft::parity {
namespace {

struct Param {
  const char* name;
  const char* model;
  std::vector<const char*> cases;  // all of them dedicated
};

void PrintTo(const Param& param, std::ostream* out) { *out << param.model; }

class TokenShares : public testing::TestWithParam<Param> {};

Answer answer_of(const Case& c) {
  if (c.num_processes == 1) return answer(*engine::Engine::load(c.options), c.work);
  engine::SpanningEngine engine(c.options, c.num_processes, c.job_options);
  return answer(*engine, c.work);
}

TEST_P(TokenShares, SameBits) {
  const char* folder = std::getenv("WEFT_TINY_MODELS");
  if (folder == nullptr) GTEST_SKIP() << "WEFT_TINY_MODELS is not set";
  const std::string path = std::string(folder) + "/" + GetParam().model;
  ASSERT_TRUE(std::filesystem::exists(path)) << path;
  const Case plain = parse_case("tp1 chunk512", path);
  const Answer expected = answer(*engine::Engine::load(plain.options), plain.work);
  for (const char* words : GetParam().cases) {
    SCOPED_TRACE(words);
    const Case c = parse_case(std::string(words) + " dedicated", path);
    const Answer got = answer_of(c);
    EXPECT_EQ(got.logits_hash, expected.logits_hash);
    EXPECT_EQ(got.token_ids, expected.token_ids);
    EXPECT_EQ(got.logprob_bits, expected.logprob_bits);
  }
}

// 300 tokens of prompt: chunks of 23 leave one, of 37 four, of 149 two.
const Param kParams[] = {
    {"Int8", "llama.Q4_0.gguf", {"tp2 chunk23", "tp3 chunk37", "tp5 chunk149", "tp5 isa=avx2"}},
    {"Fewest", "llama.F32.gguf", {"tp5 chunk15", "tp5 chunk14", "tp2 chunk6", "tp2 chunk5"}},
    {"BF16PostNorms", "gemma3.BF16.gguf", {"tp2 chunk64 threads2", "tp3 pp2 chunk23"}},
    {"IdleRanks", "heads1.Q4_0.gguf", {"tp3 chunk31", "tp5 chunk16 threads2"}},
    {"Widths", "heads15kv5.Q4_1.gguf", {"stages=1@2,2@3 chunk29", "stages=1@5,1@2,1@3 chunk149"}},
    {"Biases", "llama-attn-bias.Q8_0.gguf", {"stages=2@3,2@2 chunk17 threads2"}},
    {"Uneven", "heads25kv5.Q6_K.gguf", {"weights=3,2,1,1 chunk41", "weights=1,3 chunk299"}},
    {"TwoFormats", "gemma3.Q4_K_M.gguf", {"tp2 chunk23", "tp3"}},
    // Sums leave in pieces (kTokensPerPiece): the whole prompt in one step, several pieces of each
    // process's tokens, the last one short; more ranks than processes; one piece; ranks without a
    // head.
    {"Pieces",
     "llama.Q4_0.gguf",
     {"over2 apart tp2 chunk300", "over2 apart tp3 chunk300 threads2"}},
    {"PiecesOfThree",
     "gemma3.Q4_K_M.gguf",
     {"over3 apart tp5 chunk299", "over3 apart tp3 chunk40"}},
    {"PiecesOfIdleRanks", "heads1.Q4_0.gguf", {"over2 apart tp3 chunk300"}},
};

INSTANTIATE_TEST_SUITE_P(Parity, TokenShares, testing::ValuesIn(kParams),
                         [](const auto& param_info) { return std::string(param_info.param.name); });

}  // namespace
}  // namespace weft::parity
