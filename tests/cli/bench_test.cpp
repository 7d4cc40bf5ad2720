#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
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
  EXPECT_GT(found["bounds"]["read_gb_per_s"], 0.0);
  EXPECT_GT(found["bounds"]["int8_gops"], 0.0);
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

TEST(BenchThroughput, AnswersEveryRequestInFull) {
  Program program;
  ASSERT_EQ(program.run({"bench", "throughput", ".", "--num-prompts", "10", "--input-len", "20",
                         "--output-len", "5", "--max-num-seqs", "4", "--no-bounds", "--json"}),
            0)
      << program.err;
  const json found = json::parse(program.out);
  EXPECT_EQ(found["num_requests"], 10);
  EXPECT_EQ(found["total_num_tokens"], 10 * 25);
  EXPECT_EQ(found["total_output_tokens"], 50);
  EXPECT_NEAR(found["output_tokens_per_second"].get<double>() * found["elapsed_time"].get<double>(),
              50, 1e-6);
  EXPECT_TRUE(found["p99_itl_ms"].is_number());
  EXPECT_FALSE(found.contains("bounds"));
  EXPECT_EQ(program.state.loaded_with.max_model_len, 25);
  EXPECT_EQ(program.state.loaded_with.max_num_seqs, 4);
  EXPECT_THAT(program.err, HasSubstr("answering: 10 in "));
  // The first ones warm memory up.
  ASSERT_EQ(program.state.submitted.size(), 4u + 10u);
  const engine::Request& last = program.state.submitted.back();
  EXPECT_EQ(last.prompt_ids.size(), 20u);
  EXPECT_TRUE(last.sampling.ignore_eos);
  EXPECT_NE(last.prompt_ids, program.state.submitted[12].prompt_ids);
}

TEST(BenchThroughput, QuietlyThereAreFiguresAlone) {
  for (const char* command : {"throughput", "latency"}) {
    Program program;
    EXPECT_EQ(program.run({"bench", command, ".", "--input-len", "20", "--output-len", "5",
                           "--no-bounds", "-q"}),
              0)
        << program.err;
    EXPECT_EQ(program.err, "") << command;
    EXPECT_NE(program.out, "");
  }
}

// What warms memory up takes longer, and is no part of the figures.
TEST(BenchThroughput, FiguresAreOfTheRunAlone) {
  Program program;
  program.state.on_step = [&](int64_t step) {
    const bool warms_up = step < 4;  // four requests of four tokens
    engine::EngineStats& stats = program.state.stats;
    stats.schedule_s += warms_up ? 1 : 2e-6;
    stats.scheduler_s += warms_up ? 1 : 3e-6;
    stats.num_preemptions += warms_up ? 100 : 1;
  };
  ASSERT_EQ(program.run({"bench", "throughput", ".", "--num-prompts", "8", "--input-len", "20",
                         "--output-len", "5", "--max-num-seqs", "4", "--no-bounds", "--json"}),
            0)
      << program.err;
  const json found = json::parse(program.out);
  EXPECT_NEAR(found["schedule_us_per_step"], 2, 1e-6);
  EXPECT_NEAR(found["scheduler_us_per_step"], 3, 1e-6);
  EXPECT_EQ(found["num_preemptions"], 10);
}

TEST(BenchThroughput, StaticBatchesAreAModeToCompareWith) {
  for (const char* batching : {"static", "static-drop"}) {
    Program program;
    ASSERT_EQ(program.run({"bench", "throughput", ".", "--num-prompts", "12", "--workload", "mix",
                           "--seed", "5", "--max-num-seqs", "4", "--batching", batching,
                           "--no-bounds", "--json"}),
              0)
        << program.err;
    EXPECT_EQ(program.state.most_open, 4u);
    const json found = json::parse(program.out);
    const bool rectangular = std::string(batching) == "static";
    const int64_t own = found["total_output_tokens"];
    EXPECT_EQ(found["batching"], batching);
    // Four tokens of each of the four that warm up.
    EXPECT_EQ(program.state.stats.generated_tokens - 16 > own, rectangular);
  }
}

TEST(BenchThroughput, SharedPrefixesComeFromTheCache) {
  Program program;
  ASSERT_EQ(program.run({"bench", "throughput", ".", "--workload", "shared-prefix", "--num-prompts",
                         "20", "--prefix-len", "100", "--input-len", "7", "--output-len", "3",
                         "--no-bounds", "--json"}),
            0)
      << program.err;
  const json found = json::parse(program.out);
  EXPECT_DOUBLE_EQ(found["prefix_cached_share"], 19.0 / 20.0);  // the fake caches to the token
  EXPECT_EQ(found["nothing_shared"]["cached_input_tokens"], 0);
  EXPECT_EQ(found["max_concurrency"], 1);
  EXPECT_TRUE(found["ttft_ratio"].is_number());
  EXPECT_EQ(found["num_unshared"], 20);
  Program fewer;
  ASSERT_EQ(fewer.run({"bench", "throughput", ".", "--workload", "shared-prefix", "--num-prompts",
                       "20", "--num-unshared", "2", "--prefix-len", "100", "--input-len", "7",
                       "--output-len", "3", "--no-bounds", "--json"}),
            0)
      << fewer.err;
  EXPECT_EQ(json::parse(fewer.out)["nothing_shared"]["num_requests"], 2);
  EXPECT_EQ(json::parse(fewer.out)["num_requests"], 20);
}

