#include "engine/numerics.h"

#include <algorithm>
#include <span>

#include "base/sha256.h"
#include "comm/job.h"
#include "engine/model_source.h"
#include "engine/placement.h"
#include "engine/split_report.h"

namespace weft::engine {
namespace {

constexpr size_t kHexDigits = 16;

// Neighbours, some of which may be empty.
Range joined(Range a, Range b) {
  if (a.empty()) return b;
  return b.empty() ? a : Range{std::min(a.begin, b.begin), std::max(a.end, b.end)};
}

// What some shards of a stage, which a process runs, add up before it is rounded.
std::string part_text(const model::StageSplit& stage, Range shards) {
  std::string text;
  for (size_t layer = 0; layer < static_cast<size_t>(stage.layers.size()); ++layer) {
    Range heads, ffn;
    for (int64_t s = shards.begin; s < shards.end; ++s) {
      const model::LayerShare& share = stage.shards[static_cast<size_t>(s)].layers[layer];
      heads = joined(heads, share.attention.heads);
      ffn = joined(ffn, share.ffn);
    }
    text += fmt::format(" {}-{},{}-{}", heads.begin, heads.end, ffn.begin, ffn.end);
  }
  return text;
}

// Of the stages that span processes.
std::string cut_text(const std::vector<model::StageSplit>& splits,
                     const std::vector<Range>& ranks) {
  std::string text;
  for (const model::StageSplit& stage : splits) {
    const Range of_stage{stage.first_rank, stage.first_rank + std::ssize(stage.shards)};
    const bool spans = std::none_of(ranks.begin(), ranks.end(), [&](Range process) {
      return process.intersect(of_stage) == of_stage;
    });
    if (!spans || stage.layers.empty()) continue;
    text += fmt::format("layers {}-{}", stage.layers.begin, stage.layers.end);
    for (const Range process : ranks) {
      const Range here = process.intersect(of_stage);
      if (here.empty()) continue;
      text += " |" + part_text(stage, {here.begin - of_stage.begin, here.end - of_stage.begin});
    }
    text += "\n";
  }
  return text;
}

}  // namespace

std::string sums_id(comm::SumWire wire, const std::vector<model::StageSplit>& splits,
                    const std::vector<Range>& ranks) {
  const bool may_round = wire != comm::SumWire::kInt64 && ranks.size() > 1;
  const std::string cut = may_round ? cut_text(splits, ranks) : "";
  if (cut.empty()) return std::string(kExactSums);
  Sha256 sum;
  sum.add(std::as_bytes(std::span(cut)));
  return fmt::format("{}@{}", comm::name(wire), sum.finish().substr(0, kHexDigits));
}

std::string numerics_id(const EngineOptions& options) {
  if (options.reduce == comm::SumWire::kInt64 || options.job == nullptr)
    return numerics_id(options.kv_type);
  const ModelSource source = open_model(options.model_path);
  const parallel::Topology topology = resolve_topology(source, options);
  return numerics_id(options.kv_type,
                     sums_id(options.reduce, model::split_model(source.config, topology),
                             share_ranks(topology.num_ranks(), options.ranks_per_process,
                                         options.job->num_processes())));
}

}  // namespace weft::engine
