// Replicas over several processes, as far as their bits are not the question (those are in the
// parity suite): what the processes agree on, and what happens where one is lost.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "engine/numerics.h"
#include "engine/placement.h"
#include "engine/process_agreement.h"
#include "engine/spanning_engine.h"
#include "engine/tiny_engine.h"

namespace weft::engine {
namespace {

using testing::AnyOf;
using testing::HasSubstr;
using Cpus = std::vector<int>;

TEST(Spanning, OptionsComeAsTheyWent) {
  EngineOptions options = tiny_options("a model \"of\" ü.gguf");
  options.topology = {3, "13,13,4", "2,1,1", "", parallel::PipelineBalance::kDecode};
  options.placement = Placement::kDedicated;
  options.kv_type = kernels::KvType::kQ8;
  options.schedule_policy = SchedulePolicy::kPrefix;
  options.max_slowdown = 2.5;
  options.stage_seconds = {0.25, 0.5};
  options.kv_cache_bytes = int64_t{1} << 40;
  options.ranks_per_process = "3,1";
  options.verify_weights = true;
  options.reduce = comm::SumWire::kQ8;
  const EngineOptions read = options_of_line(options_line(options));
  EXPECT_EQ(read.model_path, options.model_path);
  EXPECT_EQ(read.topology.pipeline_parallel, "13,13,4");
  EXPECT_EQ(read.topology.balance, parallel::PipelineBalance::kDecode);
  EXPECT_EQ(read.kv_type, kernels::KvType::kQ8);
  EXPECT_EQ(read.max_slowdown, 2.5);
  EXPECT_EQ(options_line(read), options_line(options));
  options.topology.balance = {};
  EXPECT_FALSE(options_of_line(options_line(options)).topology.balance);

  const std::string line = options_line(options);
  for (size_t size = 0; size < line.size(); size += 7)
    EXPECT_THROW(options_of_line(line.substr(0, size)), Error);
  std::string other = line;
  other.replace(other.find("\"kv_type\":3"), 11, "\"kv_type\":9");
  EXPECT_THROW(options_of_line(other), Error);
  other = line;
  other.replace(other.find("\"reduce\":3"), 10, "\"reduce\":4");
  EXPECT_THROW(options_of_line(other), Error);
}

std::vector<Range> shares(int num_ranks, const std::string& asked, int num_processes) {
  return share_ranks(num_ranks, asked, num_processes);
}

std::string refusal(int num_ranks, const std::string& asked, int num_processes) {
  try {
    share_ranks(num_ranks, asked, num_processes);
    return {};
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    return error.what();
  }
}

TEST(Spanning, RanksAreSharedOutInOrder) {
  EXPECT_EQ(shares(5, "", 2), (std::vector<Range>{{0, 3}, {3, 5}}));
  EXPECT_EQ(shares(4, "", 4), (std::vector<Range>{{0, 1}, {1, 2}, {2, 3}, {3, 4}}));
  EXPECT_EQ(shares(5, "1,3,1", 3), (std::vector<Range>{{0, 1}, {1, 4}, {4, 5}}));
  EXPECT_THAT(refusal(1, "", 2),
              HasSubstr("2 processes were started for a model split over 1 rank"));
  EXPECT_THAT(refusal(5, "3,1", 2),
              HasSubstr("its sum is 4, of 5 ranks; it has 2 numbers, for 2 processes"));
  EXPECT_THAT(refusal(4, "3,1", 3), HasSubstr("it has 2 numbers, for 3 processes"));
  for (const char* wrong : {"3,0,1", "3,,1", "3,-1", "3;1", "3,1,", "65,1", "99999999999999999999"})
    EXPECT_THAT(refusal(4, wrong, 2), HasSubstr("give for example 3,1")) << wrong;
}

TEST(Spanning, AProcessPlacesItsOwnRanks) {
  EngineOptions options;
  const PlacementPlan plan = place_over_processes({{0, 3}, {3, 5}}, options, {4, 5, 6, 7}, {}, 1);
  ASSERT_EQ(plan.workers.size(), 5u);
  EXPECT_FALSE(plan.pooled);
  const int processes[] = {0, 0, 0, 1, 1};
  for (size_t rank = 0; rank < 5; ++rank) {
    EXPECT_EQ(plan.workers[rank].process, processes[rank]);
    EXPECT_EQ(plan.workers[rank].ranks.begin, static_cast<int64_t>(rank));
  }
  EXPECT_EQ(plan.workers[3].cpus, (Cpus{4, 5}));
  EXPECT_EQ(plan.workers[4].cpus, (Cpus{6, 7}));
  EXPECT_TRUE(plan.workers[0].cpus.empty());
  options.placement = Placement::kPooled;
  EXPECT_THROW(place_over_processes({{0, 1}, {1, 2}}, options, {0, 1}, {}, 0), Error);
}

TEST(Spanning, ProcessesAgreeOnTheLeastAndShareTheCpusOfAHost) {
  comm::Jobs jobs(3);
  std::vector<std::vector<int64_t>> numbers(3);
  std::vector<Cpus> same(3), bound(3);
  jobs.on_each([&](int process) {
    const auto p = static_cast<size_t>(process);
    const auto member = std::move(jobs[process].members(1).front());
    numbers[p] = {10 - process, process};
    take_least(*member, numbers[p], "numbers");
    bound[p] = share_cpus(jobs[process], *member, {process, 7});
    same[p] = share_cpus(jobs[process], *member, {0, 1, 2, 3});
  });
  jobs.leave();
  for (size_t p = 0; p < 3; ++p) {
    EXPECT_EQ(numbers[p], (std::vector<int64_t>{8, 0}));
    EXPECT_EQ(bound[p], (Cpus{static_cast<int>(p), 7}));
    EXPECT_EQ(same[p], (Cpus{0, 1, 2, 3})) << "each is a host of its own here";
  }
}

TEST(Spanning, EveryProcessKnowsWhatAllRanksHold) {
  SKIP_WITHOUT_TINY_MODELS();
  EngineOptions options = tiny_options(tiny_path("llama.F32"));
  options.topology.tensor_parallel_size = 2;
  const auto alone = Engine::load(options);
  const SplitReport expected = alone->split();
  SpanningEngine engine(options, 2);
  EXPECT_TRUE(engine->plans());
  ASSERT_EQ(engine->split().ranks.size(), 2u);
  for (size_t rank = 0; rank < 2; ++rank) {
    EXPECT_EQ(engine->split().ranks[rank].weight_bytes, expected.ranks[rank].weight_bytes);
    EXPECT_EQ(engine->split().ranks[rank].kv_bytes, expected.ranks[rank].kv_bytes);
  }
  EXPECT_EQ(engine->max_model_len(), alone->max_model_len());
}

// What fits is asked of each host's memory for the ranks that it runs.
TEST(Spanning, AHostAnswersForItsOwnRanks) {
  const std::vector<Range> ranks{{0, 2}, {2, 3}};
  SplitReport split;
  split.kv_groups.resize(1);
  for (int rank = 0; rank < 3; ++rank) {
    RankShare share;
    share.rank = rank;
    share.kv_group_bytes_per_token = {100 * (rank + 1)};
    split.kv_groups[0].bytes_per_token += 100 * (rank + 1);
    split.ranks.push_back(share);
  }
  EngineOptions options;
  options.kv_cache_bytes = 6000;
  comm::Jobs jobs(2);
  const auto [first, first_options] = part_of_host(jobs[0], ranks, split, options);
  const auto [second, second_options] = part_of_host(jobs[1], ranks, split, options);
  const std::vector<std::vector<int>> devices{{0}, {1}, {2}};
  EXPECT_EQ(share_devices(jobs[1], ranks, devices).size(), 3u) << "a host of its own here";
  EXPECT_THROW(share_devices(jobs[0], ranks, {{0}}), Error);
  jobs.leave();
  ASSERT_EQ(first.ranks.size(), 2u);
  ASSERT_EQ(second.ranks.size(), 1u);
  EXPECT_EQ(second.ranks[0].rank, 2);
  EXPECT_EQ(first.kv_groups[0].bytes_per_token, 300);
  EXPECT_EQ(second.kv_groups[0].bytes_per_token, 300);
  EXPECT_EQ(first_options.kv_cache_bytes, 3000);
  EXPECT_EQ(second_options.kv_cache_bytes, 3000);
}

TEST(Spanning, DifferentModelsAreNamedWithTheirHosts) {
  SKIP_WITHOUT_TINY_MODELS();
  comm::Jobs jobs(3);
  std::vector<std::string> said(3);
  jobs.on_each([&](int process) {
    const auto member = std::move(jobs[process].members(1).front());
    const std::string own = tiny_path(process == 2 ? "llama.Q4_0" : "llama.F32");
    check_same_model(jobs[process], *member, tiny_path("llama.F32"), true);
    check_same_model(jobs[process], *member, tiny_path("llama.F32"), false);
    try {
      check_same_model(jobs[process], *member, own, false);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kModel);
      said[static_cast<size_t>(process)] = error.what();
    }
  });
  jobs.leave();
  for (const std::string& what : said) {
    EXPECT_THAT(what, HasSubstr("different models under "));
    EXPECT_THAT(what, HasSubstr("process 0 (host0) has 1 file of "));
    EXPECT_THAT(what, HasSubstr("process 2 (host2) has 1 file of "));
    EXPECT_THAT(what, HasSubstr("copy the model of one host to the other"));
  }
}

TEST(Spanning, AProcessReadsTheSlicesOfItsRanks) {
  SKIP_WITHOUT_TINY_MODELS();
  EngineOptions options = tiny_options(tiny_path("llama.F32"));
  options.topology.stages = "1@1,3@2";
  const int64_t all = Engine::load(options)->weight_loading().source_bytes;
  const int64_t of_three = SpanningEngine(options, 3)->weight_loading().source_bytes;
  options.ranks_per_process = "2,1";
  const int64_t of_two = SpanningEngine(options, 2)->weight_loading().source_bytes;
  EXPECT_GT(of_three, 0);
  EXPECT_LT(of_three, of_two);
  EXPECT_LT(of_two, all);
}

// Ranks of other processes are told apart from those that do nothing.
TEST(Spanning, TimesOfAllRanksAreKnownWhereNothingIsUnderWay) {
  SKIP_WITHOUT_TINY_MODELS();
  EngineOptions options = tiny_options(tiny_path("llama.F32"));
  options.topology.tensor_parallel_size = 2;
  options.topology.pipeline_parallel = "2";
  SpanningEngine engine(options, 3);
  engine->begin_window();
  const GenerationResult result = engine->generate(greedy(some_ids(20), 8), {});
  const PipelineReport report = engine->report_window();
  ASSERT_EQ(report.ranks.size(), 4u);
  ASSERT_EQ(result.ranks.size(), 4u);
  for (size_t rank = 0; rank < 4; ++rank) {
    EXPECT_GT(report.ranks[rank].compute_s, 0.0) << rank;
    EXPECT_GT(result.ranks[rank].compute_s, 0.0) << rank;
    EXPECT_EQ(report.ranks[rank].reduce_bytes, report.ranks[rank / 2 * 2].reduce_bytes) << rank;
  }
  EXPECT_GT(report.ranks[3].reduce_bytes, 0);
  ASSERT_EQ(report.stages.size(), 2u);
  for (const StageTime& stage : report.stages) {
    EXPECT_NEAR(stage.sum_s(), stage.window_s, 1e-6);
    EXPECT_GT(stage.work_s(), 0.0);
    EXPECT_LT(stage.fill_s + stage.drain_s, report.window_s + 1e-3);
  }
}

TEST(Spanning, SeveralEnginesOneAfterAnother) {
  SKIP_WITHOUT_TINY_MODELS();
  EngineOptions options = tiny_options(tiny_path("llama.F32"));
  options.topology.tensor_parallel_size = 2;
  const auto expected = Engine::load(options)->generate(greedy(some_ids(20), 8), {});
  for (int round = 0; round < 2; ++round) {
    SpanningEngine engine(options, 2);
    const GenerationResult result = engine->generate(greedy(some_ids(20), 8), {});
    EXPECT_EQ(result.token_ids, expected.token_ids);
    EXPECT_EQ(result.logits_hash, expected.logits_hash);
  }
}

// The name under which an answer can be had again knows what shows in its bits, and no more.
TEST(Spanning, RoundedSumsAreInTheNameOfTheBits) {
  SKIP_WITHOUT_TINY_MODELS();
  EngineOptions options = tiny_options(tiny_path("llama.F32"));
  options.topology.tensor_parallel_size = 4;
  options.reduce = comm::SumWire::kQ8;
  EXPECT_EQ(numerics_id(options), "weft1/lanes16/kv-bf16/exact") << "one process";
  comm::Jobs jobs(2);
  options.job = &jobs[0];
  const std::string halves = numerics_id(options);
  EXPECT_THAT(halves, testing::MatchesRegex("weft1/lanes16/kv-bf16/q8@[0-9a-f]{16}"));
  options.ranks_per_process = "2,2";
  EXPECT_EQ(numerics_id(options), halves) << "the same cut";
  options.ranks_per_process = "3,1";
  EXPECT_NE(numerics_id(options), halves);
  options.ranks_per_process = "";
  options.reduce = comm::SumWire::kBF16;
  EXPECT_THAT(numerics_id(options), HasSubstr("/bf16@"));
  options.topology = {2, "2", "", "", {}};
  EXPECT_EQ(numerics_id(options), "weft1/lanes16/kv-bf16/exact") << "no stage spans processes";
  options.reduce = comm::SumWire::kInt64;
  options.topology = {4, "", "", "", {}};
  EXPECT_EQ(numerics_id(options), "weft1/lanes16/kv-bf16/exact");
  jobs.leave();
}

TEST(Spanning, SumsAreRoundedWhereAsked) {
  SKIP_WITHOUT_TINY_MODELS();
  EngineOptions options = tiny_options(tiny_path("llama.F32"));
  options.topology.tensor_parallel_size = 2;
  const Request asked = greedy(some_ids(40), 8);
  const uint64_t exact = Engine::load(options)->generate(asked, {}).logits_hash;
  for (const auto wire : {comm::SumWire::kF32, comm::SumWire::kBF16, comm::SumWire::kQ8}) {
    options.reduce = wire;
    SpanningEngine spanning(options, 2);
    EXPECT_EQ(spanning->split().rounded_sums, comm::name(wire));
    const GenerationResult first = spanning->generate(asked, {});
    EXPECT_NE(first.logits_hash, exact) << comm::name(wire);
    EXPECT_EQ(spanning->generate(asked, {}).logits_hash, first.logits_hash);
    const auto alone = Engine::load(options);
    EXPECT_EQ(alone->generate(asked, {}).logits_hash, exact);
    EXPECT_EQ(alone->split().rounded_sums, "");
    EXPECT_THAT(alone->split().warnings,
                testing::Contains(HasSubstr("rounds nothing here: no stage has its ranks in")));
  }
}

// The last stage has said more answers than a mailbox between threads holds, before the planner,
// which hands over steps of one long prompt meanwhile, asks for the first.
TEST(Spanning, ALongPromptGoesThroughManyStages) {
  SKIP_WITHOUT_TINY_MODELS();
  EngineOptions options = tiny_options(tiny_path("layers29.Q4_1"));
  options.max_num_batched_tokens = 8;
  options.deadline_ms = 5000;
  const auto expected = Engine::load(options)->generate(greedy(some_ids(190), 4), {});
  for (const auto& [stages, num_processes] : {std::pair("8", 8), std::pair("10", 2)}) {
    options.topology.pipeline_parallel = stages;
    SpanningEngine engine(options, num_processes);
    const GenerationResult result = engine->generate(greedy(some_ids(190), 4), {});
    EXPECT_EQ(result.token_ids, expected.token_ids);
    EXPECT_EQ(result.logits_hash, expected.logits_hash);
  }
}

TEST(Spanning, WhatAModelCannotDoIsSaidByEveryProcess) {
  SKIP_WITHOUT_TINY_MODELS();
  EngineOptions options = tiny_options(tiny_path("llama.F32"));
  try {
    SpanningEngine engine(options, 2);
    FAIL() << "one rank over two processes";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    EXPECT_THAT(error.what(), HasSubstr("2 processes were started for a model split over 1 rank"));
  }
}

TEST(Spanning, ALostProcessEndsTheAnswerWithItsName) {
  SKIP_WITHOUT_TINY_MODELS();
  for (const bool by_stages : {false, true}) {
    EngineOptions options = tiny_options(tiny_path("llama.F32"));
    if (by_stages)
      options.topology.pipeline_parallel = "2";
    else
      options.topology.tensor_parallel_size = 2;
    options.deadline_ms = 2000;
    SpanningEngine engine(options, 2, {.silence = std::chrono::milliseconds(2500)});
    engine->generate(greedy(some_ids(20), 4), {});
    engine.jobs().board().cut(1);
    engine.fail();
    const int64_t begin = now_ns();
    try {
      engine->generate(greedy(some_ids(20), 4), {});
      ADD_FAILURE() << "answered without rank 1";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kCommunication);
      EXPECT_THAT(error.what(), HasSubstr("rank 1 (host1)"));
      EXPECT_THAT(error.what(),
                  AnyOf(HasSubstr("of generation within"), HasSubstr("last seen in")));
    }
    EXPECT_LT(seconds_between(begin, now_ns()), 30.0);
    EXPECT_NE(engine.failure(1), nullptr) << "the other one hears nothing for too long";
  }
}

// Nobody asks anything: a server learns of it all the same.
TEST(Spanning, AnIdleEngineKnowsThatAProcessIsLost) {
  SKIP_WITHOUT_TINY_MODELS();
  EngineOptions options = tiny_options(tiny_path("llama.F32"));
  options.topology.tensor_parallel_size = 2;
  SpanningEngine engine(options, 2, {.silence = std::chrono::milliseconds(2500)});
  engine->generate(greedy(some_ids(20), 4), {});
  EXPECT_FALSE(engine->lost());
  engine.jobs().board().cut(1);
  engine.fail();
  const int64_t begin = now_ns();
  while (!engine->lost() && seconds_between(begin, now_ns()) < 60)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  ASSERT_TRUE(engine->lost());
  EXPECT_EQ(engine->lost()->kind(), ErrorKind::kCommunication);
  EXPECT_THAT(engine->lost()->summary(), HasSubstr("rank 1 (host1) gave no sign of life"));
  EXPECT_THAT(engine->lost()->summary(), HasSubstr("last seen in "));
}

}  // namespace
}  // namespace weft::engine
