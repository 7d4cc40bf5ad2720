#include "base/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <limits>

#include "base/did_you_mean.h"
#include "base/error.h"
#include "base/option_values.h"

namespace weft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// One option of every kind, and what a test reads after parsing.
struct Sample {
  int tp = 1;
  int64_t tokens = 512;
  uint64_t seed = 0;
  float temperature = 0.0f;
  bool quiet = false;
  std::string kind = "bf16", pp, model;
  std::optional<std::string> prompt;
  std::vector<std::string> stop;
  OptionSet options{"run", "Answer a prompt"};
  std::vector<std::string> warnings, notes;

  Sample() {
    options.positional("MODEL", &model, "a file");
    options.group("Splitting");
    options.add("--tensor-parallel-size,--tp,-tp", &tp, {"N", "ranks"}, 1, 64);
    options.add("--pipeline-parallel-size,--pp,-pp", &pp, {"N|LIST", "stages"});
    options.group("Generation");
    options.add("--prompt,-p", &prompt, {"TEXT", "the prompt"});
    options.add("--max-tokens,-n", &tokens, {"N", "tokens"}, 1);
    options.add("--seed", &seed, {"N", "seed"});
    options.add("--temperature", &temperature, {"T", "heat"}, 0.0f, 100.0f);
    options.add("--stop", &stop, {.unit = "TEXT", .help = "stop string", .may_be_empty = false});
    options.add("--kv-cache-dtype", &kind, {"TYPE", "cache", "", {"bf16", "f32"}});
    options.add("--quiet,-q", &quiet, {"", "say less"});
    options.exclude("--tensor-parallel-size", "--pipeline-parallel-size");
    options.exclude("--seed", "--temperature", [this] { return seed != 0 && temperature == 0.0f; });
    options.environment_only("WEFT_ISA", "kernels");
    options.accept_keys({"port"}, {"serve"});
    options.accept_variables({"WEFT_TEST_MODELS"});
  }

  Sample& parse(std::vector<std::string> arguments, Environment environment = {}) {
    const OptionSet::Outcome outcome = options.parse(arguments, environment);
    warnings = outcome.warnings;
    notes = outcome.notes;
    return *this;
  }
};

// The whole message of the usage error that parsing ends with.
std::string failure(std::vector<std::string> arguments, Environment environment = {}) {
  try {
    Sample().parse(std::move(arguments), std::move(environment));
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_code(), 2);
    return error.what();
  }
  return "no error";
}

