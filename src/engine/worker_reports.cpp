#include "engine/worker_reports.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <type_traits>
#include <utility>

#include "base/clock.h"

namespace weft::engine {
namespace {

enum Kind : int64_t { kEvents = 1, kTimes, kTimesAndWindow };

// As they travel; the processes run one version on one kind of machine (comm/job.h).
struct EventsHead {
  int64_t first = 0;       // number of the first that follows
  int64_t num_events = 0;  // that the worker has had
  int64_t end_ns = 0;      // of the last that follows, where it is still under way
};
struct WireEvent {
  int64_t begin_ns = 0;
  uint64_t what = 0;  // step << 8 | activity
};
static_assert(std::is_trivially_copyable_v<WorkerTimes>);
constexpr size_t kMostEvents = (comm::kMostReportBytes - sizeof(EventsHead)) / sizeof(WireEvent);

template <typename T>
void append(std::vector<std::byte>& bytes, const T& value) {
  const auto* const begin = reinterpret_cast<const std::byte*>(&value);
  bytes.insert(bytes.end(), begin, begin + sizeof(value));
}

// The caller has seen that there are enough.
template <typename T>
T take(std::span<const std::byte>& bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof(value));
  bytes = bytes.subspan(sizeof(value));
  return value;
}

bool makes_sense(const ActivityTotals& totals) {
  return std::ranges::all_of(totals.ns, [](int64_t ns) { return ns >= 0; }) &&
         totals.first_work_ns <= totals.last_work_ns;
}

}  // namespace

void move_work(ActivityTotals& totals, FunctionRef<int64_t(int64_t)> moved) {
  if (totals.first_work_ns == 0) return;
  totals.first_work_ns = moved(totals.first_work_ns);
  totals.last_work_ns = moved(totals.last_work_ns);
}

void write_events(const ActivityClock& clock, const EventsAsked& asked, int64_t ahead_ns,
                  std::vector<std::byte>& bytes) {
  const int64_t first = asked.first >= 0 ? asked.first : clock.event_at(asked.since_ns - ahead_ns);
  const ActivityClock::Events told = clock.events(first, static_cast<int64_t>(kMostEvents));
  append(bytes, EventsHead{told.num_dropped, clock.num_events(), told.end_ns + ahead_ns});
  for (const ActivityEvent& event : told.events)
    append(bytes, WireEvent{event.begin_ns + ahead_ns,
                            event.step << 8 | static_cast<uint64_t>(event.activity)});
}

bool read_events(std::span<const std::byte> bytes, EventsTold& told) {
  if (bytes.size() < sizeof(EventsHead)) return false;
  const auto head = take<EventsHead>(bytes);
  const auto count = static_cast<int64_t>(bytes.size() / sizeof(WireEvent));
  if (bytes.size() % sizeof(WireEvent) != 0 || head.first < 0 || head.num_events < count ||
      head.num_events - count < head.first)
    return false;
  told = {{}, head.num_events};
  told.events.num_dropped = head.first;
  told.events.end_ns = head.end_ns;
  while (!bytes.empty()) {
    const auto event = take<WireEvent>(bytes);
    const uint64_t activity = event.what & 0xff;
    const int64_t earliest =
        told.events.events.empty() ? event.begin_ns : told.events.events.back().begin_ns;
    if (activity >= kNumActivities || event.begin_ns < earliest || event.begin_ns > head.end_ns)
      return false;
    told.events.events.push_back(
        {event.begin_ns, static_cast<Activity>(activity), event.what >> 8});
  }
  return true;
}

void write_times(std::span<const WorkerTimes> times, int64_t ahead_ns,
                 std::vector<std::byte>& bytes) {
  for (WorkerTimes worker : times) {
    move_work(worker.totals, [&](int64_t ns) { return ns + ahead_ns; });
    append(bytes, worker);
  }
}

bool read_times(std::span<const std::byte> bytes, std::span<WorkerTimes> times) {
  if (bytes.size() != times.size() * sizeof(WorkerTimes)) return false;
  std::vector<WorkerTimes> told;
  while (!bytes.empty()) {
    told.push_back(take<WorkerTimes>(bytes));
    if (!makes_sense(told.back().totals) || told.back().reduce_bytes < 0) return false;
  }
  std::ranges::copy(told, times.begin());
  return true;
}

