#include "engine/batch_run.h"

#include <algorithm>

#include "base/clock.h"
#include "base/error.h"
#include "base/random.h"

namespace weft::engine {
namespace {

std::vector<int32_t> random_ids(uint64_t sequence, int64_t count, int64_t vocab_size) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i) {
    const uint64_t bits = uniform_bits(sequence, 0, static_cast<uint64_t>(i));
    ids.push_back(static_cast<int32_t>(bits % static_cast<uint64_t>(vocab_size)));
  }
  return ids;
}

}  // namespace

BatchRun::BatchRun(Replica& replica, cache::BlockPools& pools, const BatchWorkload& workload,
                   int64_t vocab_size, OnStep on_step)
    : replica_(replica), workload_(workload), on_step_(std::move(on_step)) {
  const int64_t given = workload.depth + workload.input_len;
  for (size_t i = 0; i < static_cast<size_t>(workload.batch_size); ++i) {
    const uint64_t number = workload.sequences.empty() ? i : workload.sequences[i];
    sequences_.push_back({random_ids(number, given, vocab_size), cache::SequenceBlocks(pools)});
    sequences_.back().ids.reserve(static_cast<size_t>(given + workload.output_len));
    WEFT_CHECK(sequences_.back().blocks.grow_full(given + workload.output_len));
  }
}

BatchTiming BatchRun::run() {
  BatchTiming timing;
  const Range prompt{workload_.depth, workload_.depth + workload_.input_len};
  feed({0, prompt.begin}, false);
  int64_t begin_ns = now_ns();
  feed(prompt, true);
  timing.prompt_s = seconds_between(begin_ns, now_ns());
  for (int64_t i = 1; i < workload_.output_len; ++i) {
    begin_ns = now_ns();
    feed({prompt.end + i - 1, prompt.end + i}, true);
    timing.step_s.push_back(seconds_between(begin_ns, now_ns()));
  }
  replica_.settle();
  if (workload_.hash_logits) {
    for (const Sequence& sequence : sequences_) timing.logits_hash.push_back(sequence.hash);
  }
  return timing;
}

void BatchRun::feed(Range tokens, bool choose) {
  const int64_t most = replica_.shape().max_batch_tokens;
  StepPlan* plan = nullptr;
  for (size_t s = 0; s < sequences_.size(); ++s) {
    for (int64_t begin = tokens.begin; begin < tokens.end;) {
      if (plan == nullptr) plan = &begin_plan();
      const int64_t room = most - static_cast<int64_t>(plan->token_ids.size());
      const Range chunk{begin, std::min(tokens.end, begin + room)};
      add_chunk(*plan, s, chunk, choose && chunk.end == tokens.end);
      begin = chunk.end;
      if (chunk.size() == room) {
        run_step(*plan);
        plan = nullptr;
      }
    }
  }
  if (plan != nullptr) run_step(*plan);
}

// What no later plan sees is given back for this one's tokens.
StepPlan& BatchRun::begin_plan() {
  for (Sequence& s : sequences_) s.blocks.slide(s.num_fed);
  StepPlan& plan = replica_.next_plan();
  plan.clear();
  return plan;
}

void BatchRun::add_chunk(StepPlan& plan, size_t sequence, Range tokens, bool choose) {
  Sequence& s = sequences_[sequence];
  WEFT_CHECK(s.blocks.grow(tokens.end), "the pools have room");
  s.num_fed = tokens.end;
  const int64_t first = plan.add(std::span(s.ids).subspan(static_cast<size_t>(tokens.begin),
                                                          static_cast<size_t>(tokens.size())),
                                 tokens.begin, s.blocks.full().ids());
  for (int group = 1; group < s.blocks.num_groups(); ++group) {
    const cache::BlockTable& table = s.blocks.table(group);
    plan.add_table(group, table.first_block(), table.ids());
  }
  if (!choose) return;
  plan.rows.push_back({.token = first + tokens.size() - 1,
                       .position = tokens.end - 1,
                       .hash = workload_.hash_logits});
  choosers_.push_back(sequence);
}

void BatchRun::run_step(const StepPlan& plan) {
  const int64_t begin_ns = now_ns();
  replica_.submit();
  const StepAnswer& answer = replica_.await();
  if (on_step_) on_step_(plan, seconds_between(begin_ns, now_ns()));
  for (const int32_t layer : answer.bad_layer) {
    if (layer >= 0)
      throw Error(ErrorKind::kModel,
                  fmt::format("a sum in layer {} left the range of exact reduction", layer));
  }
  for (size_t i = 0; i < answer.rows.size(); ++i) take(answer.rows[i], choosers_[i]);
  choosers_.clear();
}

void BatchRun::take(const model::RowResult& row, size_t sequence) {
  if (row.bad_logits) throw Error(ErrorKind::kModel, "the logits are not finite");
  sequences_[sequence].ids.push_back(row.id);
  sequences_[sequence].hash += row.hash;
}

}  // namespace weft::engine
