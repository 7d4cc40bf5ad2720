#include "engine/pipeline_report.h"

#include <algorithm>

#include "base/clock.h"

namespace weft::engine {
namespace {

double seconds_of(int64_t ns) { return seconds_between(0, ns); }

// Mean over the row's workers of what they spent in an activity.
class Means {
 public:
  Means(const ClockMarks& begin, const ClockMarks& end, Range workers)
      : begin_(begin), end_(end), workers_(workers) {}

  double of(Activity activity) const {
    return mean([activity](const ActivityTotals& t) { return t.of(activity); });
  }
  double window() const {
    return mean([](const ActivityTotals& t) { return t.at_ns; });
  }

 private:
  template <typename Value>
  double mean(const Value& value) const {
    int64_t sum = 0;
    for (auto w = static_cast<size_t>(workers_.begin); w < static_cast<size_t>(workers_.end); ++w)
      sum += value(end_.workers[w]) - value(begin_.workers[w]);
    return seconds_of(sum) / static_cast<double>(workers_.size());
  }

  const ClockMarks& begin_;
  const ClockMarks& end_;
  const Range workers_;
};

void add_fill_and_drain(const ClockMarks& begin, const ClockMarks& end, Range workers,
                        StageTime& time) {
  int64_t first = 0, last = 0;
  for (auto w = static_cast<size_t>(workers.begin); w < static_cast<size_t>(workers.end); ++w) {
    const ActivityTotals& t = end.workers[w];
    if (t.first_work_ns == 0) continue;
    first = first == 0 ? t.first_work_ns : std::min(first, t.first_work_ns);
    last = std::max(last, t.last_work_ns);
  }
  time.fill_s = first == 0 ? time.window_s : seconds_between(begin.at_ns, first);
  time.drain_s = first == 0 ? 0.0 : std::max(0.0, seconds_between(last, end.at_ns));
}

StageTime time_of(const ClockMarks& begin, const ClockMarks& end, const TimeRow& row) {
  const Means means(begin, end, row.workers);
  StageTime time;
  time.ranks = row.ranks;
  time.busy_s = means.of(Activity::kCompute);
  time.collectives_s = means.of(Activity::kReduce) + means.of(Activity::kWaitPeers);
  time.input_s = means.of(Activity::kWaitInput);
  time.nothing_s = means.of(Activity::kNothing);
  time.sending_s = means.of(Activity::kWaitSend);
  time.scheduler_s = means.of(Activity::kSchedule);
  time.window_s = means.window();
  add_fill_and_drain(begin, end, row.workers, time);
  return time;
}

}  // namespace

PipelineReport report_between(const ClockMarks& begin, const ClockMarks& end,
                              std::span<const TimeRow> rows) {
  PipelineReport report;
  report.window_s = seconds_between(begin.at_ns, end.at_ns);
  report.num_steps = end.num_steps - begin.num_steps;
  report.ranks.resize(end.reduce_bytes.size());
  for (const TimeRow& row : rows) {
    report.stages.push_back(time_of(begin, end, row));
    const bool is_pool = row.ranks.size() > row.workers.size();
    report.pooled = report.pooled || is_pool;
    for (int64_t r = row.ranks.begin; r < row.ranks.end; ++r) {
      const int64_t worker = row.workers.begin + (is_pool ? 0 : r - row.ranks.begin);
      const Means means(begin, end, {worker, worker + 1});
      const auto rank = static_cast<size_t>(r);
      RankTimes& times = report.ranks[rank];
      times.compute_s = means.of(Activity::kCompute);
      times.all_reduce_s = means.of(Activity::kReduce);
      times.wait_s = std::max(0.0, means.window() - times.compute_s - times.all_reduce_s);
      times.reduce_bytes = end.reduce_bytes[rank] - begin.reduce_bytes[rank];
    }
  }
  return report;
}

}  // namespace weft::engine
