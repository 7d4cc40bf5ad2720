#include "cli/commands.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/fake_engine.h"

namespace weft::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TEST(Commands, NoneIsAUsageErrorThatListsThem) {
  Program program;
  EXPECT_EQ(program.run({}), 2);
  EXPECT_THAT(program.out, IsEmpty());
  for (const char* name : {"run", "inspect", "pull"}) EXPECT_THAT(program.err, HasSubstr(name));
}

TEST(Commands, AMistypedOneSuggestsTheNearest) {
  Program program;
  EXPECT_EQ(program.run({"insepct", "m"}), 2);
  EXPECT_THAT(program.err, HasSubstr("did you mean inspect?"));
}

TEST(Commands, HelpGoesToStandardOutput) {
  Program program;
  EXPECT_EQ(program.run({"--help"}), 0);
  EXPECT_THAT(program.out, HasSubstr("exit codes: 1 lines of a file failed, 2 usage, 3 model"));
  EXPECT_EQ(program.run({"help", "run"}), 0);
  const std::string by_help = program.out;
  EXPECT_EQ(program.run({"run", "--help"}), 0);
  EXPECT_EQ(program.out, by_help);
}

TEST(Commands, AGroupOfCommandsListsThem) {
  Program program;
  for (const auto& words :
       {std::vector<std::string>{"bench", "--help"}, {"bench", "-h"}, {"help", "bench"}}) {
    EXPECT_EQ(program.run(words), 0) << words.back() << program.err;
    EXPECT_THAT(program.out, HasSubstr("usage: weft bench COMMAND"));
    for (const char* name : {"  throughput ", "  latency ", "  batch ", "  kernels "})
      EXPECT_THAT(program.out, HasSubstr(name));
    EXPECT_THAT(program.out, Not(HasSubstr("inspect")));
  }
  // As weft without a command: a script that lost a word must not have succeeded.
  EXPECT_EQ(program.run({"bench"}), 2);
  EXPECT_THAT(program.out, IsEmpty());
  EXPECT_THAT(program.err, HasSubstr("usage: weft bench COMMAND"));
  EXPECT_EQ(program.run({"bench", "help", "batch"}), 0);
  EXPECT_THAT(program.out, HasSubstr("usage: weft bench batch"));
  EXPECT_EQ(program.run({"bench", "bacth"}), 2);
  EXPECT_THAT(program.err, HasSubstr("did you mean bench batch?"));
  EXPECT_EQ(program.run({"bench", "--json"}), 2);
}

// What the project promises its users by name must not get lost.
TEST(Commands, RunKnowsEveryPromisedOption) {
  Program program;
  ASSERT_EQ(program.run({"run", "--help"}), 0);
  for (const char* option : {"--tensor-parallel-size, --tp, -tp",
                             "--pipeline-parallel-size, --pp, -pp",
                             "--tp-weights",
                             "--stages",
                             "--threads",
                             "--devices",
                             "--placement",
                             "--max-model-len",
                             "--max-num-batched-tokens",
                             "--block-size",
                             "--kv-cache-dtype",
                             "--temperature",
                             "--seed",
                             "--max-tokens, --n-predict, --predict, -n",
                             "--ignore-eos",
                             "--top-p",
                             "--top-k",
                             "--min-p",
                             "--typical-p",
                             "--repetition-penalty",
                             "--presence-penalty",
                             "--frequency-penalty",
                             "--min-tokens",
                             "--stop-token-ids",
                             "--pp-balance",
                             "--no-chat-template",
                             "--prompt-ids",
                             "--system",
                             "--stop",
                             "--logprobs",
                             "--prompt-logprobs",
                             "--logits-hash",
                             "--stats",
                             "--json",
                             "--quiet",
                             "--config",
                             "--prompt, -p",
                             "WEFT_ISA",
                             "WEFT_TENSOR_PARALLEL_SIZE"}) {
    EXPECT_THAT(program.out, HasSubstr(option));
  }
}

TEST(Commands, NamesOfOtherProgramsMeanWhatTheyMeanThere) {
  Program program;
  const auto loads = [&](std::vector<std::string> words) -> const engine::EngineOptions& {
    words.insert(words.begin(), "run");
    words.insert(words.end(), {"-p", "x", "--quiet"});
    EXPECT_EQ(program.run(words), 0) << words[1] << program.err;
    return program.state.loaded_with;
  };
  EXPECT_TRUE(loads({".", "--enable-prefix-caching", "--dtype", "auto"}).prefix_caching);
  EXPECT_FALSE(loads({".", "--no-enable-prefix-caching"}).prefix_caching);
  EXPECT_FALSE(loads({".", "--no-prefix-caching"}).prefix_caching);
  EXPECT_TRUE(loads({".", "--enable-chunked-prefill"}).chunked_prefill);
  EXPECT_FALSE(loads({".", "--no-enable-chunked-prefill"}).chunked_prefill);
  EXPECT_EQ(loads({".", "-c", "48"}).max_model_len, 48);
  EXPECT_EQ(loads({".", "--ctx-size=48"}).max_model_len, 48);
  EXPECT_EQ(loads({"-m", ".", "-t", "3"}).threads_per_rank, 3);
  EXPECT_EQ(program.state.loaded_with.model_path, loads({"."}).model_path);
  EXPECT_EQ(program.run({"inspect", "-m", "."}), 0) << program.err;
}

