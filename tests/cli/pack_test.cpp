#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/fake_engine.h"

namespace weft::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(Pack, TakesTheSplitAndSaysWhereItWent) {
  Program program;
  ASSERT_EQ(program.run({"pack", ".", "--tp", "3", "--pp", "2", "-o", "out", "--force", "-t", "2"}),
            0)
      << program.err;
  EXPECT_EQ(program.out, "tiny.tp2.packed\n");
  EXPECT_THAT(program.err, HasSubstr("packing: 100.0 MB in"));
  EXPECT_THAT(program.err, HasSubstr("packed   tp=2, 2 ranks: panels of 100.0 MB out of 98.4 MB"));
  ASSERT_EQ(program.state.packed.size(), 1u);
  const engine::PackRequest& request = program.state.packed[0];
  EXPECT_EQ(request.engine.model_path, ".");
  EXPECT_EQ(request.engine.topology.tensor_parallel_size, 3);
  EXPECT_EQ(request.engine.topology.pipeline_parallel, "2");
  EXPECT_EQ(request.engine.threads_per_rank, 2);
  EXPECT_EQ(request.folder, "out");
  EXPECT_TRUE(request.replace);
}

TEST(Pack, VerifyReadsAndWritesNothing) {
  Program program;
  ASSERT_EQ(program.run({"pack", ".", "--verify"}), 0) << program.err;
  EXPECT_EQ(program.state.verified, std::vector<std::string>{"."});
  EXPECT_TRUE(program.state.packed.empty());
  EXPECT_EQ(program.out, ".\n");
  EXPECT_THAT(program.err, HasSubstr("verifying: 100.0 MB in"));
  EXPECT_THAT(program.err, HasSubstr("verified 2 ranks: 100.0 MB of panels"));
  for (const char* option : {"--tp", "--pp", "-o"}) {
    EXPECT_EQ(program.run({"pack", ".", "--verify", option, "2"}), 2) << option;
    EXPECT_THAT(program.err, HasSubstr("--verify writes nothing"));
  }
  EXPECT_EQ(program.run({"pack", ".", "--verify", "--force"}), 2);
  EXPECT_EQ(program.state.verified.size(), 1u);
}

TEST(Pack, NothingIsReplacedUnasked) {
  Program program;
  ASSERT_EQ(program.run({"pack", ".", "-q"}), 0) << program.err;
  EXPECT_THAT(program.err, IsEmpty());
  EXPECT_FALSE(program.state.packed.at(0).replace);
  EXPECT_THAT(program.state.packed.at(0).folder, IsEmpty());
  EXPECT_EQ(program.run({"pack"}), 2);
  EXPECT_EQ(program.run({"pack", ".", "-o", ""}), 2);
}

}  // namespace
}  // namespace weft::cli