class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& text) {
    static int count = 0;
    path_ = testing::TempDir() + "weft_options_" + std::to_string(getpid()) + "_" +
            std::to_string(count++) + ".toml";
    std::ofstream(path_) << text;
  }
  ~TemporaryFile() { std::remove(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST(Options, DefaultsStayWhereNothingIsGiven) {
  Sample sample;
  sample.parse({"model.gguf"});
  EXPECT_EQ(sample.model, "model.gguf");
  EXPECT_EQ(sample.tp, 1);
  EXPECT_EQ(sample.kind, "bf16");
  EXPECT_FALSE(sample.prompt.has_value());
  EXPECT_EQ(sample.options.origin("--tensor-parallel-size"), Origin::kDefault);
}

TEST(Options, EveryNameOfAnOptionWorks) {
  const std::vector<std::vector<std::string>> spellings = {{"--tensor-parallel-size", "3"},
                                                           {"--tensor-parallel-size=3"},
                                                           {"--tp", "3"},
                                                           {"--tp=3"},
                                                           {"-tp", "3"},
                                                           {"-tp=3"},
                                                           {"-tp3"}};
  for (std::vector<std::string> arguments : spellings) {
    arguments.push_back("m");
    Sample sample;
    sample.parse(arguments);
    EXPECT_EQ(sample.tp, 3) << arguments[0];
    EXPECT_EQ(sample.model, "m");
  }
}

TEST(Options, ShortNamesOfOneAndTwoLettersLiveTogether) {
  Sample sample;
  sample.parse({"-p", "hello", "m", "-pp", "13,13,4", "-n5"});
  EXPECT_EQ(sample.prompt, "hello");
  EXPECT_EQ(sample.pp, "13,13,4");
  EXPECT_EQ(sample.tokens, 5);
}

TEST(Options, AValueThatLooksLikeAShortNameIsAValue) {
  Sample sample;
  sample.parse({"m", "-p", "-tp", "--stop", "-pp3", "--stop", "--"});
  EXPECT_EQ(sample.prompt, "-tp");
  EXPECT_THAT(sample.stop, ElementsAre("-pp3", "--"));
  EXPECT_EQ(sample.tp, 1);
}

TEST(Options, WordsAfterTwoDashesAreNotOptions) {
  Sample sample;
  sample.parse({"--tp", "2", "--", "-tp"});
  EXPECT_EQ(sample.model, "-tp");
  EXPECT_EQ(sample.tp, 2);
}

TEST(Options, TheLastOfARepeatedOptionWinsAndListsCollect) {
  Sample sample;
  sample.parse({"m", "--tp", "2", "-tp", "5", "--stop", "a", "--stop", "b,c"});
  EXPECT_EQ(sample.tp, 5);
  EXPECT_THAT(sample.stop, ElementsAre("a", "b,c"));
}

TEST(Options, SwitchesTakeAnExplicitValue) {
  EXPECT_TRUE(Sample().parse({"m", "--quiet"}).quiet);
  EXPECT_FALSE(Sample().parse({"m", "--quiet=false"}, {{"WEFT_QUIET", "1"}}).quiet);
  EXPECT_TRUE(Sample().parse({"m"}, {{"WEFT_QUIET", "on"}}).quiet);
}

TEST(Options, FlagBeforeEnvironmentBeforeFileBeforeDefault) {
  const TemporaryFile file("tensor-parallel-size = 4\nmax_tokens = 40\nseed = 9\n");
  const Environment environment = {
      {"WEFT_TENSOR_PARALLEL_SIZE", "3"}, {"WEFT_MAX_TOKENS", "30"}, {"WEFT_CONFIG", file.path()}};
  Sample sample;
  sample.parse({"m", "--tp", "2"}, environment);
  EXPECT_EQ(sample.tp, 2);
  EXPECT_EQ(sample.tokens, 30);
  EXPECT_EQ(sample.seed, 9u);
  EXPECT_EQ(sample.options.origin("--tensor-parallel-size"), Origin::kFlag);
  EXPECT_EQ(sample.options.origin("--max-tokens"), Origin::kEnvironment);
  EXPECT_EQ(sample.options.origin("--seed"), Origin::kFile);
  EXPECT_EQ(sample.options.origin("--temperature"), Origin::kDefault);
}

TEST(Options, AFlagThatRepeatsTheDefaultStillWins) {
  EXPECT_EQ(Sample().parse({"m", "--tp", "1"}, {{"WEFT_TP", "3"}}).tp, 1);
}

TEST(Options, AliasesWorkInEnvironmentAndFile) {
  EXPECT_EQ(Sample().parse({"m"}, {{"WEFT_TP", "7"}}).tp, 7);
  const TemporaryFile file("tp = 6\n");
  EXPECT_EQ(Sample().parse({"m", "--config", file.path()}).tp, 6);
}

TEST(Options, AnEmptyVariableIsNoVariable) {
  EXPECT_EQ(Sample().parse({"m"}, {{"WEFT_TP", ""}}).tp, 1);
}

TEST(Options, FileTablesHoldForOneCommand) {
  const TemporaryFile file(
      "tp = 2\nport = 80\n[run]\ntp = 3\npp = [13, 13, 4]\nstop = [\"a\", \"b\"]\n[serve]\ntp = "
      "9\n");
  Sample sample;
  sample.parse({"m", "--config", file.path()});
  EXPECT_EQ(sample.tp, 3);
  EXPECT_EQ(sample.pp, "13,13,4");
  EXPECT_THAT(sample.stop, ElementsAre("a", "b"));
}

TEST(Options, TheUsualConfigFileIsReadWhereItExists) {
  const std::string folder = testing::TempDir() + "weft_xdg_" + std::to_string(getpid());
  std::filesystem::create_directories(folder + "/weft");
  std::ofstream(folder + "/weft/config.toml") << "tp = 5\n";
  EXPECT_EQ(Sample().parse({"m"}, {{"XDG_CONFIG_HOME", folder}}).tp, 5);
  const TemporaryFile other("seed = 1\n");
  EXPECT_EQ(Sample().parse({"m", "--config", other.path()}, {{"XDG_CONFIG_HOME", folder}}).tp, 1);
  std::filesystem::remove_all(folder);
  EXPECT_EQ(Sample().parse({"m"}, {{"XDG_CONFIG_HOME", folder}}).tp, 1);
}

TEST(Options, FileMistakesNameFileLineAndKey) {
  const TemporaryFile unknown("seed = 1\ntensor-paralel-size = 2\n");
  EXPECT_THAT(failure({"m", "--config", unknown.path()}),
              AllOf(HasSubstr(unknown.path() + ", line 2"), HasSubstr("tensor-paralel-size"),
                    HasSubstr("did you mean tensor-parallel-size?")));
  const TemporaryFile range("\n\ntp = 99\n");
  EXPECT_THAT(failure({"m", "--config", range.path()}),
              AllOf(HasSubstr("line 3"), HasSubstr("'99'"), HasSubstr("from 1 to 64")));
  const TemporaryFile broken("tp = = 2\n");
  EXPECT_THAT(failure({"m", "--config", broken.path()}), HasSubstr("line 1: not valid TOML"));
  const TemporaryFile table("[rnu]\ntp = 2\n");
  EXPECT_THAT(failure({"m", "--config", table.path()}), HasSubstr("unknown table [rnu]"));
  EXPECT_THAT(failure({"m", "--config", "/nowhere.toml"}), HasSubstr("/nowhere.toml"));
}

TEST(Options, RangesNameOptionValueAndLimits) {
  EXPECT_THAT(failure({"m", "--tp", "0"}),
              AllOf(HasSubstr("--tensor-parallel-size is '0'"), HasSubstr("from 1 to 64")));
  EXPECT_THAT(failure({"m", "--tp", "65"}), HasSubstr("from 1 to 64"));
  EXPECT_THAT(failure({"m"}, {{"WEFT_TP", "x"}}),
              AllOf(HasSubstr("'x'"), HasSubstr("from WEFT_TP"), HasSubstr("from 1 to 64")));
  EXPECT_THAT(failure({"m", "-n", "0"}), HasSubstr("at least 1"));
  EXPECT_THAT(failure({"m", "--temperature", "-1"}), HasSubstr("a number from 0 to 100"));
  EXPECT_THAT(failure({"m", "--temperature", "nan"}), HasSubstr("a number from 0 to 100"));
  EXPECT_THAT(failure({"m", "--seed", "-1"}), HasSubstr("at least 0, below 2^64"));
  EXPECT_THAT(failure({"m", "--kv-cache-dtype", "bf61"}),
              AllOf(HasSubstr("one of bf16, f32"), HasSubstr("did you mean bf16?")));
  EXPECT_THAT(failure({"m"}, {{"WEFT_QUIET", "maybe"}}), HasSubstr("true or false"));
}

TEST(Options, UnknownOptionsSuggestTheNearest) {
  EXPECT_THAT(failure({"m", "--tensor-paralel-size", "3"}),
              AllOf(HasSubstr("unknown option --tensor-paralel-size"),
                    HasSubstr("did you mean --tensor-parallel-size?")));
  EXPECT_THAT(failure({"m", "--max-token=3"}), HasSubstr("did you mean --max-tokens?"));
  EXPECT_THAT(failure({"m", "--tensor"}), HasSubstr("did you mean --tensor-parallel-size?"));
  EXPECT_THAT(failure({"m", "--zebra"}), Not(HasSubstr("did you mean")));
  EXPECT_THAT(failure({"m", "--port", "80"}),
              AllOf(HasSubstr("weft run has no option --port"), HasSubstr("another command")));
}

TEST(Options, AFolderIsNoConfigFile) {
  EXPECT_THAT(failure({"m", "--config", testing::TempDir()}),
              AllOf(HasSubstr("cannot read the config file"), HasSubstr("it is a folder")));
  const std::string xdg = testing::TempDir() + "weft_folder_" + std::to_string(getpid());
  std::filesystem::create_directories(xdg + "/weft/config.toml");
  EXPECT_THAT(failure({"m"}, {{"XDG_CONFIG_HOME", xdg}}), HasSubstr("it is a folder"));
  std::filesystem::remove_all(xdg);
}

TEST(Options, AnEmptyConfigFileSaysNothing) {
  const TemporaryFile file("");
  EXPECT_EQ(Sample().parse({"m", "--config", file.path()}).tp, 1);
}

TEST(Options, AnEmptyTextIsAValueWhereTheOptionAllowsIt) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"m", "-p", ""}, {"-p", "", "m"}, {"--prompt=", "m"}}) {
    Sample sample;
    sample.parse(words);
    ASSERT_TRUE(sample.prompt.has_value()) << words[1];
    EXPECT_EQ(sample.prompt, "");
    EXPECT_EQ(sample.model, "m");
    EXPECT_EQ(sample.options.origin("--prompt"), Origin::kFlag);
  }
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"m", "--stop", ""}, {"m", "--stop", "a", "--stop="}}) {
    EXPECT_THAT(failure(words), AllOf(HasSubstr("--stop is empty"), HasSubstr("TEXT is expected")));
  }
  EXPECT_THAT(failure({"m", "--config", ""}), HasSubstr("--config is empty"));
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"m", "--tp", ""}, {"m", "--tp="}, {"m", "-tp="}}) {
    EXPECT_THAT(failure(words),
                AllOf(HasSubstr("--tensor-parallel-size is empty"), HasSubstr("from 1 to 64")));
  }
  const TemporaryFile file("stop = ['a', '']\n");
  EXPECT_THAT(failure({"m", "--config", file.path()}),
              AllOf(HasSubstr("--stop is empty"), HasSubstr("line 1")));
}

