// What the processes of one replica tell each other beside the messages of its ranks: the process
// that plans sends plans, those that run other stages send times and answers.
//
//   process 0    plan n ──> every other process, then its own part of step n
//   the others   hear plan n, run it, and whoever leads a stage there answers
//   process 0    awaits the answers of step n, in order
//   process 0    asks for times, while no step is under way; the others tell their workers'
//                (while one is: engine/worker_reports.h)
//
// Each message is its size and then its bytes. Sizes travel in groups of their own: a wait for the
// next plan has no deadline (nobody may ask anything for a week; a process that is lost is found by
// the job's watch), an answer has one.
// Thread rule: `tell`, `hear` and `await` from the thread that leads this process's first worker;
// `answer` from the thread that leads the worker named.
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "base/range.h"
#include "comm/comm.h"
#include "comm/job.h"
#include "engine/step.h"
#include "engine/step_wire.h"
#include "engine/worker_reports.h"

namespace weft::engine {

class StepExchange {
 public:
  enum class Heard { kPlan, kEnd, kTimes, kTimesAndWindow };

  // Collective. processes: the workers of each, in order; worker w is rank w of every group.
  // wire: of sums between the workers' processes.
  StepExchange(comm::Job& job, std::vector<Range> processes, std::chrono::milliseconds deadline,
               comm::SumWire wire, PlanLimits limits);

  bool plans() const { return job_.process() == 0; }
  const std::vector<Range>& processes() const { return processes_; }
  Range local_workers() const { return processes_[static_cast<size_t>(job_.process())]; }
  bool is_local(int64_t worker) const { return local_workers().contains(worker); }
  // The members of all workers' group that run here; once.
  std::vector<std::unique_ptr<comm::Communicator>> take_world() { return std::move(world_); }

  void tell(const StepPlan& plan);
  void tell_end();
  Heard hear(StepPlan& plan);

  // times [workers]: those of other processes are filled in. begins_window: their clocks' windows
  // begin.
  void ask_times(bool begins_window, std::vector<WorkerTimes>& times);
  void tell_times(std::vector<WorkerTimes> of_workers_here);

  void answer(int worker, const StepAnswer& answer, int64_t work_ns);
  // What a worker of another process answers; `answer` as read_answer has it.
  void await(int worker, const StepPlan& plan, StepAnswer* answer, int64_t& work_ns);

 private:
  using Members = std::vector<std::unique_ptr<comm::Communicator>>;

  void send_plan(std::span<const std::byte> bytes);
  void send_word(size_t process, int64_t word);
  comm::Communicator& local(const Members& members, int worker) const {
    return *members[static_cast<size_t>(worker - local_workers().begin)];
  }

  comm::Job& job_;
  const std::vector<Range> processes_;
  const PlanLimits limits_;
  Members world_, plan_sizes_, answer_sizes_, bodies_;  // of the workers here
  std::vector<std::byte> plan_bytes_;
  std::vector<std::vector<std::byte>> answer_bytes_;  // by local worker
};

}  // namespace weft::engine
