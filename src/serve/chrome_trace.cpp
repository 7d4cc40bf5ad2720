#include "serve/chrome_trace.h"

#include <fmt/ostream.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <ostream>

namespace weft::serve {
namespace {

// What an activity is called, and one of the trace viewer's own colours (Perfetto colours by name).
struct Look {
  const char* name;
  const char* category;
  const char* colour;
};

Look look_of(Activity activity) {
  switch (activity) {
    case Activity::kSchedule:
      return {"scheduler", "scheduler", "thread_state_runnable"};
    case Activity::kCompute:
      return {"compute", "work", "thread_state_running"};
    case Activity::kReduce:
      return {"all-reduce", "work", "rail_response"};
    case Activity::kWaitPeers:
      return {"wait for peers", "work", "rail_idle"};
    case Activity::kWaitInput:
      return {"bubble: waiting for input", "bubble", "terrible"};
    case Activity::kWaitSend:
      return {"sending", "bubble", "bad"};
    case Activity::kNothing:
      break;
  }
  return {"bubble: nothing to do", "bubble", "grey"};
}

std::string quoted(const std::string& text) { return nlohmann::json(text).dump(); }

class Writer {
 public:
  Writer(const engine::PipelineTrace& trace, const engine::SplitReport& split, std::ostream& out)
      : trace_(trace), split_(split), out_(out) {}

  void write() {
    out_ << "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[";
    name_rows();
    for (const engine::WorkerTrace& worker : trace_.workers) write_worker(worker);
    for (const engine::StepRecord& step : trace_.steps) write_counters(step);
    out_ << "\n]";
    if (!split_.processes.empty())
      fmt::print(out_, R"(,"otherData":{{"clock_error_us":{:.3f}}})",
                 static_cast<double>(trace_.clock_error_ns) * 1e-3);
    out_ << "}\n";
  }

 private:
  std::ostream& next() {
    out_ << (is_first_ ? "\n" : ",\n");
    is_first_ = false;
    return out_;
  }

  double microseconds(int64_t ns) const { return static_cast<double>(ns - trace_.begin_ns) * 1e-3; }

  void name(const char* what, int process, int64_t thread, const std::string& text) {
    fmt::print(next(), R"({{"ph":"M","name":"{}","pid":{},"tid":{},"args":{{"name":{}}}}})", what,
               process, thread, quoted(text));
  }

  // Processes count from 1: the scheduler's counters, then a row a stage.
  static int process_of(const engine::WorkerTrace& worker) { return worker.row + 2; }

  void name_rows() {
    name("process_name", 1, 0, "requests");
    int named = 0;
    for (const engine::WorkerTrace& worker : trace_.workers) {
      const int process = process_of(worker);
      if (process != named) name("process_name", process, 0, row_name(worker));
      named = process;
      name("thread_name", process, worker.ranks.begin, worker_name(worker));
    }
  }

  std::string worker_name(const engine::WorkerTrace& worker) const {
    const int64_t first = worker.ranks.begin;
    if (worker.ranks.size() > 1)
      return fmt::format("ranks {}-{}, one pool", first, worker.ranks.end - 1);
    for (const engine::ProcessShare& process : split_.processes)
      if (process.ranks.contains(first)) return fmt::format("rank {} ({})", first, process.host);
    return fmt::format("rank {}", first);
  }

  std::string row_name(const engine::WorkerTrace& worker) const {
    const engine::RankShare& share = split_.ranks.at(static_cast<size_t>(worker.ranks.begin));
    if (trace_.pooled) return "all stages";
    if (share.layers.empty()) return fmt::format("stage {}: head", share.stage);
    return fmt::format("stage {}: layers {}-{}", share.stage, share.layers.begin,
                       share.layers.end - 1);
  }

  void write_worker(const engine::WorkerTrace& worker) {
    const std::vector<ActivityEvent>& events = worker.activity.events;
    for (size_t i = 0; i < events.size(); ++i) {
      const int64_t end_ns =
          i + 1 < events.size() ? events[i + 1].begin_ns : worker.activity.end_ns;
      if (end_ns <= trace_.begin_ns) continue;
      const int64_t begin_ns = std::max(events[i].begin_ns, trace_.begin_ns);
      const Look look = look_of(events[i].activity);
      fmt::print(next(),
                 R"({{"ph":"X","pid":{},"tid":{},"ts":{:.3f},"dur":{:.3f},"name":"{}","cat":"{}",)"
                 R"("cname":"{}","args":{{)",
                 process_of(worker), worker.ranks.begin, microseconds(begin_ns),
                 static_cast<double>(end_ns - begin_ns) * 1e-3, look.name, look.category,
                 look.colour);
      write_step(events[i]);
      out_ << "}}";
    }
  }

  // The step that an event belongs to; one that nothing is known of by its number alone.
  void write_step(const ActivityEvent& event) {
    if (event.step == ActivityEvent::kNoStep || event.activity == Activity::kNothing) return;
    fmt::print(out_, R"("step":{})", event.step);
    const std::vector<engine::StepRecord>& steps = trace_.steps;
    if (steps.empty() || event.step < steps.front().id || event.step > steps.back().id) return;
    const engine::StepRecord& step = steps[event.step - steps.front().id];
    fmt::print(out_, R"(,"tokens":{},"sequences":{},"positions":"{}-{}","attention_pairs":{})",
               step.load.num_tokens, step.num_sequences, step.positions.begin,
               step.positions.end - 1, step.load.attention_pairs);
  }

  void write_counters(const engine::StepRecord& step) {
    const double at = microseconds(step.submitted_ns);
    fmt::print(next(),
               R"({{"ph":"C","pid":1,"tid":0,"ts":{:.3f},"name":"sequences",)"
               R"("args":{{"running":{},"waiting":{}}}}})",
               at, step.context.num_running, step.context.num_waiting);
    fmt::print(next(),
               R"({{"ph":"C","pid":1,"tid":0,"ts":{:.3f},"name":"cache blocks used",)"
               R"("args":{{"blocks":{}}}}})",
               at, step.context.num_used_blocks);
  }

  const engine::PipelineTrace& trace_;
  const engine::SplitReport& split_;
  std::ostream& out_;
  bool is_first_ = true;
};

}  // namespace

void write_trace(const engine::PipelineTrace& trace, const engine::SplitReport& split,
                 std::ostream& out) {
  Writer(trace, split, out).write();
}

}  // namespace weft::serve