TEST(Options, ARepeatedOptionIsNamedAsSuch) {
  EXPECT_THAT(failure({"m", "--tp", "2", "-tp", "0"}),
              AllOf(HasSubstr("--tensor-parallel-size is '0'"), HasSubstr("given twice: 2, 0"),
                    HasSubstr("the last one counts"), HasSubstr("from 1 to 64")));
  EXPECT_THAT(failure({"m", "--tp", "2", "--tp", "3", "--tp", "x"}),
              HasSubstr("given 3 times: 2, 3, x"));
  EXPECT_THAT(failure({"m", "--tp", "0"}), Not(HasSubstr("given")));
}

TEST(Options, MissingAndSuperfluousWords) {
  EXPECT_THAT(failure({}), HasSubstr("MODEL is missing"));
  EXPECT_THAT(failure({"a", "b"}), HasSubstr("unexpected argument 'b'"));
  EXPECT_THAT(failure({"m", "--tp"}), HasSubstr("--tensor-parallel-size needs a value"));
}

TEST(Options, UnknownVariablesAreToldWithoutFailing) {
  Sample sample;
  sample.parse({"m"}, {{"WEFT_TENSOR_PARALEL_SIZE", "2"}, {"WEFT_TENSOR_PARALLEL", "2"}});
  ASSERT_EQ(sample.warnings.size(), 2u);
  for (const std::string& warning : sample.warnings)
    EXPECT_THAT(warning, HasSubstr("did you mean WEFT_TENSOR_PARALLEL_SIZE?"));
  // WEFT_ alone makes no likeness.
  sample.parse({"m"}, {{"WEFT_ZEBRA", "2"}});
  ASSERT_EQ(sample.warnings.size(), 1u);
  EXPECT_THAT(sample.warnings[0], AllOf(HasSubstr("WEFT_ZEBRA is unknown"),
                                        HasSubstr("weft run --help"), Not(HasSubstr("mean"))));
  sample.parse({"m"}, {{"WEFT_TP", "1"},
                       {"WEFT_PORT", "1"},
                       {"WEFT_ISA", "x"},
                       {"WEFT_TEST_MODELS", "x"},
                       {"WEFT_BUILD_FOLDER", "x"},
                       {"WEFTING", "x"}});
  EXPECT_THAT(sample.warnings, IsEmpty());
}

