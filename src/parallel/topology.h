// Which ranks hold which layers: a list of stages, each with its own number of ranks.
//
//   --tp 3 --pp 2               two stages of three ranks
//   --pp 13,13,4                three stages of one rank, layers by hand
//   --tp-weights 2,1,1          three ranks with unequal shares
//   --stages 12@1,14@3,4@2      layers@ranks, stages differ in width; "0@2": the head alone
//   --pp 2 --pp-balance decode  what kind of work the balanced layers are balanced for
//
// Ranks are numbered stage by stage: stage 0's shards first.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/range.h"

namespace weft::parallel {

struct Stage {
  Range layers;                 // [begin, end) of the model's layers
  std::vector<double> weights;  // one a rank; size() is the stage's width
  int first_rank = 0;           // global rank of the stage's shard 0

  int num_ranks() const { return static_cast<int>(weights.size()); }
};

// What a balanced pipeline is balanced for (model/split.h weighs the head accordingly): generated
// tokens, prompts, or requests that have both. Only where stages work at the same time does a
// balance matter; there are many requests then, and so there are prompts among their answers.
enum class PipelineBalance { kDecode, kPrefill, kMixed };
inline constexpr PipelineBalance kDefaultBalance = PipelineBalance::kMixed;
const char* name(PipelineBalance balance);

// What the user asked for, as parsed from the options; empty strings and zeros: not given.
struct TopologyRequest {
  int tensor_parallel_size = 0;                 // --tp
  std::string pipeline_parallel;                // --pp "3" or "13,13,4"
  std::string tp_weights;                       // "2,1,1"
  std::string stages;                           // "12@1,14@3,4@2"
  std::optional<PipelineBalance> balance = {};  // --pp-balance; none: kDefaultBalance

  PipelineBalance balance_or_default() const { return balance.value_or(kDefaultBalance); }
};

// Costs of the parts that only the first and last stage hold, in layers (for balancing).
struct StageCosts {
  double embedding = 0;
  double head = 0;
};

class Topology {
 public:
  // `costs`: for request.balance. Checks everything a user can get wrong (Error(kUsage) naming both
  // numbers): sums that do not match num_layers, more stages than layers, weights that do not match
  // --tp, --stages together with --tp/--pp, --pp-balance together with layers by hand, degrees
  // outside 1..kMaxRanksPerStage.
  static Topology resolve(const TopologyRequest& request, int64_t num_layers, StageCosts costs);

  const std::vector<Stage>& stages() const { return stages_; }
  int num_stages() const { return static_cast<int>(stages_.size()); }
  int num_ranks() const;
  int stage_of(int rank) const;
  int shard_of(int rank) const;  // index within its stage
  // "tp=3 pp=2", "stages=12@1,14@3,4@2", "tp-weights=2,1,1": the shortest description that, given
  // as options, yields this topology again. "pp=2" says that the layers were balanced, and
  // "pp=2 pp-balance=prefill" for what, where it is not the default.
  std::string description() const;

 private:
  std::vector<Stage> stages_;
  // What for, where the layers of the stages came from balance_layers.
  std::optional<PipelineBalance> balance_;
};

inline constexpr int kMaxRanksPerStage = 64;

}  // namespace weft::parallel
