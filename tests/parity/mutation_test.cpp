// The parity suite must be able to fail: engines with a wrong cut, a lost head, or a sum whose
// order depends on the tile, compared as the suite compares. Each must change the bits.
//
// The tiny model is looked for in $WEFT_TINY_MODELS.
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "base/thread_team.h"
#include "engine/replica.h"
#include "engine/split_report.h"
#include "parity/answer.h"

namespace weft::parity {
namespace {

using engine::ReplicaShape;
using kernels::KernelTable;

constexpr int64_t kTokens = 48;
constexpr int64_t kContext = 64;

// 9 heads of 64 on 3 KV heads, FFN of 1536, that is 12 units of 128; Q4_1 scales 32 inputs, so a
// unit's halves lie in the same groups.
std::string model_path() {
  const char* folder = std::getenv("WEFT_TINY_MODELS");
  return folder == nullptr ? "" : std::string(folder) + "/heads9kv3.Q4_1.gguf";
}

// An engine without its door, so that its parts can be wrong.
class Harness {
 public:
  using Mutate = std::function<void(std::vector<model::StageSplit>&)>;

  explicit Harness(const std::string& path)
      : source_(std::make_shared<const engine::ModelSource>(engine::open_model(path))) {}

  // The hash of the logits of all positions.
  uint64_t run(const std::string& tp_weights, int64_t chunk, const KernelTable& table,
               const Mutate& mutate = {}) {
    prepare_this_thread();
    engine::EngineOptions options;
    options.topology.tp_weights = tp_weights;
    options.threads_per_rank = 1;
    ReplicaShape shape;
    shape.source = source_;
    shape.table = &table;
    shape.topology = engine::resolve_topology(*source_, options);
    shape.splits = model::split_model(source_->config, shape.topology);
    if (mutate) mutate(shape.splits);
    shape.kv = engine::kv_layout(source_->config, options);
    shape.placement = engine::place_ranks(shape.topology.num_ranks(), options, usable_cpus(), {});
    shape.num_blocks = ceil_div(kContext, options.block_size);
    shape.max_batch_tokens = chunk;
    std::vector<model::RopeCache> ropes;
    for (const model::RopeConfig& rope : source_->config.ropes) ropes.emplace_back(rope, kContext);
    shape.ropes = std::make_shared<const std::vector<model::RopeCache>>(std::move(ropes));
    const auto replica = engine::Replica::start(std::move(shape), options.deadline_ms, {});
    uint64_t hash = 0;
    for (int64_t begin = 0; begin < kTokens; begin += chunk)
      hash += step(*replica, {begin, std::min(kTokens, begin + chunk)});
    replica->settle();
    return hash;
  }

 private:
  uint64_t step(engine::Replica& replica, Range tokens) {
    const std::vector<int32_t> ids = prompt_ids(kTokens, source_->config.vocab_size);
    engine::StepPlan& plan = replica.next_plan();
    std::vector<int32_t> blocks(static_cast<size_t>(replica.shape().num_blocks));
    std::iota(blocks.begin(), blocks.end(), 0);
    plan.clear();
    plan.add(std::span(ids).subspan(static_cast<size_t>(tokens.begin),
                                    static_cast<size_t>(tokens.size())),
             tokens.begin, blocks);
    for (int64_t t = tokens.begin; t < tokens.end; ++t)
      plan.rows.push_back({.token = t - tokens.begin, .position = t, .hash = true});
    replica.submit();
    uint64_t hash = 0;
    const engine::StepAnswer& answer = replica.await();
    EXPECT_EQ(answer.bad_layer, std::vector<int32_t>{-1});
    for (const model::RowResult& row : answer.rows) {
      EXPECT_FALSE(row.bad_logits);
      hash += row.hash;
    }
    return hash;
  }

  std::shared_ptr<const engine::ModelSource> source_;
};

class Mutation : public testing::Test {
 protected:
  void SetUp() override {
    if (model_path().empty()) GTEST_SKIP() << "WEFT_TINY_MODELS is not set";
    harness_ = std::make_unique<Harness>(model_path());
    expected_ = harness_->run("1", kTokens, table_);
  }
  uint64_t run_mutated(const Harness::Mutate& mutate) {
    return harness_->run("1,1,1", kTokens, table_, mutate);
  }