// Answers that are drawn, so that nothing of them can be guessed; each has a seed of its own.
TEST(BenchThroughput, RandomTextIsDrawn) {
  for (const char* bench : {"throughput", "latency"}) {
    Program program;
    ASSERT_EQ(program.run({"bench", bench, ".", "--workload", "random", "--input-len", "4",
                           "--output-len", "3", "--no-bounds", "--json"}),
              0)
        << program.err;
    EXPECT_EQ(json::parse(program.out)["workload"], "random");
    const std::vector<engine::Request>& asked = program.state.submitted;
    const engine::Request &last = asked.back(), &before = asked[asked.size() - 2];
    EXPECT_EQ(last.sampling.temperature, 100.0f);
    EXPECT_NE(last.sampling.seed, before.sampling.seed);
    EXPECT_NE(last.prompt_ids, before.prompt_ids);
  }
}

TEST(BenchThroughput, ALongPromptComesAmongRunningAnswers) {
  Program program;
  program.state.max_running = 8;
  program.state.max_model_len = 5120;
  ASSERT_EQ(program.run({"bench", "throughput", ".", "--workload", "long-prompt", "--num-prompts",
                         "3", "--input-len", "4", "--long-len", "50", "--no-bounds", "--json"}),
            0)
      << program.err;
  const json found = json::parse(program.out);
  EXPECT_EQ(found["num_running"], 3);
  EXPECT_EQ(found["long_ttft_alone_runs_ms"].size(), 3u);
  for (const char* key : {"median_gap_before_ms", "p99_gap_during_ms", "long_ttft_ms"})
    EXPECT_GE(found[key], 0.0) << key;
  EXPECT_EQ(program.state.cancelled.size(), 3u);  // the running ones, at the end
  // Each phase counts what it has: runs of the prompt, and the three answers' tokens to their 73rd.
  EXPECT_THAT(program.err, HasSubstr("long prompt alone, runs: 3 in"));
  EXPECT_THAT(program.err, HasSubstr("answers alone, tokens: 219 in"));
  EXPECT_THAT(program.err, HasSubstr("answers beside the long prompt, tokens: "));
}

TEST(BenchThroughput, WithoutChunksTheStallIsShown) {
  for (const char* option : {"--no-chunked-prefill", "--no-enable-chunked-prefill"}) {
    Program program;
    program.state.max_running = 8;
    program.state.max_model_len = 5120;
    ASSERT_EQ(program.run({"bench", "throughput", ".", "--workload", "long-prompt", "--num-prompts",
                           "3", "--input-len", "4", "--long-len", "50", "--no-bounds",
                           "--output-json", testing::TempDir() + "whole.json", option}),
              0)
        << program.err;
    EXPECT_FALSE(program.state.loaded_with.chunked_prefill);
    EXPECT_THAT(program.out, HasSubstr("without chunks all answers wait for it"));
    std::ifstream in(testing::TempDir() + "whole.json");
    const json found = json::parse(in);
    EXPECT_EQ(found["chunked_prefill"], false);
    EXPECT_TRUE(found["max_slowdown"].is_null());
    EXPECT_TRUE(found["max_gap_during_ms"].is_number());
  }
}

TEST(BenchThroughput, TheMachineStandsBesideTheFigures) {
  Program program;
  const std::string file = testing::TempDir() + "bench_throughput.json";
  ASSERT_EQ(program.run({"bench", "throughput", ".", "--num-prompts", "2", "--input-len", "4",
                         "--output-len", "2", "--output-json", file}),
            0)
      << program.err;
  EXPECT_THAT(program.out, HasSubstr("of the int8 peak"));
  std::ifstream in(file);
  const json found = json::parse(in);
  std::filesystem::remove(file);
  EXPECT_GT(found["bounds"]["int8_gops"], 0.0);
  EXPECT_GT(found["bounds"]["read_gb_per_s"], 0.0);
  EXPECT_EQ(found["peak"], "int8");
  EXPECT_GT(found["share_of_peak"], 0.0);
  EXPECT_TRUE(found["commit"].is_string());
}

