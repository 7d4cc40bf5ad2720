// What workers of other processes tell at any time, also while steps run: what they did, event by
// event, and what their time went into. The process that plans asks (comm/enquiries.h), from any
// thread; no step and no rank has anything to do with it.
//
//   events    2,045 of a worker at a time, from one number to the next, until those that there were
//             at the first question are here; by this process's clock (comm/peer_clock.h)
//   times     nobody waits for them: what came of the last question is taken, and asked anew
//
// Nothing that came is used before it was checked. What does not fit, or does not come, is left
// out: no step fails of what a person looks at.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/activity.h"
#include "base/function_ref.h"
#include "base/range.h"
#include "comm/job.h"

namespace weft::engine {

// Totals add up to the time between two at_ns, which stay by the clock that they were taken by; the
// moments of work are moved to this process's.
struct WorkerTimes {
  ActivityTotals totals;
  int64_t reduce_bytes = 0;
};
void move_work(ActivityTotals& totals, FunctionRef<int64_t(int64_t)> moved);

// Of one worker, on its way.
struct EventsAsked {
  int64_t worker = 0;    // of the process that is asked, from 0
  int64_t first = 0;     // number of the first event; below 0: the one under way at since_ns
  int64_t since_ns = 0;  // by the clock of the process that is asked
};
struct EventsTold {
  ActivityClock::Events events;  // num_dropped: the number of the first
  int64_t num_events = 0;        // that the worker has had
};

// ahead_ns: added to moments (Job::clock_ahead_ns).
void write_events(const ActivityClock& clock, const EventsAsked& asked, int64_t ahead_ns,
                  std::vector<std::byte>& bytes);
// False for what no worker tells.
bool read_events(std::span<const std::byte> bytes, EventsTold& told);

void write_times(std::span<const WorkerTimes> times, int64_t ahead_ns,
                 std::vector<std::byte>& bytes);
// times: as many as are told.
bool read_times(std::span<const std::byte> bytes, std::span<WorkerTimes> times);

// In a process that does not plan: what its reporter says. `times` may neither block nor throw.
struct ReportingWorkers {
  std::vector<ActivityClock*> clocks;
  std::function<std::vector<WorkerTimes>()> times;
};
comm::Reporter reporter_of(ReportingWorkers workers, int64_t ahead_ns);

// In the process that plans. Thread rule: `events` from any thread, `refresh` from the planner's.
class WorkerReports {
 public:
  // processes: the workers of each, of which at most so many events are kept each. job outlives it.
  WorkerReports(comm::Job& job, std::vector<Range> processes, int64_t num_kept_events);

  // all [workers]: those of other processes are filled in, from the one under way at begin_ns on.
  // Returns how far their moments may be off.
  int64_t events(int64_t begin_ns, std::span<ActivityClock::Events> all) const;
  // all [workers]: those of other processes as they were told last.
  void refresh_times(bool begins_window, std::span<WorkerTimes> all);

 private:
  ActivityClock::Events events_of(int process, int64_t worker, int64_t begin_ns) const;
  void take_times(int process, std::span<const std::byte> bytes,
                  std::span<WorkerTimes> known) const;

  comm::Job& job_;
  const std::vector<Range> processes_;
  const int64_t num_kept_events_;
};

}  // namespace weft::engine
