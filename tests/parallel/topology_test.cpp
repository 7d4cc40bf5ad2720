#include "parallel/topology.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "parallel/rank_count.h"

namespace weft::parallel {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct Options {
  int tp = 0;
  std::string pp, weights, stages;
  std::optional<PipelineBalance> balance = {};
};

Topology resolve(const Options& options, int64_t num_layers = 30, StageCosts costs = {}) {
  TopologyRequest request;
  request.tensor_parallel_size = options.tp;
  request.pipeline_parallel = options.pp;
  request.tp_weights = options.weights;
  request.stages = options.stages;
  request.balance = options.balance;
  return Topology::resolve(request, num_layers, costs);
}

std::vector<int64_t> layers_of(const Topology& topology) {
  std::vector<int64_t> layers;
  for (const Stage& stage : topology.stages()) layers.push_back(stage.layers.size());
  return layers;
}

std::vector<int> widths_of(const Topology& topology) {
  std::vector<int> widths;
  for (const Stage& stage : topology.stages()) widths.push_back(stage.num_ranks());
  return widths;
}

// Stages cover the layers without gap or overlap, and ranks are numbered stage by stage.
void expect_consistent(const Topology& topology, int64_t num_layers) {
  int64_t next_layer = 0;
  int next_rank = 0;
  for (int s = 0; s < topology.num_stages(); ++s) {
    const Stage& stage = topology.stages()[static_cast<size_t>(s)];
    EXPECT_EQ(stage.layers.begin, next_layer);
    EXPECT_EQ(stage.first_rank, next_rank);
    next_layer = stage.layers.end;
    for (int shard = 0; shard < stage.num_ranks(); ++shard, ++next_rank) {
      EXPECT_EQ(topology.stage_of(next_rank), s);
      EXPECT_EQ(topology.shard_of(next_rank), shard);
    }
  }
  EXPECT_EQ(next_layer, num_layers);
  EXPECT_EQ(topology.num_ranks(), next_rank);
}

void expect_error(const Options& options, std::vector<std::string> words, int64_t num_layers = 30) {
  SCOPED_TRACE(options.pp + " " + options.weights + " " + options.stages);
  try {
    resolve(options, num_layers);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    for (const std::string& word : words) EXPECT_THAT(error.summary(), HasSubstr(word));
    EXPECT_THAT(error.mend(), testing::Not(IsEmpty()));
  }
}

TEST(Topology, NothingAskedIsOneRank) {
  const Topology topology = resolve({});
  expect_consistent(topology, 30);
  EXPECT_EQ(topology.num_ranks(), 1);
  EXPECT_EQ(topology.description(), "tp=1");
}

TEST(Topology, EveryTensorParallelSize) {
  for (int tp = 1; tp <= kMaxRanksPerStage; ++tp) {
    const Topology topology = resolve({.tp = tp});
    expect_consistent(topology, 30);
    EXPECT_EQ(topology.num_ranks(), tp);
    EXPECT_EQ(topology.description(), "tp=" + std::to_string(tp));
  }
}

TEST(Topology, StagesAreBalancedWithTheCosts) {
  const Topology topology = resolve({.tp = 3, .pp = "2"}, 30, {.embedding = 0, .head = 8.0});
  expect_consistent(topology, 30);
  EXPECT_THAT(layers_of(topology), ElementsAre(19, 11));
  EXPECT_THAT(widths_of(topology), ElementsAre(3, 3));
  EXPECT_EQ(topology.description(), "tp=3 pp=2");
  EXPECT_THAT(layers_of(resolve({.pp = "3"}, 30, {.embedding = 0, .head = 8.0})),
              ElementsAre(13, 13, 4));
  EXPECT_THAT(layers_of(resolve({.pp = "3"}, 10)), ElementsAre(4, 3, 3));
}

TEST(Topology, EveryNumberOfStagesUpToOneMoreThanLayers) {
  for (int64_t num_layers : {1, 2, 7, 30})
    for (int64_t stages = 1; stages <= num_layers + 1; ++stages) {
      const Topology topology = resolve({.pp = std::to_string(stages)}, num_layers, {0, 8});
      EXPECT_EQ(topology.num_stages(), stages);
      expect_consistent(topology, num_layers);
      EXPECT_EQ(topology.stages().back().layers.empty(), stages == num_layers + 1);
    }
}

TEST(Topology, LayersByHand) {
  const Topology topology = resolve({.tp = 2, .pp = " 13, 13 ,4"});
  expect_consistent(topology, 30);
  EXPECT_THAT(layers_of(topology), ElementsAre(13, 13, 4));
  EXPECT_EQ(topology.description(), "tp=2 pp=13,13,4");
  EXPECT_EQ(resolve({.pp = "13,13,4"}).description(), "pp=13,13,4");
  EXPECT_THAT(layers_of(resolve({.pp = "15,15,0"})), ElementsAre(15, 15, 0));
}

TEST(Topology, WeightsAloneSayHowManyRanks) {
  const Topology topology = resolve({.weights = "2,1,1"});
  expect_consistent(topology, 30);
  EXPECT_THAT(topology.stages()[0].weights, ElementsAre(2.0, 1.0, 1.0));
  EXPECT_EQ(topology.description(), "tp-weights=2,1,1");
  EXPECT_EQ(resolve({.weights = "0.5, 1.25"}).description(), "tp-weights=0.5,1.25");
  EXPECT_EQ(resolve({.weights = "3,3"}).description(), "tp=2");
}

TEST(Topology, EveryStageGetsTheWeights) {
  const Topology topology = resolve({.tp = 3, .pp = "2", .weights = "2,1,1"});
  expect_consistent(topology, 30);
  for (const Stage& stage : topology.stages())
    EXPECT_THAT(stage.weights, ElementsAre(2.0, 1.0, 1.0));
  EXPECT_EQ(topology.description(), "tp-weights=2,1,1 pp=2");
}

TEST(Topology, StagesMayDifferInWidth) {
  const Topology topology = resolve({.stages = "12@1,14@3,4@2"});
  expect_consistent(topology, 30);
  EXPECT_THAT(layers_of(topology), ElementsAre(12, 14, 4));
  EXPECT_THAT(widths_of(topology), ElementsAre(1, 3, 2));
  EXPECT_EQ(topology.description(), "stages=12@1,14@3,4@2");
  EXPECT_THAT(topology.stages()[1].weights, ElementsAre(1.0, 1.0, 1.0));
}

TEST(Topology, TheLastStageMayHoldTheHeadAlone) {
  const Topology topology = resolve({.stages = "30@3, 0@2"});
  expect_consistent(topology, 30);
  EXPECT_THAT(layers_of(topology), ElementsAre(30, 0));
  EXPECT_EQ(topology.description(), "stages=30@3,0@2");
}

TEST(Topology, EqualStagesHaveTheShorterDescription) {
  EXPECT_EQ(resolve({.stages = "30@4"}).description(), "tp=4");
  EXPECT_EQ(resolve({.stages = "20@2,10@2"}).description(), "tp=2 pp=20,10");
  EXPECT_EQ(resolve({.stages = "20@1,10@1"}).description(), "pp=20,10");
}

// A description, given back as options, is the same topology.
TEST(Topology, DescriptionRoundTrips) {
  const Options asked[] = {{},
                           {.tp = 7},
                           {.tp = 3, .pp = "4"},
                           {.pp = "13,13,4"},
                           {.tp = 2, .pp = "29,1,0"},
                           {.pp = "5", .weights = "1,2.5,0.125"},
                           {.stages = "12@1,14@3,4@2"},
                           {.tp = 2, .pp = "3", .balance = PipelineBalance::kPrefill},
                           {.pp = "2", .balance = PipelineBalance::kMixed},
                           {.pp = "2", .balance = PipelineBalance::kDecode}};
  const StageCosts costs{.embedding = 0, .head = 8.0};
  for (const Options& options : asked) {
    const Topology first = resolve(options, 30, costs);
    Options again;
    std::string rest = first.description();
    SCOPED_TRACE(rest);
    while (!rest.empty()) {
      const std::string part = rest.substr(0, rest.find(' '));
      rest = part.size() == rest.size() ? "" : rest.substr(part.size() + 1);
      const std::string key = part.substr(0, part.find('=')), value = part.substr(key.size() + 1);
      if (key == "tp") again.tp = std::stoi(value);
      if (key == "pp") again.pp = value;
      if (key == "tp-weights") again.weights = value;
      if (key == "stages") again.stages = value;
      for (const PipelineBalance balance :
           {PipelineBalance::kDecode, PipelineBalance::kPrefill, PipelineBalance::kMixed})
        if (key == "pp-balance" && value == name(balance)) again.balance = balance;
    }
    EXPECT_EQ(again.balance.value_or(kDefaultBalance), options.balance.value_or(kDefaultBalance));
    const Topology second = resolve(again, 30, costs);
    EXPECT_EQ(layers_of(second), layers_of(first));
    ASSERT_EQ(widths_of(second), widths_of(first));
    for (size_t s = 0; s < first.stages().size(); ++s)
      EXPECT_EQ(second.stages()[s].weights, first.stages()[s].weights);
  }
}

TEST(Topology, RanksAreCountedBeforeTheModelIsKnown) {
  const std::vector<std::pair<TopologyRequest, int>> requests = {
      {{}, 1},
      {{.tensor_parallel_size = 3}, 3},
      {{.tp_weights = "2,1"}, 2},
      {{.tensor_parallel_size = 2, .pipeline_parallel = "4"}, 8},
      {{.tensor_parallel_size = 2, .pipeline_parallel = "13,13,4"}, 6},
      {{.stages = "12@1,14@3,4@2"}, 6}};
  for (const auto& [request, expected] : requests) {
    EXPECT_EQ(num_ranks(request), expected);
    EXPECT_EQ(Topology::resolve(request, 30, {}).num_ranks(), expected);
  }
  EXPECT_THROW(num_ranks({.stages = "12"}), Error);
  EXPECT_THROW(num_ranks({.pipeline_parallel = "many"}), Error);
}

TEST(Topology, ErrorsNameBothNumbers) {
  expect_error({.pp = "13,13,5"}, {"31 layers", "has 30"});
  expect_error({.pp = "13,13"}, {"26 layers", "has 30"});
  expect_error({.stages = "12@1,14@3,5@2"}, {"31 layers", "has 30"});
  expect_error({.pp = "32"}, {"32 stages", "30 layers"});
  expect_error({.pp = "1000000"}, {"1000000 stages", "30 layers"});
  expect_error({.tp = 4, .weights = "2,1,1"}, {"3 ranks", "--tp 4"});
  expect_error({.tp = kMaxRanksPerStage + 1}, {"65 ranks", "64 at most"});
  expect_error({.stages = "30@65"}, {"65 ranks", "64 at most"});
}

TEST(Topology, ErrorsForWhatIsNotATopology) {
  expect_error({.tp = -2}, {"--tp", "-2 ranks"});
  expect_error({.pp = "0"}, {"--pp 0"});
  expect_error({.pp = "-3"}, {"\"-3\""});
  expect_error({.pp = "two"}, {"\"two\""});
  expect_error({.pp = "3x"}, {"\"3x\""});
  expect_error({.pp = " "}, {"--pp"});
  expect_error({.pp = "30,"}, {"\"\""});
  expect_error({.pp = "1.5"}, {"\"1.5\""});
  expect_error({.pp = "99999999999999999999"}, {"99999999999999999999"});
  expect_error({.pp = "1000001,29"}, {"\"1000001\" is not"});
  expect_error({.pp = "0,30"}, {"stage 0 of 2 has no layer"});
  expect_error({.pp = "15,0,15"}, {"stage 1 of 3 has no layer"});
  expect_error({.weights = "2,0,1"}, {"\"0\""});
  expect_error({.weights = "2,-1"}, {"\"-1\""});
  expect_error({.weights = "nan,1"}, {"\"nan\""});
  expect_error({.weights = "inf,1"}, {"\"inf\""});
  expect_error({.weights = "1e-300,1"}, {"\"1e-300\""});
  expect_error({.weights = ","}, {"\"\""});
  expect_error({.weights = "2;1"}, {"\"2;1\""});
  expect_error({.stages = "30"}, {"\"30\" is not layers@ranks"});
  expect_error({.stages = "30@"}, {"--stages", "\"\""});
  expect_error({.stages = "@2"}, {"--stages", "\"\""});
  expect_error({.stages = "30@0"}, {"0 ranks"});
  expect_error({.stages = "30@2@1"}, {"\"2@1\""});
  expect_error({.stages = "0@2,30@1"}, {"stage 0 of 2 has no layer"});
}

TEST(Topology, StagesStandAlone) {
  expect_error({.tp = 2, .stages = "30@2"}, {"--stages", "--tp"});
  expect_error({.pp = "2", .stages = "30@2"}, {"--stages", "--pp"});
  expect_error({.weights = "1,1", .stages = "30@2"}, {"--stages", "--tp-weights"});
}

TEST(Topology, ABalanceIsNamedWhereItIsNotTheUsualOne) {
  const auto described = [](PipelineBalance balance, const char* pp) {
    return resolve({.pp = pp, .balance = balance}).description();
  };
  EXPECT_EQ(described(PipelineBalance::kMixed, "2"), "pp=2");
  EXPECT_EQ(described(PipelineBalance::kPrefill, "2"), "pp=2 pp-balance=prefill");
  EXPECT_EQ(described(PipelineBalance::kDecode, "31"), "pp=31 pp-balance=decode");
  EXPECT_EQ(described(PipelineBalance::kDecode, "1"), "tp=1");  // nothing is balanced
}

TEST(Topology, LayersByHandLeaveNothingToBalance) {
  expect_error({.pp = "15,15", .balance = PipelineBalance::kPrefill},
               {"--pp-balance prefill", "--pp 15,15"});
  expect_error({.stages = "15@1,15@2", .balance = PipelineBalance::kDecode},
               {"--pp-balance decode", "--stages 15@1,15@2"});
}

TEST(TopologyDeathTest, RanksOutsideAreABug) {
  const Topology topology = resolve({.tp = 2});
  EXPECT_DEATH(topology.stage_of(2), "rank 2 of 2");
  EXPECT_DEATH(topology.shard_of(-1), "rank -1 of 2");
}

}  // namespace
}  // namespace weft::parallel
