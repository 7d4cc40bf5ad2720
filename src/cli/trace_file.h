// `--trace FILE`: what every rank did, as Chrome trace events (the JSON array format), which
// ui.perfetto.dev and chrome://tracing open. A process row a stage, a thread row a rank; complete
// events for compute, collectives and each cause of a bubble, with the step and its size as
// arguments; counters of sequences and cache blocks.
#pragma once

#include <iosfwd>
#include <optional>
#include <string>

#include "base/options.h"
#include "cli/commands.h"
#include "engine/pipeline_trace.h"

namespace weft::cli {

// Events in order of workers, then of time. `split` names stages and layers.
void write_trace(const engine::PipelineTrace& trace, const engine::SplitReport& split,
                 std::ostream& out);

class TraceOption {
 public:
  void declare(OptionSet* options);
  // Before the model loads: the engine keeps events where a trace is wanted. Error(kUsage) where
  // the file cannot be written.
  void prepare(engine::EngineOptions* options) const;
  // At the end; nothing where no trace is wanted. Says where the trace is, and what was dropped.
  void write(const engine::Engine& engine, std::ostream& says) const;

 private:
  std::optional<std::string> file_;
  int64_t num_events_ = 200'000;  // 35 MB of JSON a rank
};

}  // namespace weft::cli
