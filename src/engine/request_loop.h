// The loop that moves every request of a replica: queued requests become plans, plans travel
// through the ring of workers, their answers become tokens and text.
//
//   submit ──> Scheduler ──> StepPlan ──> Replica (ring) ──> StepAnswer ──> Answering ──> events
//                  ^                                                            |
//                  └────────────── the token that was chosen ───────────────────┘
//
// Thread rule: one thread, which leads the replica's first worker; `cancel_from_anywhere` aside.
#pragma once

#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "cache/block_pools.h"
#include "cache/prefix_cache.h"
#include "engine/answering.h"
#include "engine/draft_model.h"
#include "engine/draft_policy.h"
#include "engine/model_source.h"
#include "engine/replica.h"
#include "engine/scheduler.h"
#include "engine/step_times.h"

namespace weft::engine {

class RequestLoop {
 public:
  // All references outlive the loop. max_model_len: tokens of one prompt and answer. draft: null
  // without a draft model.
  RequestLoop(Replica& replica, const ModelSource& source, cache::BlockPools& pools,
              const EngineOptions& options, int64_t max_model_len, DraftModel* draft = nullptr);

  // A checked request, its seed set. Returns its number.
  uint64_t submit(Request request);
  // Unknown numbers, and requests that have ended: nothing happens.
  void cancel(uint64_t request);
  // One turn: false where nothing is left to do; then every block is free or cached, which is
  // checked. Throws what ended the replica.
  bool step(const OnEvent& on_event);

  bool is_idle() const { return requests_.empty(); }
  // Gives up what the prefix cache holds. Only when idle.
  void clear_cache();
  // Gives up what the prefix cache holds alone. At any time.
  void forget_idle_prefixes();
  cache::PrefixOutline prefix_outline(const cache::OutlineLimits& limits) const {
    return cache_.outline(limits, last_taken_plan_);
  }
  EngineStats stats() const;
  // Null for requests that have ended. Valid until the next call.
  const RequestState* state(uint64_t request) const;

 private:
  // A plan under way.
  struct Flight {
    Schedule schedule;
    std::vector<RowOwner> rows;
    std::vector<StateOwner> states;
    double draft_s = 0;  // spent on its guesses
  };

  void check_books();
  bool submit_next();
  void fill_plan(Flight& flight, StepPlan& plan);
  StepContext context_of(const Schedule& schedule) const;
  void note_size(int64_t num_tokens);
  void note_scheduled(const Schedule& schedule);
  void take_answer();
  void take_failures(const Flight& flight, const StepAnswer& answer);
  void take_states(const Flight& flight, const StepAnswer& answer);
  void take_rows(const Flight& flight, const StepAnswer& answer);
  void take_token(Answering::Branch& branch, const model::RowResult& row);
  int64_t take_guesses(const Schedule& schedule, const Schedule::Chunk& chunk);
  void guess(const Schedule& schedule, const Schedule::Chunk& chunk);
  void note_gain(const Flight& flight, int64_t num_accepted);
  void begin_others(Answering& answering);
  void end_all(Answering& answering, FinishReason reason);
  void fail(Answering& answering, const Error& error);
  void touch(Answering& answering);
  void report(const OnEvent& on_event);
  void report(Answering& answering, const OnEvent& on_event);

  Replica& replica_;
  const ModelSource& source_;
  cache::BlockPools& pools_;
  cache::PrefixCache cache_;
  StepTimes times_;
  DraftModel* draft_;
  std::optional<DraftPolicy> draft_policy_;
  Scheduler scheduler_;
  int64_t max_model_len_, num_speculative_tokens_;
  std::unordered_map<uint64_t, std::unique_ptr<Answering>> requests_;
  std::vector<Answering*> touched_;  // with news, or over
  std::vector<Sequence*> leaving_;   // ended by the answer at hand
  std::vector<Flight> ring_;         // [Replica::kRingSlots]
  uint64_t num_submitted_ = 0, num_answered_ = 0;
  uint64_t last_taken_ = 0;           // Schedule::number of the answer taken last
  int64_t last_taken_plan_ = 0;       // its Schedule::cache_plan
  uint64_t num_answers_at_room_ = 0;  // Replica::num_awaited() when a sequence left last
  uint64_t next_request_ = 1, next_sequence_ = 1;
  int64_t checked_ns_ = 0;  // when the cache was looked through
  EngineStats totals_;
};

}  // namespace weft::engine
