#include "cli/trace_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "base/counted.h"
#include "base/error.h"
#include "serve/chrome_trace.h"

namespace weft::cli {

void TraceOption::declare(OptionSet* options) {
  options->add("--trace", &file_,
               {.unit = "FILE",
                .help = "what every rank did when, for ui.perfetto.dev or chrome://tracing",
                .may_be_empty = false});
  options->add("--trace-events", &num_events_,
               {"N", "events of each rank that a trace holds, the last ones"}, 1000, 100'000'000);
}

void TraceOption::prepare(engine::EngineOptions* options) const {
  if (!file_) return;
  if (!std::ofstream(*file_, std::ios::app))
    throw Error(ErrorKind::kUsage, fmt::format("{} cannot be written", *file_),
                std::strerror(errno), "name another file with --trace");
  options->num_kept_events = num_events_;
  options->num_kept_steps = std::max<int64_t>(options->num_kept_steps, num_events_ / 2);
}

void TraceOption::write(const engine::Engine& engine, std::ostream& says) const {
  if (!file_) return;
  const engine::PipelineTrace trace = engine.trace();
  int64_t dropped = 0;
  for (const engine::WorkerTrace& worker : trace.workers) {
    // Those of the load and of warming up are not missed.
    const bool reaches_back =
        worker.activity.events.empty() || worker.activity.events.front().begin_ns <= trace.begin_ns;
    if (!reaches_back) dropped = std::max(dropped, worker.activity.num_dropped);
  }
  says << fmt::format("writing the trace to {}", *file_) << std::endl;
  if (trace.clock_error_ns > 0)
    says << fmt::format("moments of other processes are right to within {:.3f} ms\n",
                        static_cast<double>(trace.clock_error_ns) * 1e-6);
  std::ofstream out(*file_);
  serve::write_trace(trace, engine.split(), out);
  out.close();
  if (!out)
    throw Error(ErrorKind::kUsage, fmt::format("{} could not be written", *file_),
                std::strerror(errno));
  if (dropped > 0)
    says << fmt::format("the trace holds the end of the run: {} came before it (--trace-events)\n",
                        counted(dropped, "event"));
  says.flush();
}

}  // namespace weft::cli