TEST(Commands, OptionsWithoutACounterpartSayWhatDecides) {
  struct Missing {
    std::vector<std::string> words;
    const char* hint;
  };
  const Missing cases[] = {{{"--gpu-memory-utilization", "0.9"}, "--kv-cache-memory"},
                           {{"-ngl", "99"}, "--threads"},
                           {{"--dtype", "bfloat16"}, "the model's file decides"},
                           {{"--cache-type-k", "q8_0"}, "--kv-cache-dtype"},
                           {{"--tensor-split", "3,1"}, "--tp-weights"},
                           {{"--flash-attn", "on"}, "leave it out"}};
  Program program;
  for (const char* command : {"serve", "run"}) {
    for (const Missing& missing : cases) {
      std::vector<std::string> words = {command, "."};
      words.insert(words.end(), missing.words.begin(), missing.words.end());
      EXPECT_EQ(program.run(words), 2) << program.err;
      EXPECT_THAT(program.err, AllOf(HasSubstr(missing.words[0]), HasSubstr(missing.hint)));
    }
  }
  EXPECT_EQ(program.state.num_loads, 0);
  EXPECT_EQ(program.run({"bench", "kernels", "-ngl", "9"}), 2);  // loads nothing
  EXPECT_THAT(program.err, Not(HasSubstr("GPU")));
}

TEST(Commands, VersionNamesCompilerAndKernels) {
  Program program;
  EXPECT_EQ(program.run({"--version"}), 0);
  EXPECT_THAT(program.out, HasSubstr("weft 0."));
  EXPECT_THAT(program.out, HasSubstr("compiler"));
  EXPECT_THAT(program.out, HasSubstr("kernels   portable"));
}

TEST(Commands, EveryKindOfErrorHasItsExitCode) {
  const std::vector<std::pair<ErrorKind, int>> kinds = {{ErrorKind::kUsage, 2},
                                                        {ErrorKind::kModel, 3},
                                                        {ErrorKind::kMemory, 4},
                                                        {ErrorKind::kCommunication, 5},
                                                        {ErrorKind::kInternal, 70}};
  for (const auto& [kind, code] : kinds) {
    std::istringstream in;
    std::ostringstream out, err;
    Console console{in, out, err};
    const Environment environment;
    const EngineDoor door{
        [kind](const auto&, const auto&, const auto&) -> std::unique_ptr<engine::Engine> {
          throw Error(kind, "what", "why", "mend");
        },
        {},
        {}};
    EXPECT_EQ(run_program({"run", ".", "-p", "x", "--json"}, {console, environment, door}), code);
    EXPECT_THAT(out.str(), IsEmpty());
    EXPECT_EQ(err.str(), "weft: what\n  because: why\n  to mend: mend\n");
  }
}

TEST(Commands, AStrangeExceptionIsAnInternalError) {
  std::istringstream in;
  std::ostringstream out, err;
  Console console{in, out, err};
  const Environment environment;
  const EngineDoor door{
      {}, [](const auto&) -> engine::Inspection { throw std::runtime_error("surprise"); }, {}};
  EXPECT_EQ(run_program({"inspect", "."}, {console, environment, door}), 70);
  EXPECT_THAT(err.str(), HasSubstr("surprise"));
}

TEST(Commands, MisspeltVariablesWarnAndDoNotFail) {
  Program program;
  program.environment["WEFT_MAX_TOKNES"] = "3";
  EXPECT_EQ(program.run({"run", ".", "-p", "x"}), 0);
  EXPECT_THAT(program.err, HasSubstr("did you mean WEFT_MAX_TOKENS?"));
}

TEST(Commands, VariablesOfOtherCommandsAndOfTheTestsDoNotWarn) {
  Program program;
  program.environment["WEFT_ISA"] = "portable";
  for (const char* name : {"WEFT_PROGRAM", "WEFT_TEST_MODELS", "WEFT_TINY_MODELS",
                           "WEFT_FULL_TESTS", "WEFT_SHAPE", "WEFT_PYTHON"})
    program.environment[name] = "x";
  for (const char* command : {"inspect", "run"}) {
    EXPECT_EQ(program.run({command, "."}), 0);
    EXPECT_THAT(program.err, Not(HasSubstr("warning")));
  }
}

}  // namespace
}  // namespace weft::cli
