#include "serve/timeline.h"

#include <algorithm>
#include <utility>

#include "engine/pipeline_forecast.h"

namespace weft::serve {
namespace {

// Between the last answer and the next step lies planning; longer gaps are want of requests.
constexpr int64_t kLongestPlanningNs = 2'000'000;

TimelineKind kind_of(Activity activity) {
  switch (activity) {
    case Activity::kCompute:
    case Activity::kReduce:
    case Activity::kWaitPeers:
      return TimelineKind::kWork;
    case Activity::kSchedule:
      return TimelineKind::kSchedule;
    case Activity::kWaitInput:
      return TimelineKind::kInput;
    case Activity::kWaitSend:
      return TimelineKind::kSend;
    case Activity::kNothing:
      break;
  }
  return TimelineKind::kIdle;
}

// Times in which steps were in flight, in order and apart; the last one is open where a step is
// still under way.
std::vector<Range> busy_times(const engine::PipelineTrace& trace,
                              std::span<const std::vector<TimelineSegment>> segments) {
  const uint64_t first = trace.steps.front().id;
  std::vector<int64_t> ends(trace.steps.size(), 0);
  for (const std::vector<TimelineSegment>& worker : segments)
    for (const TimelineSegment& segment : worker)
      if (segment.step >= first && segment.step - first < ends.size())
        ends[segment.step - first] = std::max(ends[segment.step - first], segment.end_ns);
  std::vector<Range> times;
  for (size_t i = 0; i < ends.size(); ++i) {
    const Range time{trace.steps[i].submitted_ns, std::max(ends[i], trace.steps[i].submitted_ns)};
    if (times.empty() || time.begin > times.back().end + kLongestPlanningNs)
      times.push_back(time);
    else
      times.back().end = std::max(times.back().end, time.end);
  }
  return times;
}

// The parts of a wait, cut by the times in which steps were in flight.
void add_cut(const TimelineSegment& wait, std::span<const Range> busy,
             std::vector<TimelineSegment>& out) {
  const auto add = [&](int64_t begin_ns, int64_t end_ns, TimelineKind kind) {
    if (begin_ns < end_ns) out.push_back({begin_ns, end_ns, kind, wait.step, 0});
  };
  int64_t at_ns = wait.begin_ns;
  auto next = std::ranges::upper_bound(busy, at_ns, {}, &Range::end);
  for (; next != busy.end() && next->begin < wait.end_ns; ++next) {
    add(at_ns, next->begin, TimelineKind::kRest);
    at_ns = std::max(at_ns, next->begin);
    add(at_ns, std::min(next->end, wait.end_ns), wait.kind);
    at_ns = std::min(next->end, wait.end_ns);
  }
  add(at_ns, wait.end_ns, TimelineKind::kRest);
}

// What one row did of one step.
struct StepWork {
  int64_t work_ns = 0, begin_ns = 0, end_ns = 0;
};

class Summary {
 public:
  Summary(const engine::PipelineTrace& trace,
          std::span<const std::vector<TimelineSegment>> segments, int64_t window_ns)
      : trace_(trace), segments_(segments) {
    for (const engine::WorkerTrace& worker : trace.workers)
      num_rows_ = std::max(num_rows_, static_cast<size_t>(worker.row) + 1);
    workers_of_.assign(num_rows_, 0);
    for (const engine::WorkerTrace& worker : trace.workers)
      ++workers_of_[static_cast<size_t>(worker.row)];
    choose_window(window_ns);
    add_up_steps();
    find_episodes();
  }

  TimelineSummary result() const {
    TimelineSummary summary;
    summary.rows.resize(num_rows_);
    int64_t active_ns = 0, in_flight_ns = 0;
    for (const Episode& episode : episodes_) {
      active_ns += episode.time.size();
      summary.num_steps += static_cast<int64_t>(episode.steps.size());
      in_flight_ns += episode.in_flight_ns;
    }
    if (active_ns == 0) return summary;
    summary.active_s = static_cast<double>(active_ns) * 1e-9;
    summary.mean_in_flight = static_cast<double>(in_flight_ns) / static_cast<double>(active_ns);
    measure(active_ns, summary);
    predict(summary);
    return summary;
  }

 private:
  // A stretch of time with steps in flight.
  struct Episode {
    Range time;
    std::vector<engine::StepRecord> steps;
    int64_t in_flight_ns = 0;  // of all its steps together
  };

  void choose_window(int64_t window_ns) {
    window_ = {trace_.begin_ns, trace_.begin_ns};
    for (const std::vector<TimelineSegment>& row : segments_) {
      if (row.empty()) continue;
      window_.begin = std::max(window_.begin, row.front().begin_ns);
      window_.end = std::max(window_.end, row.back().end_ns);
    }
    window_.begin = std::max(window_.begin, window_.end - window_ns);
  }

