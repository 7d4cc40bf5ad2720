#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli/fake_engine.h"

namespace weft::cli {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// "." is a path that exists; the fake engine does not mind what it is.

TEST(Run, AnswersThePromptOnStandardOutput) {
  Program program;
  EXPECT_EQ(program.run({"run", ".", "-p", "Where?"}), 0);
  EXPECT_EQ(program.out, "Tokyo.\n");
  EXPECT_EQ(program.state.prompt(0), "user:Where?\n");
  EXPECT_EQ(program.state.requests[0].sampling.temperature, 0.0f);
}

TEST(Run, WithoutATerminalAndInputItAnswersTheBuiltInPrompt) {
  Program program;
  EXPECT_EQ(program.run({"run", "."}), 0);
  EXPECT_EQ(program.state.prompt(0), "user:What is the capital of Japan?\n");
  EXPECT_THAT(program.err, HasSubstr("What is the capital of Japan?"));
  EXPECT_EQ(program.out, "Tokyo.\n");
}

TEST(Run, TextOnStandardInputIsThePrompt) {
  Program program;
  program.input = "two\nlines\n";
  EXPECT_EQ(program.run({"run", ".", "-p", "-"}), 0);
  EXPECT_EQ(program.run({"run", "."}), 0);
  EXPECT_EQ(program.run({"run", ".", "--json"}), 0);
  EXPECT_EQ(program.run({"run", ".", "--json", "--no-chat-template"}), 0);
  for (size_t request : {0, 1, 2}) EXPECT_EQ(program.state.prompt(request), "user:two\nlines\n");
  EXPECT_EQ(program.state.prompt(3), "\x01two\nlines");
}

TEST(Run, AGivenPromptLeavesStandardInputAlone) {
  Program program;
  program.input = "not read";
  EXPECT_EQ(program.run({"run", ".", "-p", "x"}), 0);
  EXPECT_EQ(program.state.prompt(0), "user:x\n");
  EXPECT_EQ(program.run({"run", ".", "--prompt-ids", "1"}), 0);
  EXPECT_EQ(program.state.prompt(1), "\x01");
}

TEST(Run, BlankOrSilentInputIsNoPrompt) {
  Program program;
  program.input = " \n\n";
  EXPECT_EQ(program.run({"run", "."}), 0);
  EXPECT_EQ(program.state.prompt(0), "user:What is the capital of Japan?\n");
  program.input_is_silent = true;
  EXPECT_EQ(program.run({"run", "."}), 2);
  EXPECT_THAT(program.err, HasSubstr("standard input is a pipe in which nothing came"));
  program.input_is_silent = false;
  EXPECT_EQ(program.run({"run", ".", "--json", "--no-chat-template"}), 2);
  EXPECT_THAT(program.err, HasSubstr("need a prompt"));
}

// Somebody sits there and could have typed.
TEST(Run, ATerminalWithoutAPromptIsToldSo) {
  Program program;
  program.input_is_terminal = true;
  EXPECT_EQ(program.run({"run", ".", "--json", "--quiet"}), 2);
  EXPECT_THAT(program.err, AllOf(HasSubstr("--json needs a prompt"), HasSubstr("with -p")));
  EXPECT_EQ(program.state.loaded_with.model_path, "");
  EXPECT_EQ(program.run({"run", ".", "--quiet"}), 0);
  EXPECT_THAT(program.err, HasSubstr("a built-in question is answered"));
  EXPECT_EQ(program.state.prompt(0), "user:What is the capital of Japan?\n");
  program.input = "typed";
  EXPECT_EQ(program.run({"run", ".", "--json", "-p", "-"}), 0);
  EXPECT_EQ(program.state.prompt(1), "user:typed\n");
}

TEST(Run, AHugeStandardInputIsRefusedBeforeLoading) {
  Program program;
  program.input.assign(static_cast<size_t>(kMaxPromptBytes) + 1, 'x');
  for (std::vector<std::string> arguments :
       {std::vector<std::string>{"run", "."}, {"run", ".", "-p", "-"}}) {
    EXPECT_EQ(program.run(arguments), 2);
    EXPECT_THAT(program.err, HasSubstr("more than 8.39 MB"));
    EXPECT_EQ(program.state.loaded_with.model_path, "");
  }
}

TEST(Run, AnEmptyPromptIsAPrompt) {
  Program program;
  program.input = "not read";
  EXPECT_EQ(program.run({"run", ".", "-p", ""}), 0);
  EXPECT_EQ(program.state.prompt(0), "user:\n");
  EXPECT_EQ(program.run({"run", ".", "-p", "", "--no-chat-template"}), 0);
  EXPECT_EQ(program.state.prompt(1), "\x01");
}

TEST(Run, EmptyListsAndStopTextsAreRefused) {
  for (const char* option : {"--prompt-ids", "--stop", "--devices", "--stages", "--tp-weights",
                             "--pipeline-parallel-size"}) {
    Program program;
    EXPECT_EQ(program.run({"run", ".", option, ""}), 2) << option;
    EXPECT_THAT(program.err, HasSubstr(std::string(option) + " is empty"));
    EXPECT_THAT(program.state.requests, IsEmpty());
  }
}

TEST(Run, OptionsReachTheEngine) {
  Program program;
  EXPECT_EQ(program.run({"run",
                         ".",
                         "-p",
                         "x",
                         "-tp",
                         "3",
                         "--pp",
                         "13,13,4",
                         "--tp-weights",
                         "2,1,1",
                         "--threads",
                         "2",
                         "--devices",
                         "0-3",
                         "--placement",
                         "pooled",
                         "--max-model-len",
                         "4K",
                         "--max-num-batched-tokens",
                         "64",
                         "--block-size",
                         "32",
                         "--kv-cache-dtype",
                         "f16",
                         "--kv-cache-memory-bytes",
                         "1G",
                         "--distributed-timeout-seconds",
                         "7"}),
            0);
  const engine::EngineOptions& options = program.state.loaded_with;
  EXPECT_EQ(options.model_path, ".");
  EXPECT_EQ(options.topology.tensor_parallel_size, 3);
  EXPECT_EQ(options.topology.pipeline_parallel, "13,13,4");
  EXPECT_EQ(options.topology.tp_weights, "2,1,1");
  EXPECT_EQ(options.threads_per_rank, 2);
  EXPECT_EQ(options.devices, "0-3");
  EXPECT_EQ(options.placement, engine::Placement::kPooled);
  EXPECT_EQ(options.max_model_len, 4096);
  EXPECT_EQ(options.max_num_batched_tokens, 64);
  EXPECT_EQ(options.block_size, 32);
  EXPECT_EQ(options.kv_type, kernels::KvType::kF16);
  EXPECT_EQ(options.kv_cache_bytes, int64_t{1} << 30);
  EXPECT_EQ(options.deadline_ms, 7000);
  EXPECT_EQ(program.run({"run", ".", "-p", "x", "--stages", "12@1,14@3,4@2"}), 0);
  EXPECT_EQ(program.state.loaded_with.topology.stages, "12@1,14@3,4@2");
  EXPECT_EQ(program.state.loaded_with.topology.balance, std::nullopt);
}

TEST(Run, TheBalanceOfStagesReachesTheEngine) {
  using parallel::PipelineBalance;
  Program program;
  for (const auto& [word, balance] : {std::pair{"decode", PipelineBalance::kDecode},
                                      {"prefill", PipelineBalance::kPrefill},
                                      {"mixed", PipelineBalance::kMixed}}) {
    EXPECT_EQ(program.run({"run", ".", "-p", "x", "--pp", "2", "--pp-balance", word}), 0);
    EXPECT_EQ(program.state.loaded_with.topology.balance, balance) << word;
  }
  EXPECT_EQ(program.run({"run", ".", "-p", "x", "--pp", "2", "--pp-balance", "even"}), 2);
  EXPECT_THAT(program.err, HasSubstr("one of decode, prefill, mixed"));
  // Layers by hand win over a balance of a weaker source.
  program.environment["WEFT_PP_BALANCE"] = "prefill";
  EXPECT_EQ(program.run({"run", ".", "-p", "x", "--pp", "20,10"}), 0);
  EXPECT_EQ(program.state.loaded_with.topology.balance, std::nullopt);
  EXPECT_THAT(program.err, HasSubstr("--pp-balance (from WEFT_PP_BALANCE) is left out"));
}

TEST(Run, OptionsReachTheRequest) {
  Program program;
  EXPECT_EQ(program.run({"run",
                         ".",
                         "--prompt-ids",
                         "5, 6,7",
                         "-n",
                         "9",
                         "--temperature",
                         "0.5",
                         "--seed",
                         "18446744073709551615",
                         "--ignore-eos",
                         "--logprobs",
                         "2",
                         "--prompt-logprobs",
                         "0",
                         "--logits-hash",
                         "--stop",
                         "a",
                         "--stop",
                         "b"}),
            0);
  const engine::Request& request = program.state.requests[0];
  EXPECT_THAT(request.prompt_ids, ElementsAre(5, 6, 7));
  EXPECT_EQ(request.sampling.max_tokens, 9);
  EXPECT_EQ(request.sampling.temperature, 0.5f);
  EXPECT_EQ(request.sampling.seed, UINT64_MAX);
  EXPECT_TRUE(request.sampling.ignore_eos);
  EXPECT_EQ(request.sampling.logprobs, 2);
  EXPECT_EQ(request.sampling.prompt_logprobs, 0);
  EXPECT_TRUE(request.hash_logits);
  EXPECT_THAT(request.sampling.stop, ElementsAre("a", "b"));
}

TEST(Run, EveryFilterAndPenaltyReachesTheRequest) {
  Program program;
  ASSERT_EQ(program.run({"run",
                         ".",
                         "-p",
                         "x",
                         "--temp",
                         "0.8",
                         "--top-k",
                         "40",
                         "--top-p",
                         "0.9",
                         "--min-p",
                         "0.05",
                         "--typical",
                         "0.95",
                         "--repeat-penalty",
                         "1.1",
                         "--presence-penalty",
                         "-0.5",
                         "--frequency-penalty",
                         "0.25",
                         "--min-tokens",
                         "3",
                         "--stop-token-ids",
                         "2, 7",
                         "--n-predict",
                         "20"}),
            0)
      << program.err;
  const engine::SamplingParams& p = program.state.requests.at(0).sampling;
  EXPECT_EQ(p.temperature, 0.8f);
  EXPECT_EQ(p.top_k, 40);
  EXPECT_EQ(p.top_p, 0.9f);
  EXPECT_EQ(p.min_p, 0.05f);
  EXPECT_EQ(p.typical_p, 0.95f);
  EXPECT_EQ(p.repetition_penalty, 1.1f);
  EXPECT_EQ(p.presence_penalty, -0.5f);
  EXPECT_EQ(p.frequency_penalty, 0.25f);
  EXPECT_EQ(p.min_tokens, 3);
  EXPECT_EQ(p.max_tokens, 20);
  EXPECT_THAT(p.stop_token_ids, ElementsAre(2, 7));
}

// Greedy and from seed 0 where nothing is said, with every filter off.
TEST(Run, NothingSaidFiltersNothing) {
  Program program;
  ASSERT_EQ(program.run({"run", ".", "-p", "x"}), 0) << program.err;
  const engine::SamplingParams& p = program.state.requests.at(0).sampling;
  EXPECT_TRUE(p.greedy());
  EXPECT_EQ(p.seed, 0u);
  EXPECT_EQ(p.top_k, 0);
  EXPECT_EQ(p.top_p, 1.0f);
  EXPECT_EQ(p.min_p, 0.0f);
  EXPECT_EQ(p.typical_p, 1.0f);
  EXPECT_EQ(p.repetition_penalty, 1.0f);
  EXPECT_EQ(p.presence_penalty, 0.0f);
  EXPECT_EQ(p.frequency_penalty, 0.0f);
  EXPECT_EQ(p.min_tokens, 0);
  EXPECT_TRUE(p.stop_token_ids.empty());
}

TEST(Run, SamplingOutOfItsRangeIsRefusedBeforeLoading) {
  Program program;
  const auto refusal = [&](const char* option, const char* value) {
    EXPECT_EQ(program.run({"run", ".", "-p", "x", option, value}), 2) << option << " " << value;
    return program.err;
  };
  EXPECT_THAT(refusal("--top-p", "0"), HasSubstr("a number above 0, at most 1 is expected"));
  EXPECT_THAT(refusal("--top-p", "1.5"), HasSubstr("--top-p is '1.5'"));
  EXPECT_THAT(refusal("--typical-p", "0"), HasSubstr("--typical-p is '0'"));
  EXPECT_THAT(refusal("--repetition-penalty", "0"), HasSubstr("--repetition-penalty is '0'"));
  EXPECT_THAT(refusal("--top-k", "-2"), HasSubstr("--top-k"));
  EXPECT_THAT(refusal("--min-p", "-0.1"), HasSubstr("--min-p"));
  EXPECT_THAT(refusal("--presence-penalty", "2.5"), HasSubstr("--presence-penalty"));
  EXPECT_THAT(refusal("--frequency-penalty", "nan"), HasSubstr("--frequency-penalty"));
  EXPECT_THAT(refusal("--min-tokens", "513"), HasSubstr("--min-tokens 513 is above --max-tokens"));
  EXPECT_THAT(refusal("--stop-token-ids", "1,x"), HasSubstr("--stop-token-ids holds 'x'"));
  EXPECT_EQ(program.state.num_loads, 0);
  // Of the vocabulary nothing is known before the file is opened.
  EXPECT_THAT(refusal("--stop-token-ids", "256"), HasSubstr("outside the vocabulary of 256"));
}

TEST(Run, PlainTextSystemMessageAndModelsWithoutATemplate) {
  Program program;
  EXPECT_EQ(program.run({"run", ".", "-p", "x", "--no-chat-template"}), 0);
  EXPECT_EQ(program.state.prompt(0), "\x01x");
  EXPECT_EQ(program.run({"run", ".", "-p", "x", "--system", "Be brief."}), 0);
  EXPECT_EQ(program.state.prompt(1), "system:Be brief.\nuser:x\n");
  program.state.has_template = false;
  EXPECT_EQ(program.run({"run", ".", "-p", "x"}), 0);
  EXPECT_EQ(program.state.prompt(2), "\x01x");
  EXPECT_THAT(program.err, HasSubstr("no chat template"));
}

TEST(Run, TheAnswerIsShortenedToTheContext) {
  Program program;
  program.state.max_model_len = 20;
  EXPECT_EQ(program.run({"run", ".", "--prompt-ids", "1,2,3"}), 0);
  EXPECT_EQ(program.state.requests[0].sampling.max_tokens, 17);
  EXPECT_EQ(program.run({"run", ".", "--prompt-ids", "1,2,3", "--min-tokens", "400"}), 0);
  EXPECT_EQ(program.state.requests[1].sampling.min_tokens, 17);
}

TEST(Run, JsonIsOneObjectWithThePromisedKeysAndNothingElse) {
  Program program;
  EXPECT_EQ(program.run({"run", ".", "--prompt-ids", "5,6", "--json", "--stats"}), 0);
  EXPECT_EQ(std::count(program.out.begin(), program.out.end(), '\n'), 1);
  const json object = json::parse(program.out);
  EXPECT_EQ(object["text"], "Tokyo.");
  EXPECT_EQ(object["token_ids"], (std::vector<int>{'T', 'o', 'k', 'y', 'o', '.'}));
  EXPECT_EQ(object["prompt_tokens"], 2);
  EXPECT_EQ(object["generated_tokens"], 6);
  EXPECT_TRUE(object["logits_hash"].is_null());
  EXPECT_EQ(object["finish_reason"], "stop");
  EXPECT_TRUE(object["stop_reason"].is_null());
  EXPECT_DOUBLE_EQ(object["prompt_tokens_per_s"], 4.0);       // 2 in 0.5 s
  EXPECT_DOUBLE_EQ(object["generation_tokens_per_s"], 20.0);  // 5 steps in 0.25 s
  EXPECT_DOUBLE_EQ(object["read_gb_per_s"], 2.0);
  EXPECT_DOUBLE_EQ(object["load_s"], 0.5);
  EXPECT_DOUBLE_EQ(object["load"]["seconds"], 0.25);
  EXPECT_EQ(object["load"]["bytes"], 98'362'432);
  EXPECT_EQ(object["load"]["weight_bytes"], 100'000'000);
  EXPECT_EQ(object["load"]["mapped"], false);
  EXPECT_EQ(object["topology"], "tp=2");
  EXPECT_EQ(object["isa"], "portable");
  EXPECT_EQ(object["prompt_token_ids"], (std::vector<int>{5, 6}));
  ASSERT_EQ(object["ranks"].size(), 2u);
  EXPECT_EQ(object["ranks"][1]["weight_bytes"], 50'000'000);
  EXPECT_EQ(object["ranks"][1]["kv_bytes"], 120'000'000);
  EXPECT_EQ(object["ranks"][1]["logits_bytes"], 32'768);
  EXPECT_EQ(object["ranks"][1]["step_bytes"], 65'536);
  EXPECT_EQ(object["ranks"][1]["reduce_bytes"], 900);
  EXPECT_FALSE(object.contains("logprobs"));
  EXPECT_FALSE(object.contains("prompt_logprobs"));
  EXPECT_THAT(program.err, HasSubstr("all-reduce"));
}

TEST(Run, JsonSaysWhatStoppedAnAnswer) {
  Program program;
  program.state.stop_reason = ".";
  EXPECT_EQ(program.run({"run", ".", "-p", "x", "--json", "--stop", "."}), 0);
  EXPECT_EQ(json::parse(program.out)["stop_reason"], ".");
  program.state.stop_reason = "46";  // the last token's id
  EXPECT_EQ(program.run({"run", ".", "-p", "x", "--json", "--stop-token-ids", "46"}), 0);
  EXPECT_EQ(json::parse(program.out)["stop_reason"], 46);
}

TEST(Run, WhatWasNotMeasuredIsNull) {
  Program program;
  program.state.answer = "a";
  EXPECT_EQ(program.run({"run", ".", "-p", "x", "--json", "--stats"}), 0);
  const json one = json::parse(program.out);
  EXPECT_TRUE(one["generation_tokens_per_s"].is_null());
  EXPECT_FALSE(one["prompt_tokens_per_s"].is_null());
  EXPECT_TRUE(one["pool"].is_null());
  EXPECT_THAT(program.err, HasSubstr("generation  1 token, out of the prompt's last step\n"));
  program.state.answer = "";  // Ctrl-C within the prompt
  EXPECT_EQ(program.run({"run", ".", "-p", "x", "--json", "--stats"}), 0);
  EXPECT_TRUE(json::parse(program.out)["prompt_tokens_per_s"].is_null());
  EXPECT_THAT(program.err, HasSubstr("7 tokens, stopped after 0.500 s"));
}

TEST(Run, StatsSayWhichTokensTheirRateCounts) {
  Program program;
  EXPECT_EQ(program.run({"run", ".", "-p", "x", "--stats"}), 0);
  EXPECT_THAT(program.err, HasSubstr("prompt      7 tokens in 0.500 s: 14.0 tokens/s\n"));
  EXPECT_THAT(program.err, HasSubstr("generation  5 tokens after the first in 0.250 s: 20.0 "
                                     "tokens/s, 2.00 GB/s read\n"));
}

TEST(Run, APoolHasOneRowOfTimes) {
  Program program;
  EXPECT_EQ(program.run({"run", ".", "-p", "x", "--stats", "--json"}), 0);
  EXPECT_THAT(program.err,
              AllOf(HasSubstr("\n     0  "), HasSubstr("\n     1  "), Not(HasSubstr("pool"))));
  EXPECT_DOUBLE_EQ(json::parse(program.out)["ranks"][1]["compute_s"], 0.1);
  program.state.pooled = true;
  EXPECT_EQ(program.run({"run", ".", "-p", "x", "--stats", "--json", "--quiet"}), 0);
  EXPECT_THAT(program.err, ContainsRegex("  pool +0.200 +0.050 +0.010 +1.90 kB"));
  EXPECT_THAT(program.err, Not(HasSubstr("\n     1  ")));
  const json object = json::parse(program.out);
  EXPECT_DOUBLE_EQ(object["pool"]["compute_s"], 0.2);
  EXPECT_DOUBLE_EQ(object["pool"]["wait_s"], 0.01);
  for (const json& rank : object["ranks"]) {
    for (const char* key : {"compute_s", "all_reduce_s", "wait_s"}) {
      EXPECT_TRUE(rank.at(key).is_null()) << key;
    }
  }
  EXPECT_EQ(object["ranks"][1]["reduce_bytes"], 900);
}

TEST(Run, TheCachesTypeIsBf16WhereItIsLeftToWeft) {
  for (const std::vector<std::string>& more :
       {std::vector<std::string>{}, {"--kv-cache-dtype", "auto"}, {"--kv-cache-dtype", "bf16"}}) {
    Program program;
    std::vector<std::string> arguments = {"run", ".", "-p", "x"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    EXPECT_EQ(program.run(arguments), 0) << program.err;
    EXPECT_EQ(program.state.loaded_with.kv_type, kernels::KvType::kBF16);
  }
}

TEST(Run, JsonLogprobsAndHash) {
  Program program;
  EXPECT_EQ(program.run({"run", ".", "--prompt-ids", "5,6", "--json", "--logprobs", "1",
                         "--prompt-logprobs", "1", "--logits-hash"}),
            0);
  const json object = json::parse(program.out);
  EXPECT_EQ(object["logits_hash"], "0123456789abcdef");
  ASSERT_EQ(object["logprobs"].size(), 6u);
  EXPECT_EQ(object["logprobs"][0][0]["id"], 'T');
  EXPECT_EQ(object["logprobs"][0][0]["text"], "T");
  EXPECT_FLOAT_EQ(object["logprobs"][0][0]["logprob"], -0.25f);
  EXPECT_EQ(object["logprobs"][0][1]["id"], 'z');
  ASSERT_EQ(object["prompt_logprobs"].size(), 2u);
  EXPECT_TRUE(object["prompt_logprobs"][0].is_null());
  EXPECT_EQ(object["prompt_logprobs"][1][0]["id"], 6);
}

TEST(Run, HashAndLogprobsFollowTheText) {
  Program program;
  program.state.answer = "ab";
  EXPECT_EQ(program.run({"run", ".", "-p", "x", "--logits-hash", "--logprobs", "1"}), 0);
  EXPECT_EQ(program.out,
            "ab\nlogprobs:\n    0  \"a\"  \"a\":-0.2500 \"z\":-2.0000\n"
            "    1  \"b\"  \"b\":-0.2500 \"z\":-2.0000\nlogits-hash 0123456789abcdef\n");
}

TEST(Run, QuietSaysNothingBesideTheAnswer) {
  Program program;
  EXPECT_EQ(program.run({"run", ".", "--quiet"}), 0);
  EXPECT_THAT(program.err, IsEmpty());
  EXPECT_EQ(program.out, "Tokyo.\n");
}

TEST(Run, ContradictionsAreToldBeforeLoading) {
  const std::vector<std::vector<std::string>> contradictions = {
      {"-p", "x", "--prompt-ids", "1"},
      {"--system", "x", "--prompt-ids", "1"},
      {"-p", "x", "--system", "x", "--no-chat-template"}};
  for (std::vector<std::string> arguments : contradictions) {
    arguments.insert(arguments.begin(), {"run", "."});
    Program program;
    EXPECT_EQ(program.run(arguments), 2);
    EXPECT_THAT(program.err, HasSubstr("both given"));
    EXPECT_EQ(program.state.loaded_with.model_path, "");
  }
}

// Both bounds are named, so that a number that is too large is told what would do.
TEST(Run, SillySizesAreToldWhatIsExpected) {
  const auto refusal = [](const char* option, const char* value) {
    Program program;
    EXPECT_EQ(program.run({"run", ".", "-p", "x", option, value}), 2) << option << " " << value;
    EXPECT_EQ(program.state.loaded_with.model_path, "");
    return program.err;
  };
  const char* huge = "1000000000000000000000000000000";
  for (const char* value : {"-1", "0", "3Q", "1.5", "nan", "", huge, "2000T"}) {
    EXPECT_THAT(refusal("--kv-cache-memory-bytes", value),
                HasSubstr("from 1 to 1024T (4k is 4000, 4K is 4096) is expected"));
    EXPECT_THAT(refusal("--max-model-len", value), HasSubstr("from 1 to 16777216 (4k"));
    EXPECT_THAT(refusal("--max-tokens", value), HasSubstr("from 1 to 2147483647 (4k"));
    EXPECT_THAT(refusal("--max-num-batched-tokens", value), HasSubstr("from 1 to 8192 is"));
  }
  EXPECT_THAT(refusal("--max-model-len", ""), HasSubstr("--max-model-len is empty\n"));
}

// What a contradiction within one source is refused for, a flag decides.
TEST(Run, AFlagWinsOverAContradictingVariable) {
  Program program;
  const auto topology = [&](const std::vector<std::string>& flags, Environment variables) {
    program.environment.insert(variables.begin(), variables.end());
    std::vector<std::string> arguments = {"run", ".", "-p", "x"};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    EXPECT_EQ(program.run(arguments), 0) << program.err;
    for (const auto& [name, value] : variables) program.environment.erase(name);
    return program.state.loaded_with.topology;
  };
  EXPECT_EQ(topology({"--tp", "3"}, {{"WEFT_STAGES", "10@1,20@2"}}).stages, "");
  EXPECT_THAT(program.err, HasSubstr("--stages (from WEFT_STAGES) is left out"));
  EXPECT_EQ(topology({"--pp", "3"}, {{"WEFT_STAGES", "10@1,20@2"}}).stages, "");
  parallel::TopologyRequest found =
      topology({"--stages", "10@1,20@2"}, {{"WEFT_TP", "3"}, {"WEFT_PP", "2"}});
  EXPECT_EQ(found.tensor_parallel_size, 0);
  EXPECT_EQ(found.pipeline_parallel, "");
  EXPECT_EQ(topology({"--tp", "2"}, {{"WEFT_TP_WEIGHTS", "2,1,1"}}).tp_weights, "");
  found = topology({"--tp", "3"}, {{"WEFT_TP_WEIGHTS", "2,1,1"}});  // no contradiction
  EXPECT_EQ(found.tp_weights, "2,1,1");
  EXPECT_EQ(found.tensor_parallel_size, 3);
}

TEST(Run, AFlagWinsOverAContradictingPrompt) {
  Program program;
  program.environment["WEFT_SYSTEM"] = "Be brief.";
  program.environment["WEFT_PROMPT"] = "x";
  EXPECT_EQ(program.run({"run", ".", "--prompt-ids", "5,6"}), 0) << program.err;
  EXPECT_THAT(program.state.requests[0].prompt_ids, ElementsAre(5, 6));
  EXPECT_EQ(program.run({"run", ".", "--no-chat-template"}), 0) << program.err;
  EXPECT_EQ(program.state.prompt(1), "\x01x");
  EXPECT_EQ(program.run({"run", ".", "--no-chat-template=false"}), 0) << program.err;
  EXPECT_EQ(program.state.prompt(2), "system:Be brief.\nuser:x\n");
}

TEST(Run, PromptIdsAreChecked) {
  for (const char* ids : {"1,,2", "1,256", "-1", "x", "1,2,"}) {
    Program program;
    EXPECT_EQ(program.run({"run", ".", std::string("--prompt-ids=") + ids}), 2) << ids;
    EXPECT_THAT(program.err, HasSubstr("whole numbers from 0 to 255")) << ids;
    EXPECT_EQ(program.state.num_loads, 0);
  }
}

TEST(Run, APromptThatIsTooLongIsRefusedBeforeWeightsAreRead) {
  Program program;
  program.state.max_model_len = 5;
  for (const std::vector<std::string>& prompt :
       {std::vector<std::string>{"--prompt-ids", "1,2,3,4,5,6"}, {"-p", "x"}}) {
    std::vector<std::string> arguments = {"run", "."};
    arguments.insert(arguments.end(), prompt.begin(), prompt.end());
    EXPECT_EQ(program.run(arguments), 2);
    EXPECT_THAT(program.err, HasSubstr("too long"));
    EXPECT_EQ(program.state.num_loads, 0);
  }
  EXPECT_EQ(program.run({"run", ".", "--prompt-ids", "1,2,3,4,5"}), 0);
  EXPECT_EQ(program.state.num_loads, 1);
}

TEST(Run, ModelsThatAreNotThereSayWhatToType) {
  Program program;
  EXPECT_EQ(program.run({"run", "smollm2"}), 3);
  EXPECT_THAT(program.err, HasSubstr("weft pull smollm2"));
  EXPECT_EQ(program.run({"run", "smolm2"}), 3);
  EXPECT_THAT(program.err, HasSubstr("did you mean smollm2?"));
  EXPECT_EQ(program.run({"run", "/nowhere/x.gguf"}), 3);
  EXPECT_THAT(program.err, HasSubstr("/nowhere/x.gguf"));
}

TEST(Run, AFailedRequestLeavesStandardOutputEmpty) {
  Program program;
  program.state.throw_usage_on_generate = true;
  EXPECT_EQ(program.run({"run", ".", "-p", "x", "--json"}), 2);
  EXPECT_THAT(program.out, IsEmpty());
  EXPECT_THAT(program.err, HasSubstr("too long"));
}

}  // namespace
}  // namespace weft::cli
