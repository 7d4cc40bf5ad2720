// `--trace FILE`: what every rank did (serve/chrome_trace.h).
#pragma once

#include <iosfwd>
#include <optional>
#include <string>

#include "base/options.h"
#include "cli/commands.h"
#include "engine/pipeline_trace.h"

namespace weft::cli {

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
