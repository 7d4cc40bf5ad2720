// Every head, FFN column, vocabulary row and layer has exactly one owner, whatever the topology.
#include "model/split.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace weft::model {
namespace {

struct Shape {
  const char* name;
  int64_t num_layers, num_heads, num_kv_heads, head_dim, ffn_size, vocab_size;
};

// Shapes of real models, and some that divide by nothing.
constexpr Shape kShapes[] = {{"SmolLM2-135M", 30, 9, 3, 64, 1536, 49152},
                             {"Gemma 3 270M", 18, 4, 1, 256, 2048, 262144},
                             {"Qwen2.5-0.5B", 24, 14, 2, 64, 4864, 151936},
                             {"25 over 5", 7, 25, 5, 40, 864, 1003},
                             {"28 over 4", 3, 28, 4, 32, 1184, 515},
                             {"FFN 1000", 29, 2, 1, 32, 1000, 259},
                             {"one head", 2, 1, 1, 64, 96, 263}};

ModelConfig config_of(const Shape& shape) {
  ModelConfig c;
  c.num_layers = shape.num_layers;
  c.num_heads = shape.num_heads;
  c.num_kv_heads = shape.num_kv_heads;
  c.head_dim = shape.head_dim;
  c.hidden_size = shape.num_heads * shape.head_dim;
  c.ffn_size = shape.ffn_size;
  c.vocab_size = shape.vocab_size;
  return c;
}

std::vector<parallel::TopologyRequest> requests(int64_t num_layers) {
  std::vector<parallel::TopologyRequest> all;
  for (int tp = 1; tp <= 16; ++tp) all.push_back({.tensor_parallel_size = tp});
  for (int64_t pp = 2; pp <= num_layers; pp += 3)
    all.push_back({.tensor_parallel_size = 3, .pipeline_parallel = fmt::format("{}", pp)});
  for (const char* weights : {"2,1,1", "1,3", "3,2,1,1", "100,1", "1,1,1,1,1,1,7"})
    all.push_back({.tp_weights = weights});
  all.push_back({.stages = fmt::format("1@1,{}@5", num_layers - 1)});
  all.push_back({.stages = fmt::format("{}@4,1@2", num_layers - 1)});
  return all;
}

// The ranges, sorted, follow each other from 0 to `size`; empty ones have no place.
void expect_tiles(std::vector<Range> ranges, int64_t size, const std::string& what) {
  std::erase_if(ranges, [](Range r) { return r.empty(); });
  std::sort(ranges.begin(), ranges.end(), [](Range a, Range b) { return a.begin < b.begin; });
  int64_t end = 0;
  for (const Range r : ranges) {
    EXPECT_EQ(r.begin, end) << what;
    end = r.end;
  }
  EXPECT_EQ(end, size) << what;
}

void check_layer(const ModelConfig& c, const StageSplit& stage, size_t layer,
                 const std::string& what) {
  std::vector<Range> heads, units;
  const int64_t group = c.num_heads / c.num_kv_heads;
  for (const ShardSplit& shard : stage.shards) {
    const LayerShare& share = shard.layers[layer];
    heads.push_back(share.attention.heads);
    units.insert(units.end(), share.ffn_units.begin(), share.ffn_units.end());
    // A KV head for each query head, and none besides.
    if (share.attention.heads.empty()) {
      EXPECT_TRUE(share.attention.kv_heads.empty()) << what;
    } else {
      EXPECT_EQ(share.attention.kv_heads.begin, share.attention.heads.begin / group) << what;
      EXPECT_EQ(share.attention.kv_heads.end, (share.attention.heads.end - 1) / group + 1) << what;
    }
    // The columns are those of the units.
    EXPECT_EQ(share.ffn.empty(), share.ffn_units.empty()) << what;
    int64_t end = share.ffn.begin;
    for (const Range unit : share.ffn_units) {
      EXPECT_EQ(unit.begin, end) << what;
      end = unit.end;
    }
    EXPECT_EQ(end, share.ffn.end) << what;
  }
  expect_tiles(heads, c.num_heads, what + ", heads");
  expect_tiles(units, c.ffn_size, what + ", FFN units");
  // Units are those of the model: no cut makes another, or bits would change with it.
  std::sort(units.begin(), units.end(), [](Range a, Range b) { return a.begin < b.begin; });
  EXPECT_EQ(units, parallel::ffn_units(c.ffn_size)) << what;
}

TEST(SplitModel, TilesEverything) {
  for (const Shape& shape : kShapes) {
    const ModelConfig c = config_of(shape);
    for (const parallel::TopologyRequest& request : requests(c.num_layers)) {
      const auto topology = parallel::Topology::resolve(request, c.num_layers,
                                                        stage_costs(c, parallel::kDefaultBalance));
      const auto stages = split_model(c, topology);
      ASSERT_EQ(static_cast<int>(stages.size()), topology.num_stages());
      std::vector<Range> layers;
      for (const StageSplit& stage : stages) {
        const std::string what =
            fmt::format("{}, {}, layers {}-{}", shape.name, topology.description(),
                        stage.layers.begin, stage.layers.end);
        layers.push_back(stage.layers);
        EXPECT_EQ(stage.first, &stage == &stages.front()) << what;
        EXPECT_EQ(stage.last, &stage == &stages.back()) << what;
        std::vector<Range> vocab;
        for (const ShardSplit& shard : stage.shards) {
          ASSERT_EQ(static_cast<int64_t>(shard.layers.size()), stage.layers.size()) << what;
          vocab.push_back(shard.vocab);
        }
        for (size_t layer = 0; layer < static_cast<size_t>(stage.layers.size()); ++layer)
          check_layer(c, stage, layer, what);
        if (stage.first || stage.last) expect_tiles(vocab, c.vocab_size, what + ", vocabulary");
      }
      expect_tiles(layers, c.num_layers, topology.description());
    }
  }
}

// Beside the shapes above.
constexpr Shape kLlama8B{"Llama 8B", 32, 32, 8, 128, 14336, 128256};
constexpr Shape kLlama70B{"Llama 70B", 80, 64, 8, 128, 28672, 128256};

std::vector<int64_t> layers_of(const Shape& shape, int num_stages,
                               parallel::PipelineBalance balance) {
  const auto topology = resolve_topology(
      config_of(shape), {.pipeline_parallel = std::to_string(num_stages), .balance = balance});
  std::vector<int64_t> layers;
  for (const parallel::Stage& stage : topology.stages()) layers.push_back(stage.layers.size());
  return layers;
}

// The head in layers, as published for these models: its parameters over a layer's.
TEST(StageCosts, TheHeadInLayers) {
  const auto head = [](const Shape& shape, parallel::PipelineBalance balance) {
    return stage_costs(config_of(shape), balance).head;
  };
  constexpr auto kDecode = parallel::PipelineBalance::kDecode;
  EXPECT_NEAR(head(kShapes[0], kDecode), 8.0, 0.05);
  EXPECT_NEAR(head(kShapes[2], kDecode), 9.1, 0.05);
  EXPECT_NEAR(head(kLlama8B, kDecode), 2.4, 0.05);
  EXPECT_NEAR(head(kLlama70B, kDecode), 1.2, 0.05);
  EXPECT_NEAR(head(kShapes[0], parallel::PipelineBalance::kMixed), 0.45 * 8.0, 0.03);
  EXPECT_NEAR(head(kShapes[0], parallel::PipelineBalance::kPrefill), 8.0 / 220, 0.001);
}

// Where several splits have the same slowest stage, the others of ours are the more equal ones:
// SmolLM2 in four could be 10, 10, 10, 0 as well.
TEST(StageCosts, TheLayersOfStagesFollowTheWork) {
  constexpr auto kDecode = parallel::PipelineBalance::kDecode,
                 kPrefill = parallel::PipelineBalance::kPrefill,
                 kMixed = parallel::PipelineBalance::kMixed;
  using Layers = std::vector<int64_t>;
  const Shape &smollm2 = kShapes[0], &qwen = kShapes[2];
  EXPECT_EQ(layers_of(smollm2, 2, kDecode), (Layers{19, 11}));
  EXPECT_EQ(layers_of(smollm2, 3, kDecode), (Layers{13, 13, 4}));
  EXPECT_EQ(layers_of(smollm2, 4, kDecode), (Layers{10, 10, 9, 1}));
  EXPECT_EQ(layers_of(qwen, 2, kDecode), (Layers{17, 7}));
  EXPECT_EQ(layers_of(qwen, 3, kDecode), (Layers{11, 11, 2}));
  EXPECT_EQ(layers_of(kLlama8B, 2, kDecode), (Layers{17, 15}));
  EXPECT_EQ(layers_of(kLlama8B, 4, kDecode), (Layers{9, 9, 8, 6}));
  EXPECT_EQ(layers_of(kLlama70B, 2, kDecode), (Layers{41, 39}));

  EXPECT_EQ(layers_of(smollm2, 2, kPrefill), (Layers{15, 15}));
  EXPECT_EQ(layers_of(smollm2, 3, kPrefill), (Layers{10, 10, 10}));
  EXPECT_EQ(layers_of(smollm2, 4, kPrefill), (Layers{8, 8, 7, 7}));
  EXPECT_EQ(layers_of(qwen, 2, kPrefill), (Layers{12, 12}));
  EXPECT_EQ(layers_of(kLlama8B, 4, kPrefill), (Layers{8, 8, 8, 8}));
  EXPECT_EQ(layers_of(kLlama70B, 2, kPrefill), (Layers{40, 40}));

  EXPECT_EQ(layers_of(smollm2, 2, kMixed), (Layers{17, 13}));
  EXPECT_EQ(layers_of(smollm2, 3, kMixed), (Layers{11, 11, 8}));
  EXPECT_EQ(layers_of(qwen, 2, kMixed), (Layers{14, 10}));
  EXPECT_EQ(layers_of(kLlama8B, 4, kMixed), (Layers{9, 8, 8, 7}));
  // Nothing was said: requests of prompts and answers.
  const auto plain = resolve_topology(config_of(smollm2), {.pipeline_parallel = "2"});
  EXPECT_EQ(plain.stages()[0].layers.size(), 17);
}

// The remainder rotates: over the layers of a stage no rank holds two units more than another
// where all weigh the same, though no layer divides.
TEST(SplitModel, RotatesTheRemainder) {
  const ModelConfig c = config_of(kShapes[0]);
  for (const int tp : {2, 4, 5, 7}) {
    const auto topology = parallel::Topology::resolve({.tensor_parallel_size = tp}, c.num_layers,
                                                      stage_costs(c, parallel::kDefaultBalance));
    const auto stages = split_model(c, topology);
    std::vector<int64_t> units;
    for (const ShardSplit& shard : stages[0].shards) {
      units.push_back(0);
      for (const LayerShare& share : shard.layers)
        units.back() += static_cast<int64_t>(share.ffn_units.size());
    }
    const auto [least, most] = std::minmax_element(units.begin(), units.end());
    EXPECT_LE(*most - *least, 1) << "tp " << tp;
  }
}

TEST(SplitModel, IsAFunctionOfItsInputs) {
  const ModelConfig c = config_of(kShapes[2]);
  const auto topology = parallel::Topology::resolve({.tp_weights = "3,2,1,1"}, c.num_layers,
                                                    stage_costs(c, parallel::kDefaultBalance));
  const auto first = split_model(c, topology), second = split_model(c, topology);
  for (size_t r = 0; r < 4; ++r) {
    EXPECT_EQ(first[0].shards[r].vocab, second[0].shards[r].vocab);
    for (size_t layer = 0; layer < 24; ++layer) {
      EXPECT_EQ(first[0].shards[r].layers[layer].attention,
                second[0].shards[r].layers[layer].attention);
      EXPECT_EQ(first[0].shards[r].layers[layer].ffn, second[0].shards[r].layers[layer].ffn);
    }
  }
}

}  // namespace
}  // namespace weft::model
