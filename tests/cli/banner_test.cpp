#include "cli/banner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/fake_engine.h"

namespace weft::cli {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

TEST(Banner, SaysWhatWasLoadedAndWhoHoldsWhat) {
  FakeState state;
  const std::string banner = joined(banner_lines(FakeEngine(state), {}));
  for (const char* part :
       {"Tiny: llama, Q4_1, 134.5 M parameters, 98.4 MB", "30 layers", "9 heads and 3 KV heads",
        "tp=2: 2 ranks of 1 thread each", "1.11 times the mean", "9876 tokens fit (bf16)",
        "617 blocks; 4 requests of 2048 tokens, the longest", "kernels  portable",
        "in 0.50 s; weights repacked in 0.25 s, 0.39 GB/s"}) {
    EXPECT_THAT(banner, HasSubstr(part));
  }
  EXPECT_THAT(banner, HasSubstr("0-29"));
  EXPECT_THAT(banner, HasSubstr("50.0 MB"));
}

TEST(Banner, NeverExceedsItsLines) {
  FakeState state;
  const engine::RankShare share = state.split.ranks[0];
  state.split.ranks.clear();
  for (int rank = 0; rank < 64; ++rank) {
    state.split.ranks.push_back(share);
    state.split.ranks.back().rank = rank;
    state.split.ranks.back().weight_bytes += rank * 1'000'000;
    state.split.asked_and_got.push_back("rank: asked 2 %, got 1 %");
    state.split.warnings.push_back("rank is idle");
  }
  const std::vector<std::string> lines = banner_lines(FakeEngine(state), {});
  EXPECT_LE(lines.size(), kMaxBannerLines);
  EXPECT_THAT(lines, Contains(HasSubstr("and 54 more ranks")));
  EXPECT_THAT(lines, Contains(HasSubstr("and 61 more warnings")));
  state.split.draft_ranks.assign(2, share);
  state.split.draft_model = "Tinier";
  const std::vector<std::string> drafted = banner_lines(FakeEngine(state), {});
  EXPECT_LE(drafted.size(), kMaxBannerLines);
  EXPECT_THAT(drafted, Contains(HasSubstr("Tinier guesses tokens ahead, on 2 ranks: weights")));
}

TEST(Banner, SaysWhatGivesUpTheBits) {
  FakeState state;
  EXPECT_THAT(joined(banner_lines(FakeEngine(state), {})), Not(HasSubstr("rounded")));
  state.split.rounded_sums = "q8";
  for (int process = 0; process < 9; ++process)
    state.split.processes.push_back({"host", "avx512", {process, process + 1}});
  const std::vector<std::string> lines = banner_lines(FakeEngine(state), {});
  EXPECT_LE(lines.size(), kMaxBannerLines);
  EXPECT_THAT(lines, Contains(HasSubstr("sums     rounded to q8 between processes")));
}

TEST(Banner, EqualNeighboursShareARow) {
  FakeState state;
  const engine::RankShare share = state.split.ranks[0];
  state.split.ranks.assign(6, share);
  for (int rank = 0; rank < 6; ++rank) state.split.ranks[static_cast<size_t>(rank)].rank = rank;
  state.split.ranks[3].heads = "4-5";
  const std::vector<std::string> lines = rank_lines(state.split.ranks, 10, false);
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_THAT(lines[1], AllOf(HasSubstr("0-2"), HasSubstr("5")));
  EXPECT_THAT(lines[2], AllOf(HasSubstr("   3 "), HasSubstr("4-5")));
  EXPECT_THAT(lines[3], HasSubstr("4-5"));
}

TEST(Banner, OneOfAThingIsNoPlural) {
  FakeState state;
  state.model.num_layers = state.model.num_kv_heads = state.model.num_heads = 1;
  EXPECT_THAT(shape_line(state.model),
              HasSubstr("1 layer, hidden 576, 1 head and 1 KV head of 64"));
  state.split.ranks.assign(2, state.split.ranks[0]);
  state.split.ranks[1].heads = "4";
  EXPECT_EQ(rank_lines(state.split.ranks, 1, false).back(),
            "  ... and 1 more rank (weft inspect shows them all)");
}

TEST(Inspect, PrintsModelTypesAndRanks) {
  Program program;
  EXPECT_EQ(program.run({"inspect", ".", "--tp", "2"}), 0);
  for (const char* part : {"Tiny: llama", "tokenizer  bytes", "Q4_1      210", "tp=2", "KV/token",
                           "all-reduce 553.0 kB a token"}) {
    EXPECT_THAT(program.out, HasSubstr(part));
  }
  EXPECT_THAT(program.out, Not(HasSubstr("token_embd")));
  EXPECT_EQ(program.run({"inspect", ".", "--tensors"}), 0);
  EXPECT_THAT(program.out, HasSubstr("token_embd.weight"));
}

TEST(Inspect, AContextShowsItsCache) {
  Program program;
  EXPECT_EQ(program.run({"inspect", ".", "--max-model-len", "1000"}), 0);
  // 15360 bytes a token, in blocks of 16: 1008 tokens.
  EXPECT_THAT(program.out,
              AllOf(HasSubstr("KV cache"), HasSubstr("15.5 MB"), HasSubstr("32.8 kB"),
                    HasSubstr("cache      of 1000 tokens"), Not(HasSubstr("KV/token"))));
  EXPECT_EQ(program.run({"inspect", ".", "--max-model-len", "1000", "--json"}), 0);
  EXPECT_THAT(program.out, HasSubstr("\"max_model_len\":1000"));
  EXPECT_THAT(program.out, HasSubstr("\"kv_bytes\":15482880"));
  EXPECT_EQ(program.run({"inspect", ".", "--max-model-len", "8193"}), 2);
  EXPECT_THAT(program.err, AllOf(HasSubstr("8193"), HasSubstr("context of 8192 tokens")));
}

TEST(Inspect, OffersNoOptionThatItWouldIgnore) {
  for (const char* option : {"--devices", "--threads", "--placement", "--block-size",
                             "--kv-cache-memory-bytes", "--max-num-batched-tokens"}) {
    Program program;
    EXPECT_EQ(program.run({"inspect", ".", option, "1"}), 2) << option;
    EXPECT_THAT(program.err, AllOf(HasSubstr("weft inspect has no option " + std::string(option)),
                                   HasSubstr("another command has it")));
    program.environment["WEFT_DEVICES"] = "0";  // set for `run`, no mistake here
    EXPECT_EQ(program.run({"inspect", "."}), 0);
    EXPECT_EQ(program.err, "");
  }
}

TEST(Inspect, JsonHoldsTheSameFigures) {
  Program program;
  EXPECT_EQ(program.run({"inspect", ".", "--json", "--tensors"}), 0);
  EXPECT_THAT(program.out, HasSubstr("\"weight_bytes\":50000000"));
  EXPECT_THAT(program.out, HasSubstr("\"reduce_bytes_per_token\":276480"));
  EXPECT_THAT(program.out, HasSubstr("\"shape\":\"49152 x 576\""));
  EXPECT_EQ(std::count(program.out.begin(), program.out.end(), '\n'), 1);
}

}  // namespace
}  // namespace weft::cli