  // The steps of the window, and [row][step] what was done of them.
  void add_up_steps() {
    const auto in_window = [&](const engine::StepRecord& step) {
      return step.submitted_ns >= window_.begin;
    };
    const auto first = std::ranges::find_if(trace_.steps, in_window);
    steps_ = {first, trace_.steps.end()};
    done_.assign(num_rows_, std::vector<StepWork>(steps_.size()));
    if (steps_.empty()) return;
    for (size_t w = 0; w < segments_.size(); ++w)
      for (const TimelineSegment& segment : segments_[w])
        if (segment.kind == TimelineKind::kWork) add_work(trace_.workers[w].row, segment);
  }

  void add_work(int row, const TimelineSegment& segment) {
    if (segment.step < steps_.front().id || segment.step > steps_.back().id) return;
    StepWork& work = done_[static_cast<size_t>(row)][segment.step - steps_.front().id];
    if (work.work_ns == 0) work.begin_ns = segment.begin_ns;
    work.begin_ns = std::min(work.begin_ns, segment.begin_ns);
    work.end_ns = std::max(work.end_ns, segment.end_ns);
    work.work_ns += segment.end_ns - segment.begin_ns;
  }

  // Whether every row has worked on it, and no longer does.
  bool ended(size_t step) const {
    return std::ranges::all_of(done_, [&](const std::vector<StepWork>& row) {
      return row[step].work_ns > 0 && row[step].end_ns < window_.end;
    });
  }

  void find_episodes() {
    for (size_t i = 0; i < steps_.size(); ++i) {
      if (!ended(i)) continue;
      Range time{steps_[i].submitted_ns, 0};
      for (const std::vector<StepWork>& row : done_) time.end = std::max(time.end, row[i].end_ns);
      const bool goes_on = !episodes_.empty() &&
                           time.begin <= episodes_.back().time.end + kLongestPlanningNs &&
                           steps_[i].id == episodes_.back().steps.back().id + 1;
      if (!goes_on) episodes_.push_back({{time.begin, time.begin}, {}, 0});
      Episode& episode = episodes_.back();
      episode.time.end = std::max(episode.time.end, time.end);
      episode.in_flight_ns += time.size();
      episode.steps.push_back(steps_[i]);
    }
  }

  void measure(int64_t active_ns, TimelineSummary& summary) const {
    std::vector<int64_t> work_ns(num_rows_, 0);
    for (size_t w = 0; w < segments_.size(); ++w) {
      size_t at = 0;
      for (const TimelineSegment& segment : segments_[w]) {
        if (segment.kind != TimelineKind::kWork) continue;
        while (at < episodes_.size() && episodes_[at].time.end <= segment.begin_ns) ++at;
        for (size_t e = at; e < episodes_.size(); ++e) {
          if (episodes_[e].time.begin >= segment.end_ns) break;
          work_ns[static_cast<size_t>(trace_.workers[w].row)] +=
              episodes_[e].time.intersect({segment.begin_ns, segment.end_ns}).size();
        }
      }
    }
    for (size_t row = 0; row < num_rows_; ++row)
      if (workers_of_[row] > 0)
        summary.rows[row].measured = 1.0 - static_cast<double>(work_ns[row]) /
                                               (workers_of_[row] * static_cast<double>(active_ns));
  }

  void predict(TimelineSummary& summary) const {
    const engine::PipelineCosts costs = learned_costs();
    double window_s = 0;
    std::vector<double> work_s(num_rows_, 0.0);
    for (const Episode& episode : episodes_) {
      const engine::Forecast forecast = engine::forecast(costs, episode.steps);
      window_s += forecast.window_s;
      for (size_t row = 0; row < num_rows_; ++row) work_s[row] += forecast.work_s[row];
    }
    if (window_s <= 0) return;
    for (size_t row = 0; row < num_rows_; ++row)
      summary.rows[row].predicted = 1.0 - work_s[row] / window_s;
  }

  engine::PipelineCosts learned_costs() const {
    engine::PipelineCosts costs;
    costs.stages.resize(num_rows_);
    for (size_t i = 0; i < steps_.size(); ++i) {
      if (!ended(i)) continue;
      for (size_t row = 0; row < num_rows_; ++row)
        costs.stages[row].learn(
            steps_[i].load, static_cast<double>(done_[row][i].work_ns) * 1e-9 / workers_of_[row]);
    }
    learn_hops(costs.hop);
    costs.planning_s = mean_planning_s();
    return costs;
  }