// The fake engine knows no grammars: what is shown is who has one, in which order, and what counts.
TEST(BenchThroughput, MeasuresMasksInTurn) {
  Program program;
  ASSERT_EQ(program.run({"bench", "throughput", ".", "--regex", "[a-z]+", "--num-prompts", "4",
                         "--output-len", "9", "--turns", "2", "--structured-output-ratio", "0.5",
                         "--no-bounds", "--json"}),
            0)
      << program.err;
  const json found = json::parse(program.out)["structured_output"];
  ASSERT_EQ(found["turns"].size(), 2u);
  EXPECT_GT(found["step_ratio"], 0.0);
  // Of nine tokens the first is the prompt's, and in the last step all answers end.
  EXPECT_EQ(found["turns"][0]["with"]["num_steps"], 7);
  std::vector<bool> masked;
  for (const engine::Request& request : program.state.submitted)
    if (request.sampling.max_tokens == 9) masked.push_back(request.grammar != nullptr);
  const std::vector<bool> with = {true, true, false, false}, without(4, false);
  std::vector<bool> expected;
  for (const auto& run : {without, with, with, without})
    expected.insert(expected.end(), run.begin(), run.end());
  EXPECT_EQ(masked, expected);
  EXPECT_EQ(program.run({"bench", "throughput", ".", "--regex", "a", "--workload", "mix"}), 2);
  EXPECT_EQ(program.run({"bench", "throughput", ".", "--regex", "(", "--num-prompts", "1"}), 2);
}

// Nobody gave --max-model-len, so it is not to blame.
TEST(Bench, SequencesThatTheModelCannotHoldAreToBlameThemselves) {
  Program program;  // of a context of 8192
  for (const char* bench : {"throughput", "latency", "batch"}) {
    EXPECT_EQ(program.run({"bench", bench, ".", "--input-len", "9000", "--output-len", "5"}), 2);
    EXPECT_THAT(program.err, HasSubstr("9005 tokens, the model's context is 8192")) << bench;
    EXPECT_THAT(program.err, ::testing::Not(HasSubstr("--max-model-len"))) << bench;
  }
  EXPECT_EQ(program.state.num_loads, 0);
}

TEST(BenchThroughput, WhatDoesNotFitIsRefusedBeforeLoading) {
  Program program;
  EXPECT_EQ(program.run({"bench", "throughput", ".", "--max-model-len", "100"}), 2);
  EXPECT_THAT(program.err, HasSubstr("longest sequence is 256 tokens"));
  EXPECT_EQ(program.run({"bench", "throughput", ".", "--output-json", "/nowhere/x.json"}), 2);
  EXPECT_THAT(program.err, HasSubstr("/nowhere/x.json cannot be written"));
  EXPECT_EQ(program.run({"bench", "latency", ".", "--max-model-len", "100"}), 2);
  EXPECT_EQ(program.run({"bench", "throughput", ".", "--workload", "long-prompt", "--batching",
                         "static", "--no-bounds"}),
            2);
  EXPECT_THAT(program.err, HasSubstr("--batching static"));
  EXPECT_EQ(program.run({"bench", "throughput", ".", "--workload", "mixed"}), 2);
  EXPECT_EQ(program.state.num_loads, 0);
}

TEST(BenchLatency, TimesWholeBatches) {
  Program program;
  ASSERT_EQ(
      program.run({"bench", "latency", ".", "--batch-size", "3", "--input-len", "4", "--output-len",
                   "5", "--num-iters-warmup", "1", "--num-iters", "4", "--no-bounds", "--json"}),
      0)
      << program.err;
  const json found = json::parse(program.out);
  ASSERT_EQ(found["latencies"].size(), 4u);
  EXPECT_GT(found["avg_latency"], 0.0);
  for (const char* percent : {"10", "25", "50", "75", "90", "99"})
    EXPECT_TRUE(found["percentiles"][percent].is_number());
  EXPECT_LE(found["percentiles"]["50"], found["percentiles"]["99"]);
  EXPECT_EQ(program.state.submitted.size(), 5u * 3u);
  EXPECT_EQ(program.state.stats.cached_prompt_tokens, 0);  // each iteration starts cold
  EXPECT_THAT(program.err, HasSubstr("measuring: 5 in "));
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
#ifndef __SANITIZE_ADDRESS__  // whose checks cost the probe more than the kernel
  EXPECT_LT(linear["column_gops"], linear["peak_gops"]);
#endif
  EXPECT_EQ(found["attention"].size(), 8u);  // four cache types, one token and many
  // The bounds, a linear and the attention; standard output is the JSON alone.
  EXPECT_THAT(program.err, HasSubstr("measuring: 10 in "));
  EXPECT_EQ(std::count(program.out.begin(), program.out.end(), '\n'), 1);
}

TEST(BenchKernels, RefusesUnknownTypes) {
  Program program;
  EXPECT_EQ(program.run({"bench", "kernels", "--types", "Q4_9"}), 2);
  EXPECT_THAT(program.err, HasSubstr("no weight type is called 'Q4_9'"));
}