TEST(Options, AStrongerSourceWinsOverWhatContradictsIt) {
  const TemporaryFile file("pp = 4\nseed = 9\n[run]\ntp = 3\n");
  const Environment in_file = {{"WEFT_CONFIG", file.path()}};
  Sample sample;
  sample.parse({"m", "--tp", "2"}, {{"WEFT_PP", "3"}});
  EXPECT_EQ(sample.tp, 2);
  EXPECT_EQ(sample.pp, "");
  EXPECT_EQ(sample.options.origin("--pipeline-parallel-size"), Origin::kDefault);
  EXPECT_THAT(sample.notes, ElementsAre("--pipeline-parallel-size (from WEFT_PP) is left out: it "
                                        "contradicts --tensor-parallel-size on the command line"));
  Sample other_way;
  other_way.parse({"m", "--pp", "2"}, {{"WEFT_TP", "3"}});
  EXPECT_EQ(other_way.tp, 1);
  EXPECT_EQ(other_way.pp, "2");
  // The command's table before the top of the file; the environment before both.
  Sample by_table;
  by_table.parse({"m"}, in_file);
  EXPECT_EQ(by_table.tp, 3);
  EXPECT_EQ(by_table.pp, "");
  EXPECT_THAT(by_table.notes, ElementsAre(AllOf(HasSubstr(file.path() + ", line 1"),
                                                HasSubstr(file.path() + ", line 4"))));
  Sample by_environment;
  by_environment.parse({"m"}, {{"WEFT_CONFIG", file.path()}, {"WEFT_PP", "5"}});
  EXPECT_EQ(by_environment.tp, 1);
  EXPECT_EQ(by_environment.pp, "5");
}

