// The masks of one step's rows under grammars, made by the workers of the last stage between them.
//
// No layer needs a mask, only the choice at the end does. So the planner submits a step whose plan
// has room for masks and nothing in it, and every thread of the last stage takes one place in a
// grammar after another until none is left: before the stage computes, and, where others come
// before it, while their layers run and it would wait for its input.
//
//   planner   | plan | submit | ...                         | await
//   stage 0            | layers ................|
//   stage 1            | masks of all rows |    | layers .. choice |
//
// Rejected: a thread of its own for masks (ranks have all cores: it would take one of them from a
// rank that all others wait for); masks made where a row is chosen (the same time, but it would
// count as work of the step, and no other stage would hide it).
//
// Thread rule: `add` and `clear` are the planner's, before the step is submitted and after it was
// answered; `help` is any worker's that runs it. Every worker of the last stage must have come out
// of `help` before one of them reads a mask.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/range.h"
#include "base/thread_team.h"
#include "engine/grammar_place.h"
#include "engine/step.h"

namespace weft::engine {

class MaskWork {
 public:
  // Makes room in the plan for the masks of a row and of one after each guess, which are tokens of
  // the plan. Returns the row's (LogitRow::mask), which the others follow. What the place belongs
  // to may end before the step does.
  Range add(std::shared_ptr<GrammarPlace> place, Range guesses, StepPlan& plan);
  // The plan is complete: it stays where it is until `clear`.
  void begin(StepPlan& plan);
  void clear();
  bool empty() const { return jobs_.empty(); }

  // Makes masks with the threads of a team until nobody has to begin one.
  void help(ThreadTeam& team);
  // Spent in `help`, by all threads together, for this step.
  int64_t spent_ns() const { return spent_ns_.load(std::memory_order_relaxed); }

 private:
  // The masks of one place: it is asked by one thread at a time.
  struct Job {
    std::shared_ptr<GrammarPlace> place;
    Range guesses;  // of StepPlan::token_ids
    Range words;    // of StepPlan::masks
  };

  void make_some();

  std::vector<Job> jobs_;
  std::span<const int32_t> token_ids_;  // the plan's
  std::span<uint32_t> masks_;           // the same
  std::atomic<size_t> next_{0};
  std::atomic<int64_t> spent_ns_{0};
};

}  // namespace weft::engine
