// A small model of the same vocabulary that guesses what comes next. Between the making of a plan
// and its run it fills in the guesses that the scheduler has left room for:
//
//   schedule      [a b c d]->? ?   [x y]->? ?   [prompt ...]      -> : chooses the next token
//   first step     . . c d  -> e    x y -> z                        what it has not seen
//   (DraftCache) second step        e    -> f    z -> w plan          [a b c d  e f]   [x y  z w]
//   [prompt ...]
//
// Its steps carry all sequences that guess, each with the parameters and random numbers of its own
// next choice: a guess stands where both models choose the same. It is a replica of one stage, run
// from the planner's thread between that thread's own parts of steps, on the cores of the first
// stage, which are idle then.
//
// Guesses change no bit of an answer, and neither does what goes wrong with them: where a sum of
// the draft model leaves its range, its logits are not finite or it does not know a token, the
// sequence goes on without guesses; where a rank of it fails, all do.
//
// Thread rule: the planner's thread. Steady decoding allocates nothing.
#pragma once

#include <memory>
#include <vector>

#include "engine/draft_cache.h"
#include "engine/replica.h"
#include "engine/request.h"
#include "engine/scheduler.h"
#include "engine/step_times.h"

namespace weft::engine {

class DraftModel {
 public:
  // vocab_size: of the model that it guesses for. Runs a few steps, to know what they take.
  DraftModel(std::shared_ptr<Replica> replica, int64_t vocab_size);

  // Fills in the guesses of a schedule that is about to run, and drops those that it has none for.
  // last_taken: the schedule whose answer was taken last.
  void propose(Schedule& schedule, uint64_t last_taken);
  // As far as its own part goes: adds to the figures.
  void add_to(SpeculationStats& stats) const;

  const StepTimes& times() const { return times_; }
  const DraftCache& cache() const { return cache_; }
  // A rank of it failed: there will be no more guesses.
  bool is_lost() const { return is_lost_; }
  // Tokens of the longest context, and of one step.
  int64_t max_positions() const { return max_positions_; }
  int64_t max_step_tokens() const { return replica_->shape().max_batch_tokens; }
  const Replica& replica() const { return *replica_; }

 private:
  // A chunk of the schedule for which it works.
  struct Draft {
    Schedule::Chunk* chunk = nullptr;
    Range unseen;          // positions to be computed
    int64_t most = 0;      // guesses
    int64_t count = 0;     // of them so far
    bool is_open = false;  // a guess more is wanted
  };

  void measure_steps();
  void list_drafts(Schedule& schedule);
  Draft draft_of(Schedule& schedule, Schedule::Chunk& chunk) const;
  bool knows_tokens(const Draft& draft) const;
  void see_tokens(Schedule& schedule);
  bool guess_next(Schedule& schedule);
  StepPlan& begin_step();
  void add_part(size_t index, std::span<const int32_t> ids, int64_t position, bool chooses,
                const Schedule& schedule, StepPlan& plan);
  void run_step(Schedule& schedule);
  void take_row(Schedule& schedule, Draft& draft, const model::RowResult& row);
  void give_up(const Schedule& schedule, Draft& draft, const char* why);
  void trim(Schedule& schedule);
  static void drop_guesses(Schedule& schedule, Schedule::Chunk& chunk, int64_t kept);
  static int32_t& guess_of(Schedule& schedule, const Draft& draft, int64_t index);

  std::shared_ptr<Replica> replica_;
  int64_t vocab_size_, own_vocab_size_, max_positions_;
  DraftCache cache_;
  StepTimes times_;
  uint64_t last_taken_ = 0;                   // of the schedule at hand
  std::vector<Draft> drafts_;                 // of the schedule at hand
  std::span<const cache::BlockCopy> copies_;  // of it, until its first step makes them
  // Of a step: what it holds, and the draft of each of its chunks and rows.
  StepLoad load_;
  std::vector<size_t> parts_, choosers_;
  SpeculationStats totals_;
  bool is_lost_ = false, has_warned_ = false;
};

}  // namespace weft::engine