TEST(Options, OptionsOfOneSourceAndThoseThatAgreeAreLeftAlone) {
  Sample sample;
  sample.parse({"m", "--tp", "2", "--pp", "3"});  // the command's to refuse
  EXPECT_EQ(sample.tp, 2);
  EXPECT_EQ(sample.pp, "3");
  sample.parse({"m", "--temperature", "1"}, {{"WEFT_SEED", "7"}});
  EXPECT_EQ(sample.seed, 7u);
  EXPECT_THAT(sample.notes, IsEmpty());
  Sample differing;
  differing.parse({"m", "--temperature", "0"}, {{"WEFT_SEED", "7"}});
  EXPECT_EQ(differing.seed, 0u);
  EXPECT_EQ(differing.notes.size(), 1u);
}

// A command with names of other programs beside its own.
struct Guest {
  bool no_caching = false;
  int64_t length = 0;
  std::string model;
  OptionSet options{"serve", "answer"};

  explicit Guest(std::vector<std::string> arguments = {"m"}, const Environment& environment = {}) {
    options.positional("MODEL", &model, "a file");
    options.name_positional("--model", {.unit = "MODEL", .help = "the same"});
    options.add("--no-prefix-caching", &no_caching, {"", "compute anew"});
    options.add("--max-model-len", &length, {"TOKENS", "longest"}, 1);
    options.also_called("--model", "-m");
    options.also_called("--max-model-len", "--ctx-size,-c");
    options.undone_by("--no-prefix-caching", "--enable-prefix-caching");
    options.accept("--jinja", {.help = "they always are"});
    options.accept("--dtype", {.unit = "TYPE", .help = "the file decides"}, "auto");
    options.decline("--n-gpu-layers,-ngl", "there is no GPU", "leave it out");
    options.parse(arguments, environment);
  }
};

std::string refused(std::vector<std::string> arguments, const Environment& environment = {}) {
  try {
    Guest(std::move(arguments), environment);
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_code(), 2);
    return error.what();
  }
  return "no error";
}

