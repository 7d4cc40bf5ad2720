#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli/fake_engine.h"

namespace weft::cli {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

TEST(BenchBatch, TimesEverySizeInTurn) {
  Program program;
  ASSERT_EQ(program.run({"bench", "batch", ".", "--batch-size", "1,4", "--input-len", "100",
                         "--output-len", "11", "--depth", "7", "--repeats", "2", "--json"}),
            0)
      << program.err;
  const json found = json::parse(program.out);
  ASSERT_EQ(found["batches"].size(), 2u);
  EXPECT_EQ(found["batches"][1]["batch_size"], 4);
  // The fake takes 0.5 s for prompts and 10 ms for each of the 10 later steps.
  EXPECT_DOUBLE_EQ(found["batches"][1]["prompt_tokens_per_s"], 4 * 100 / 0.5);
  EXPECT_NEAR(found["batches"][1]["generation_tokens_per_s"], 4 / 0.01, 1e-6);
  EXPECT_NEAR(found["batches"][0]["step_ms"], 10.0, 1e-9);
  EXPECT_NEAR(found["batches"][0]["weights_gb_per_s"], 10.0, 1e-9);

  const auto& runs = program.state.workloads;  // one of each size to warm up, then twice in turn
  ASSERT_EQ(runs.size(), 6u);
  EXPECT_EQ(runs[0].output_len, 2);
  EXPECT_EQ(runs[2].batch_size, 1);
  EXPECT_EQ(runs[3].batch_size, 4);
  EXPECT_EQ(runs[5].batch_size, 4);
  EXPECT_EQ(runs[5].depth, 7);
  EXPECT_EQ(program.state.loaded_with.max_num_seqs, 4);
  EXPECT_EQ(program.state.loaded_with.max_model_len, 7 + 100 + 11);
  EXPECT_THAT(program.err, HasSubstr("measuring: 6 in "));
}

TEST(BenchBatch, RefusesSizesThatAreNone) {
  Program program;
  for (const char* sizes : {"", "0", "1,,2", "4x", "5000", "-1"}) {
    EXPECT_EQ(program.run({"bench", "batch", ".", "--batch-size", sizes}), 2) << sizes;
    EXPECT_TRUE(program.state.workloads.empty());
  }
  EXPECT_EQ(program.run({"bench"}), 2);
  EXPECT_EQ(program.run({"bench", "btach"}), 2);
  EXPECT_THAT(program.err, HasSubstr("did you mean bench batch?"));
}

TEST(BenchKernels, MeasuresAgainstItsOwnBounds) {
  Program program;
  ASSERT_EQ(program.run({"bench", "kernels", "--shape", "smollm2-135m", "--types", "Q4_0",
                         "--tokens", "1", "--depth", "64", "--threads", "1", "--json"}),
            0)
      << program.err;
  const json found = json::parse(program.out);
  EXPECT_GT(found["read_gb_per_s"], 0.0);
  EXPECT_GT(found["int8_gops"], 0.0);
  ASSERT_EQ(found["linears"].size(), 1u);
  const json& linear = found["linears"][0];
  EXPECT_EQ(linear["type"], "Q4_0");
  EXPECT_GT(linear["row_gops"], 0.0);
  EXPECT_LT(linear["column_gops"], linear["peak_gops"]);
  EXPECT_EQ(found["attention"].size(), 6u);  // three cache types, one token and many
  // The bounds, a linear and the attention; standard output is the JSON alone.
  EXPECT_THAT(program.err, HasSubstr("measuring: 8 in "));
  EXPECT_EQ(std::count(program.out.begin(), program.out.end(), '\n'), 1);
}

TEST(BenchKernels, RefusesUnknownTypes) {
  Program program;
  EXPECT_EQ(program.run({"bench", "kernels", "--types", "Q4_9"}), 2);
  EXPECT_THAT(program.err, HasSubstr("no weight type is called 'Q4_9'"));
}

}  // namespace
}  // namespace weft::cli
