#include "engine/draft_plan.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "engine/split_report.h"

namespace weft::engine {
namespace {

std::string name_of(const ModelSource& source) {
  return source.config.name.empty() ? source.checkpoint->path().string() : source.config.name;
}

// Between quotes, what cannot be printed escaped.
std::string quoted(const std::string& token) {
  return nlohmann::json(token).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

EngineOptions options_of_draft(const EngineOptions& options) {
  EngineOptions draft = options;
  draft.model_path = options.speculative_model;
  draft.topology = {};
  draft.topology.tensor_parallel_size = options.draft_tensor_parallel_size;
  draft.speculative_model.clear();
  draft.devices.clear();
  draft.placement = Placement::kAuto;
  draft.job = nullptr;
  draft.ranks_per_process.clear();
  draft.window_groups = false;  // it lies under the blocks of full attention
  return draft;
}

}  // namespace

void check_same_vocabulary(const ModelSource& target, const ModelSource& draft) {
  const text::Tokenizer &a = *target.tokenizer, &b = *draft.tokenizer;
  const int64_t count = std::min(a.vocab_size(), b.vocab_size());
  for (int32_t id = 0; id < count; ++id) {
    const std::string token = a.piece(id, true), other = b.piece(id, true);
    if (token == other && a.is_special(id) == b.is_special(id)) continue;
    throw Error(
        ErrorKind::kUsage,
        fmt::format("{} cannot guess for {}: their vocabularies differ", name_of(draft),
                    name_of(target)),
        fmt::format("token {} is {} in one and {} in the other", id, quoted(other), quoted(token)),
        "name a smaller model of the same family with --speculative-model");
  }
}

PlacementPlan place_draft(int num_ranks, const EngineOptions& options, const ReplicaShape& target) {
  const parallel::Stage& first = target.topology.stages().front();
  const Range ranks{first.first_rank, first.first_rank + first.num_ranks()};
  int num_threads = 0;
  std::vector<int> cpus;
  for (const WorkerPlace& worker : target.placement.workers) {
    // Over several processes it guesses in the first one, which plans.
    if (worker.ranks.intersect(ranks).empty() || worker.process != 0) continue;
    num_threads += worker.num_threads;
    cpus.insert(cpus.end(), worker.cpus.begin(), worker.cpus.end());
  }
  const bool is_pinned = static_cast<int>(cpus.size()) == num_threads;
  if (!is_pinned) cpus.resize(static_cast<size_t>(num_threads));  // numbers that are not looked at
  EngineOptions own = options;
  own.threads_per_rank = std::max(1, num_threads / num_ranks);
  PlacementPlan plan = place_ranks(num_ranks, own, cpus, {});
  for (WorkerPlace& worker : plan.workers) {
    if (!is_pinned) worker.cpus.clear();
  }
  return plan;
}

DraftPlan plan_draft(const EngineOptions& options, const ModelSource& source,
                     const ReplicaShape& target) {
  DraftPlan plan{options_of_draft(options), {}};
  ReplicaShape& shape = plan.shape;
  auto draft = std::make_shared<const ModelSource>(open_model(options.speculative_model));
  check_same_vocabulary(source, *draft);
  shape.source = draft;
  const int64_t context = draft->config.context_length;
  if (plan.options.max_model_len > 0)
    plan.options.max_model_len = std::min(plan.options.max_model_len, context);
  shape.table = target.table;
  shape.topology = resolve_topology(*draft, plan.options);
  if (shape.topology.num_stages() > 1)
    throw Error(ErrorKind::kUsage,
                fmt::format("{} is packed for {} stages; a draft model runs in one",
                            name_of(*draft), shape.topology.num_stages()),
                "", "pack it with --tp alone, or name its file");
  shape.splits = model::split_model(draft->config, shape.topology);
  shape.kv = kv_layout(draft->config, plan.options);
  shape.placement = place_draft(shape.topology.num_ranks(), plan.options, target);
  return plan;
}

void report_draft(const DraftPlan& plan, SplitReport& report) {
  const ReplicaShape& shape = plan.shape;
  SplitReport draft =
      report_split(*shape.source, shape.topology, shape.splits, shape.placement, plan.options);
  report.draft_ranks = std::move(draft.ranks);
  report.draft_model = name_of(*shape.source);
}

}  // namespace weft::engine