TEST(Options, OtherNamesMeanTheSame) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"m", "--ctx-size", "9"}, {"-c", "9", "m"}, {"-c9", "-m", "m"}})
    EXPECT_EQ(Guest(words).length, 9) << words[0];
  EXPECT_EQ(Guest({"m"}, {{"WEFT_CTX_SIZE", "9"}}).length, 9);
}

TEST(Options, ASwitchCanBeUndoneByItsOpposite) {
  EXPECT_TRUE(Guest({"m", "--enable-prefix-caching", "--no-prefix-caching"}).no_caching);
  EXPECT_FALSE(Guest({"m", "--no-prefix-caching", "--enable-prefix-caching"}).no_caching);
  EXPECT_TRUE(Guest({"m", "--enable-prefix-caching=false"}).no_caching);
  EXPECT_FALSE(
      Guest({"m", "--enable-prefix-caching"}, {{"WEFT_NO_PREFIX_CACHING", "1"}}).no_caching);
  EXPECT_TRUE(Guest({"m"}, {{"WEFT_ENABLE_PREFIX_CACHING", "0"}}).no_caching);
  EXPECT_FALSE(Guest({"m"}, {{"WEFT_ENABLE_PREFIX_CACHING", "yes"}}).no_caching);
  const TemporaryFile file("enable_prefix_caching = false\n");
  EXPECT_TRUE(Guest({"m", "--config", file.path()}).no_caching);
  EXPECT_THAT(refused({"m"}, {{"WEFT_ENABLE_PREFIX_CACHING", "maybe"}}),
              AllOf(HasSubstr("maybe"), HasSubstr("true or false")));
  EXPECT_THAT(Guest().options.help(), HasSubstr("--enable-prefix-caching says the opposite"));
}

TEST(Options, HintsNeverTurnAMeaningRound) {
  for (const char* word : {"--prefix-caching", "--enable-prefix-cachin", "--no-disable-caching"})
    EXPECT_THAT(refused({"m", word}), Not(HasSubstr("--no-prefix-caching"))) << word;
  EXPECT_THAT(refused({"m", "--enable-prefix-cachin"}), HasSubstr("--enable-prefix-caching?"));
  EXPECT_THAT(refused({"m", "--no-prefix-cachng"}), HasSubstr("--no-prefix-caching?"));
  EXPECT_THAT(refused({"m", "--disable-prefix-caching"}), HasSubstr("--no-prefix-caching?"));
  const TemporaryFile file("prefix-caching = true\n");
  EXPECT_THAT(refused({"m", "--config", file.path()}), Not(HasSubstr("no-prefix")));
}

TEST(Options, WhatHoldsAnywayIsAcceptedAndNothingElse) {
  EXPECT_THAT(refused({"m", "--jinja", "--dtype", "auto"}), "no error");
  EXPECT_THAT(refused({"m", "--jinja=false"}), HasSubstr("they always are"));
  EXPECT_THAT(refused({"m", "--dtype", "float16"}),
              AllOf(HasSubstr("--dtype is 'float16'"), HasSubstr("auto (the file decides)")));
}

TEST(Options, WhatHasNoCounterpartSaysWhyAndWhatToDo) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"m", "-ngl", "99"}, {"-ngl=9", "m"}, {"m", "--n-gpu-layers", "9"}})
    EXPECT_THAT(refused(words), AllOf(HasSubstr("weft serve has no -"), HasSubstr("no GPU"),
                                      HasSubstr("leave it out")));
  const TemporaryFile file("n-gpu-layers = 9\n");
  EXPECT_THAT(refused({"m", "--config", file.path()}), HasSubstr("no GPU"));
  EXPECT_EQ(Guest({"--", "-ngl"}).model, "-ngl");
  EXPECT_EQ(Guest({"--model", "-ngl"}).model, "-ngl");
}

