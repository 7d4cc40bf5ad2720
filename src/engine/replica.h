// The workers of one replica in this process, and the ring of steps between planner and workers.
//
// The planner's thread is the leader of worker 0: it publishes a plan, runs its own part of the
// step at once, and later awaits the answers of the last stage, in order. The other workers run on
// threads of their own. Up to `kRingSlots` steps may be in flight.
//
//   slot:  planned ──> run by every worker ──> answered by the last stage ──> awaited ──> reused
//          planner      workers                 its first worker               planner
//
// A replica may span the processes of a job (engine/step_exchange.h): process 0 plans, the others
// `follow`. Each has a ring of its own for its workers.
//
// A worker that fails ends the waits of all others; the failure is thrown by the next `await`.
// One that is silent for good cannot be ended: its thread is left to itself, and holds on to this
// replica with all that it may touch. Whoever learns of a lost rank should end the process.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/wait_word.h"
#include "engine/mask_work.h"
#include "engine/step_exchange.h"
#include "engine/step_log.h"
#include "engine/worker.h"
#include "engine/worker_reports.h"

namespace weft::engine {

class Replica {
 public:
  // Starts the workers and loads the weights. on_load as in Engine::load. The pointer's end ends
  // the workers; after a failure it waits for them for a moment and not longer.
  // job: whose processes it spans, as the placement says; null: none.
  static std::shared_ptr<Replica> start(ReplicaShape shape, int64_t deadline_ms,
                                        const OnLoad& on_load, comm::Job* job = nullptr);
  Replica(const Replica&) = delete;
  Replica& operator=(const Replica&) = delete;

  static constexpr uint64_t kRingSlots = 64;
  // Steps that may wait for their answers at once: one more than there are stages.
  uint64_t max_in_flight() const { return max_in_flight_; }
  uint64_t in_flight() const { return num_submitted_ - num_awaited_; }
  // Answers taken since the start; steps are numbered alike.
  uint64_t num_awaited() const { return num_awaited_; }

  // The plan to fill for the next submit(); its vectors keep their memory.
  StepPlan& next_plan();
  // Of the plan that next_plan() gave: masks that its last stage is to make.
  MaskWork& next_masks() { return slots_[num_submitted_ % kRingSlots].masks; }
  // context: for the log of steps.
  void submit(const StepContext& context = {});
  // Whether `await` would return at once.
  // (Never where the answer comes from another process.)
  bool has_answer() const {
    return in_flight() > 0 && !answered_elsewhere_ &&
           WaitWord::reached(answered_.load(), static_cast<uint32_t>(num_awaited_ + 1));
  }
  // The answers of the oldest step in flight, valid until kRingSlots more steps were submitted.
  const StepAnswer& await();
  // Of the step awaited last: what each row of time_rows() worked on it.
  std::span<const int64_t> work_ns() const {
    return slots_[(num_awaited_ - 1) % kRingSlots].work_ns;
  }
  // Making masks, of the steps awaited so far and all threads together.
  double mask_s() const { return seconds_between(0, mask_ns_); }
  // Awaits what is in flight and waits until every worker has left its last step.
  void settle();
  // In a process that does not plan: runs the steps that process 0 plans until it has no more.
  void follow();
  // Nobody asks anything of the first worker: its thread is elsewhere.
  void rest() { clock().enter(Activity::kNothing); }
  // The planner is at work. Replica's own verbs keep the clock by themselves.
  void plan() { clock().enter(Activity::kSchedule); }

  // May be asked while steps run: times of other processes' workers are then of a while ago.
  ClockMarks marks(bool begins_window = false);
  // [workers], from the one under way at a moment on; any thread. error_ns: how far moments of
  // other processes' workers may be off.
  std::vector<ActivityClock::Events> events_since(int64_t begin_ns, int64_t& error_ns) const;
  ClockMarks begin_window();
  // The steps submitted from a moment on, as far as they are kept.
  std::vector<StepRecord> steps_since(int64_t begin_ns) const { return step_log_.since(begin_ns); }

  // Those of this process.
  int num_workers() const { return static_cast<int>(workers_.size()); }
  const Worker& worker(int index) const { return *workers_[static_cast<size_t>(index)]; }
  bool runs(int rank) const;
  const Worker& worker_of(int rank) const;
  const ReplicaShape& shape() const { return shape_; }

 private:
  struct Slot {
    StepPlan plan;
    MaskWork masks;
    StepAnswer answer;
    std::vector<int64_t> work_ns;  // [time_rows()]
  };

  Replica(ReplicaShape shape, int64_t deadline_ms, const OnLoad& on_load, comm::Job* job);
  std::vector<std::unique_ptr<comm::Communicator>> join_workers(Range local);
  Range local_workers() const;
  // Where the replica spans processes.
  void enter_activity(const StepPlan& plan) const;
  void tell(Slot& slot);
  void await_others(Slot& slot);
  void ask_others(bool begins_window);
  std::vector<WorkerTimes> times_here() const;
  void begin_reports();
  void answer_elsewhere(int index, const Slot& slot);
  void start_all(const std::shared_ptr<Replica>& self);
  void start_worker(int index);
  void report_loaded(int64_t bytes);
  void serve(int index);
  void run_steps(int index);
  void run_step(int index, uint64_t step);
  // Runs body; what it throws becomes the replica's failure.
  template <typename Body>
  void guarded(const Body& body);
  void fail(const Error& error);
  void await_workers(uint64_t num_steps);
  void throw_if_failed();
  void stop();
  ActivityClock& clock() { return workers_.front()->clock(); }

  ReplicaShape shape_;
  int64_t deadline_ms_;
  uint64_t max_in_flight_;
  comm::Job* job_;
  std::unique_ptr<StepExchange> exchange_;  // where the replica spans processes
  std::unique_ptr<WorkerReports> reports_;  // the same, in the one that plans
  std::vector<int> row_leaders_;            // of time_rows(): the first worker of each
  bool answered_elsewhere_ = false;         // the last stage begins in another process
  const StepAnswer no_answer_{};            // of those who only tell their time
  std::vector<WorkerTimes> times_;          // [workers], where the replica spans processes
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<std::thread> threads_;
  std::array<Slot, kRingSlots> slots_;
  uint64_t num_submitted_ = 0, num_awaited_ = 0;
  int64_t mask_ns_ = 0;
  StepLog step_log_;
  // Counts; stopping and failing move them too, after their flag is set, so that every waiter
  // looks at the flags.
  WaitWord submitted_;  // steps that workers may run
  WaitWord answered_;   // steps answered
  WaitWord done_;       // steps finished, summed over the other workers, which are never further
                        // apart than max_in_flight() < kRingSlots
  WaitWord started_;
  WaitWord ended_;  // threads that touch nothing any more
  std::atomic<bool> stopping_{false}, failed_{false};
  OnLoad on_load_;  // none once the load has ended
  int64_t bytes_to_load_ = 0;
  std::atomic<int64_t> bytes_loaded_{0};
  std::mutex report_mutex_;  // of on_load_
  std::mutex failure_mutex_;
  std::optional<Error> failure_;
  Patience patience_;
};

}  // namespace weft::engine