TEST(BenchComm, TimesEveryVerbAgainstACopy) {
  Program program;
  ASSERT_EQ(program.run({"bench", "comm", "--ranks", "2,3", "--max-bytes", "64", "--run-ms", "1",
                         "--json"}),
            0)
      << program.err;
  const json found = json::parse(program.out);
  EXPECT_EQ(found["transport"], "threads");
  EXPECT_TRUE(found["commit"].is_string());
  ASSERT_EQ(found["groups"].size(), 2u);
  const json& three = found["groups"][1];
  EXPECT_EQ(three["ranks"], 3);
  EXPECT_GT(three["barrier_us"], 0.0);
  ASSERT_EQ(three["pairs"].size(), 3u);
  EXPECT_EQ(three["pairs"][2]["from"], 1);
  EXPECT_GT(three["pairs"][2]["latency_us"], 0.0);
  EXPECT_EQ(three["pairs"][2]["messages"].size(), 3u);
  EXPECT_EQ(three["copies"].size(), 3u);  // 8, 32 and 64 bytes
  ASSERT_EQ(three["collectives"].size(), 5u * 3u);
  const json& row = three["collectives"][2];  // all_reduce in one shot, the largest
  EXPECT_EQ(row["verb"], "all_reduce");
  EXPECT_EQ(row["algorithm"], "one shot");
  EXPECT_EQ(row["bytes"], 64);
  const double time_us = row["time_us"];
  EXPECT_NEAR(row["algorithm_gb_per_s"].get<double>(), 64e-3 / time_us, 1e-9);
  EXPECT_NEAR(row["bus_gb_per_s"].get<double>(), 2 * 2.0 / 3.0 * 64e-3 / time_us, 1e-9);
  const double copy_us = three["copies"][2]["time_us"];
  EXPECT_NEAR(row["share_of_copy"].get<double>(), 2 * 2.0 / 3.0 * copy_us / time_us, 1e-9);
  ASSERT_EQ(three["crossovers"].size(), 1u);
  EXPECT_TRUE(three["crossovers"][0].contains("two_shots_from_bytes"));
  // A group's barrier, and three sizes of each pair, of a copy and of five verbs.
  EXPECT_THAT(program.err, HasSubstr(fmt::format("measuring: {} in ", 1 + 3 * (3 + 6))));
}

TEST(BenchComm, SaysTheSameToPeople) {
  Program program;
  ASSERT_EQ(program.run({"bench", "comm", "--ranks", "2", "--max-bytes", "8", "--run-ms", "1"}), 0)
      << program.err;
  EXPECT_THAT(program.out, HasSubstr("2 ranks"));
  for (const char* row : {"0 - 1", "all_reduce, us", "threads, two shots", "reduce_scatter, us",
                          "all_gather, us", "threads: two shots are"})
    EXPECT_THAT(program.out, HasSubstr(row));
}

TEST(BenchComm, DrawsAPictureOfTheSizesThatAreAskedFor) {
  const std::string path = testing::TempDir() + "weft_bench_comm.svg";
  Program program;
  ASSERT_EQ(program.run({"bench", "comm", "--ranks", "2", "--sizes", "8,1024,65536", "--run-ms",
                         "1", "--svg", path}),
            0)
      << program.err;
  std::ifstream file(path);
  const std::string svg{std::istreambuf_iterator<char>(file), {}};
  std::remove(path.c_str());
  EXPECT_EQ(svg.rfind("<svg ", 0), 0u);
  EXPECT_THAT(svg, HasSubstr("64 KiB</text>"));
  for (const char* panel :
       {"a message, ranks 0 and 1", "all_reduce", "reduce_scatter", "all_gather"})
    EXPECT_THAT(svg, HasSubstr(std::string("class='panel'>") + panel));
  const auto lines = [&] {
    size_t count = 0;
    for (size_t at = 0; (at = svg.find("<polyline", at)) != std::string::npos; ++at) ++count;
    return count;
  };
  EXPECT_EQ(lines(), 1u + 3u + 1u + 1u);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
}

TEST(BenchComm, RefusesWhatIsNoGroup) {
  Program program;
  for (const char* ranks : {"1", "65", "2,", "x"})
    EXPECT_EQ(program.run({"bench", "comm", "--ranks", ranks}), 2) << ranks;
  EXPECT_EQ(program.run({"bench", "comm", "--max-bytes", "12"}), 2);
  EXPECT_THAT(program.err, HasSubstr("--max-bytes takes multiples of 8"));
  EXPECT_EQ(program.run({"bench", "comm", "--sizes", "8,20"}), 2);
  EXPECT_THAT(program.err, HasSubstr("--sizes takes multiples of 8"));
}

}  // namespace
}  // namespace weft::cli