comm::Reporter reporter_of(ReportingWorkers workers, int64_t ahead_ns) {
  return [workers = std::move(workers), ahead_ns](const comm::ReportQuestion& question,
                                                  std::vector<std::byte>& answer) {
    if (question.kind == kEvents) {
      const EventsAsked asked{question.about[0], question.about[1], question.about[2]};
      if (asked.worker >= 0 && asked.worker < std::ssize(workers.clocks))
        write_events(*workers.clocks[static_cast<size_t>(asked.worker)], asked, ahead_ns, answer);
      return;
    }
    if (question.kind == kTimesAndWindow)
      for (ActivityClock* clock : workers.clocks) clock->begin_window(now_ns());
    write_times(workers.times(), ahead_ns, answer);
  };
}

WorkerReports::WorkerReports(comm::Job& job, std::vector<Range> processes, int64_t num_kept_events)
    : job_(job), processes_(std::move(processes)), num_kept_events_(num_kept_events) {}

int64_t WorkerReports::events(int64_t begin_ns, std::span<ActivityClock::Events> all) const {
  if (num_kept_events_ == 0) return 0;
  job_.read_clocks();
  int64_t error_ns = 0;
  for (size_t p = 1; p < processes_.size(); ++p) {
    const int process = static_cast<int>(p);
    error_ns = std::max(error_ns, job_.clock(process).error_since(begin_ns));
    for (int64_t worker = processes_[p].begin; worker < processes_[p].end; ++worker)
      all[static_cast<size_t>(worker)] = events_of(process, worker - processes_[p].begin, begin_ns);
  }
  return error_ns;
}

// Events that were overwritten while others were on their way are not told: what is here of before
// then goes, too.
ActivityClock::Events WorkerReports::events_of(int process, int64_t worker,
                                               int64_t begin_ns) const {
  const comm::PeerClock clock = job_.clock(process);
  ActivityClock::Events events;
  EventsAsked asked{worker, -1, clock.theirs(begin_ns)};
  std::optional<int64_t> last;
  do {
    const auto bytes = job_.ask(process, {kEvents, {asked.worker, asked.first, asked.since_ns}});
    EventsTold told;
    if (!bytes || !read_events(*bytes, told)) break;
    if (!last) last = std::min(told.num_events, told.events.num_dropped + num_kept_events_);
    if (events.events.empty() || told.events.num_dropped != asked.first) {
      events = std::move(told.events);
    } else {
      events.events.insert(events.events.end(), told.events.events.begin(),
                           told.events.events.end());
      events.end_ns = told.events.end_ns;
    }
    if (events.events.empty()) break;
    const int64_t next = events.num_dropped + std::ssize(events.events);
    if (next <= asked.first) break;
    asked.first = next;
  } while (asked.first < *last);
  for (ActivityEvent& event : events.events) event.begin_ns = clock.ours(event.begin_ns);
  events.end_ns = clock.ours(events.end_ns);
  return events;
}

// An answer that nobody took for long may be older than what is known since.
void WorkerReports::take_times(int process, std::span<const std::byte> bytes,
                               std::span<WorkerTimes> known) const {
  std::vector<WorkerTimes> told(known.size());
  if (!read_times(bytes, told)) return;
  const comm::PeerClock clock = job_.clock(process);
  for (size_t w = 0; w < told.size(); ++w) {
    move_work(told[w].totals, [&](int64_t ns) { return clock.ours(ns); });
    if (told[w].totals.at_ns > known[w].totals.at_ns) known[w] = told[w];
  }
}

void WorkerReports::refresh_times(bool begins_window, std::span<WorkerTimes> all) {
  for (size_t p = 1; p < processes_.size(); ++p) {
    const int process = static_cast<int>(p);
    const auto theirs = all.subspan(static_cast<size_t>(processes_[p].begin),
                                    static_cast<size_t>(processes_[p].size()));
    if (const auto bytes = job_.answer_so_far(process)) take_times(process, *bytes, theirs);
    job_.ask_later(process, {begins_window ? kTimesAndWindow : kTimes, {}});
  }
}

}  // namespace weft::engine