TEST(Options, AWordMayBeGivenByName) {
  EXPECT_EQ(Guest({"-m", "x.gguf"}).model, "x.gguf");
  EXPECT_EQ(Guest({"x", "--model", "x"}).model, "x");
  EXPECT_EQ(Guest({}, {{"WEFT_MODEL", "x"}}).model, "x");
  EXPECT_EQ(Guest({"y"}, {{"WEFT_MODEL", "x"}}).model, "y");
  EXPECT_THAT(refused({"y", "-m", "x"}),
              AllOf(HasSubstr("MODEL is y and --model is x"), HasSubstr("one of the two")));
  EXPECT_THAT(refused({}), HasSubstr("MODEL is missing"));
}

TEST(Options, HelpShowsGroupsNamesVariablesAndDefaults) {
  Sample sample;
  EXPECT_TRUE(sample.options.parse({"--help"}, {}).help);  // although MODEL is missing
  const std::string help = sample.options.help();
  EXPECT_THAT(help, HasSubstr("usage: weft run MODEL [options]"));
  EXPECT_THAT(help, HasSubstr("\nSplitting:\n"));
  EXPECT_THAT(help, HasSubstr("--tensor-parallel-size, --tp, -tp N"));
  EXPECT_THAT(help, HasSubstr("[WEFT_TENSOR_PARALLEL_SIZE]"));
  EXPECT_THAT(help, HasSubstr("(default: 512)"));
  EXPECT_LT(help.find("Splitting:"), help.find("General:"));
  for (size_t begin = 0; begin < help.size();) {
    const size_t end = help.find('\n', begin);
    EXPECT_LE(end - begin, 100u) << help.substr(begin, end - begin);
    begin = end + 1;
  }
}

TEST(OptionValues, WholeNumbersKnowThousandsAndBinaryUnits) {
  EXPECT_EQ(parse_whole_number("8k"), 8000);
  EXPECT_EQ(parse_whole_number("8K"), 8192);
  EXPECT_EQ(parse_whole_number("2G"), int64_t{2} << 30);
  EXPECT_EQ(parse_whole_number("-3"), -3);
  for (const char* text : {"", "k", "3x", "3 ", "0x10", "9223372036854775807k", "1.5", "+"}) {
    EXPECT_FALSE(parse_whole_number(text).has_value()) << text;
  }
}

TEST(OptionValues, RangesReadAsTheyMayBeTyped) {
  const auto text = [](int64_t min, int64_t max) {
    return describe_range(min, max, INT64_MIN, INT64_MAX);
  };
  EXPECT_EQ(text(1, 64), "a whole number from 1 to 64");
  EXPECT_EQ(text(INT64_MIN, 64), "a whole number of at most 64");
  EXPECT_EQ(text(1, INT64_MAX), "a whole number of at least 1 (4k is 4000, 4K is 4096)");
  EXPECT_EQ(text(1, int64_t{1} << 50), "a whole number from 1 to 1024T (4k is 4000, 4K is 4096)");
}

TEST(OptionValues, RangesOfNumbersSayWhatIsOutside) {
  constexpr float kLeast = std::numeric_limits<float>::min();
  EXPECT_EQ(describe_range(-2.0f, 2.0f), "a number from -2 to 2");
  EXPECT_EQ(describe_range(kLeast, 1.0f), "a number above 0, at most 1");
  EXPECT_EQ(describe_range(kLeast, std::numeric_limits<float>::max()), "a number above 0");
}

TEST(DidYouMean, CountsEditsAndSwaps) {
  EXPECT_EQ(edit_distance("inspect", "inspect"), 0);
  EXPECT_EQ(edit_distance("inpsect", "inspect"), 1);
  EXPECT_EQ(edit_distance("run", "pull"), 3);
  EXPECT_EQ(edit_distance("", "abc"), 3);
  const std::vector<std::string> commands = {"run", "inspect", "pull"};
  EXPECT_EQ(closest_word("insepct", commands), "inspect");
  EXPECT_EQ(closest_word("rnu", commands), "run");
  EXPECT_EQ(closest_word("zebra", commands), std::nullopt);
  EXPECT_EQ(closest_word("--", commands), std::nullopt);
}

}  // namespace
}  // namespace weft