  const KernelTable& table_ = kernels::choose_table();
  std::unique_ptr<Harness> harness_;
  uint64_t expected_ = 0;
};

// Without a mutation the harness agrees with itself over topologies and chunks.
TEST_F(Mutation, NoneChangesNothing) {
  EXPECT_EQ(harness_->run("1,1,1", kTokens, table_), expected_);
  EXPECT_EQ(harness_->run("2,1,1", 7, table_), expected_);
  EXPECT_EQ(harness_->run("1", 1, table_), expected_);
  EXPECT_EQ(run_mutated([](auto&) {}), expected_);
}

TEST_F(Mutation, AnFfnUnitThatNobodyComputes) {
  EXPECT_NE(run_mutated([](std::vector<model::StageSplit>& splits) {
              model::LayerShare& share = splits[0].shards[0].layers[1];
              ASSERT_GT(share.ffn_units.size(), 1u);
              share.ffn_units.pop_back();
              share.ffn.end = share.ffn_units.back().end;
            }),
            expected_);
}

TEST_F(Mutation, AnFfnUnitThatTwoRanksCompute) {
  EXPECT_NE(run_mutated([](std::vector<model::StageSplit>& splits) {
              model::LayerShare& share = splits[0].shards[0].layers[1];
              const model::LayerShare& neighbour = splits[0].shards[1].layers[1];
              ASSERT_EQ(share.ffn.end, neighbour.ffn.begin);
              share.ffn_units.push_back(neighbour.ffn_units.front());
              share.ffn.end = share.ffn_units.back().end;
            }),
            expected_);
}

TEST_F(Mutation, AHeadThatIsLost) {
  EXPECT_NE(run_mutated([](std::vector<model::StageSplit>& splits) {
              parallel::AttentionShare& share = splits[0].shards[2].layers[0].attention;
              ASSERT_GT(share.heads.size(), 1);
              --share.heads.end;
            }),
            expected_);
}

// Rows of the vocabulary that nobody holds leave no logits to choose from.
TEST_F(Mutation, VocabularyRowsThatAreLost) {
  EXPECT_NE(run_mutated([](std::vector<model::StageSplit>& splits) {
              splits[0].shards[1].vocab.end -= parallel::kVocabUnit;
            }),
            expected_);
}

// ---- a sum inside a unit whose order depends on the tile

std::vector<Range> units_of(const tensor::InputMap& map) {
  std::vector<Range> units;
  int64_t begin = map.inputs().begin;
  for (const tensor::Segment& segment : map.segments()) {
    if (!segment.ends_unit) continue;
    const tensor::InputGroup& last =
        map.groups()[static_cast<size_t>(segment.first_group + segment.num_groups - 1)];
    const int64_t end = last.block * tensor::kGroupInputs + last.slots.end;
    units.push_back({begin, end});
    begin = end;
  }
  return units;
}

std::vector<Range> halves_of(const std::vector<Range>& units) {
  std::vector<Range> halves;
  for (const Range unit : units) {
    const int64_t middle = unit.begin + unit.size() / 2;
    halves.push_back({unit.begin, middle});
    halves.push_back({middle, unit.end});
  }
  return halves;
}

// A kernel that sums a unit in two halves where its tile has one token.
void tile_dependent_matmul_exact(const kernels::Matmul& op, Range panels, Range tokens,
                                 const kernels::PartialSums& out) {
  const KernelTable& honest = kernels::choose_table();
  if (tokens.size() != 1) return honest.matmul_exact(op, panels, tokens, out);
  const tensor::PanelLayout halved(
      op.layout->format, op.layout->num_rows,
      tensor::InputMap::of_units(halves_of(units_of(op.layout->inputs))));
  ASSERT_EQ(halved.panel_bytes(), op.layout->panel_bytes());
  ASSERT_EQ(halved.inputs.num_groups(), op.layout->inputs.num_groups());
  kernels::Matmul mutated = op;
  mutated.layout = &halved;
  honest.matmul_exact(mutated, panels, tokens, out);
}

TEST_F(Mutation, AnOrderThatDependsOnTheTile) {
  KernelTable dishonest = table_;
  dishonest.matmul_exact = tile_dependent_matmul_exact;
  const uint64_t token_by_token = harness_->run("1,1,1", 1, dishonest);
  EXPECT_NE(token_by_token, expected_);
  // and it is the order alone: the same order for every tile is a promise kept
  EXPECT_EQ(harness_->run("1", 1, dishonest), token_by_token);
}

}  // namespace
}  // namespace weft::parity