  // Where a stage stood ready, its work begins a hop after the end of the stage before. What is
  // far above the median is a hold-up and no price of a hop.
  void learn_hops(engine::StepTimes& hop) const {
    std::vector<std::pair<int64_t, int64_t>> seen;  // nanoseconds, tokens
    for (size_t row = 1; row < num_rows_; ++row)
      for (size_t i = 0; i < steps_.size(); ++i) {
        if (!ended(i)) continue;
        const int64_t sent_ns = done_[row - 1][i].end_ns;
        const bool was_ready = i == 0 || done_[row][i - 1].end_ns <= sent_ns;
        const int64_t hop_ns = done_[row][i].begin_ns - sent_ns;
        if (was_ready && hop_ns >= 0) seen.emplace_back(hop_ns, steps_[i].load.num_tokens);
      }
    if (seen.empty()) return;
    std::vector<std::pair<int64_t, int64_t>> sorted = seen;
    std::ranges::nth_element(sorted, sorted.begin() + static_cast<int64_t>(sorted.size() / 2));
    const int64_t most_ns = 4 * sorted[sorted.size() / 2].first;
    for (const auto& [ns, tokens] : seen)
      if (ns <= most_ns) hop.learn({tokens, 0}, static_cast<double>(ns) * 1e-9);
  }

  // Of a step, by the worker that plans: the one who schedules most.
  double mean_planning_s() const {
    int64_t most_ns = 0;
    for (const std::vector<TimelineSegment>& worker : segments_) {
      int64_t ns = 0;
      for (const TimelineSegment& segment : worker)
        if (segment.kind == TimelineKind::kSchedule && segment.begin_ns >= window_.begin)
          ns += segment.end_ns - segment.begin_ns;
      most_ns = std::max(most_ns, ns);
    }
    return steps_.empty()
               ? 0.0
               : static_cast<double>(most_ns) * 1e-9 / static_cast<double>(steps_.size());
  }

  const engine::PipelineTrace& trace_;
  std::span<const std::vector<TimelineSegment>> segments_;
  size_t num_rows_ = 0;
  std::vector<int> workers_of_;  // [rows]
  Range window_;
  std::vector<engine::StepRecord> steps_;
  std::vector<std::vector<StepWork>> done_;  // [rows][steps_]
  std::vector<Episode> episodes_;
};

}  // namespace

std::string_view name(TimelineKind kind) {
  switch (kind) {
    case TimelineKind::kWork:
      return "work";
    case TimelineKind::kSchedule:
      return "schedule";
    case TimelineKind::kInput:
      return "input";
    case TimelineKind::kSend:
      return "send";
    case TimelineKind::kRest:
      return "rest";
    case TimelineKind::kIdle:
      break;
  }
  return "idle";
}

std::vector<TimelineSegment> segments_of(const engine::WorkerTrace& worker) {
  std::vector<TimelineSegment> segments;
  const std::vector<ActivityEvent>& events = worker.activity.events;
  for (size_t i = 0; i < events.size(); ++i) {
    const ActivityEvent& event = events[i];
    const int64_t end_ns = i + 1 < events.size() ? events[i + 1].begin_ns : worker.activity.end_ns;
    if (end_ns <= event.begin_ns) continue;
    const TimelineKind kind = kind_of(event.activity);
    const uint64_t step = kind == TimelineKind::kIdle ? ActivityEvent::kNoStep : event.step;
    const bool goes_on =
        !segments.empty() && segments.back().kind == kind && segments.back().step == step;
    if (!goes_on) segments.push_back({event.begin_ns, event.begin_ns, kind, step, 0});
    segments.back().end_ns = end_ns;
    if (kind == TimelineKind::kWork && event.activity != Activity::kCompute)
      segments.back().collective_ns += end_ns - event.begin_ns;
  }
  return segments;
}

void mark_rests(const engine::PipelineTrace& trace,
                std::vector<std::vector<TimelineSegment>>& segments) {
  if (trace.steps.empty()) return;
  std::vector<Range> busy = busy_times(trace, segments);
  busy.front().begin = 0;  // nothing is known of before
  for (std::vector<TimelineSegment>& worker : segments) {
    std::vector<TimelineSegment> cut;
    cut.reserve(worker.size());
    for (const TimelineSegment& segment : worker) {
      const bool waits =
          segment.kind == TimelineKind::kIdle || segment.kind == TimelineKind::kInput;
      if (waits)
        add_cut(segment, busy, cut);
      else
        cut.push_back(segment);
    }
    worker = std::move(cut);
  }
}

TimelineSummary summarize(const engine::PipelineTrace& trace,
                          std::span<const std::vector<TimelineSegment>> segments,
                          int64_t window_ns) {
  return Summary(trace, segments, window_ns).result();
}

}  // namespace weft::serve
