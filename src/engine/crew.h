// The processes of a job as runners of engines: the first one loads an engine as it would alone,
// the others are told its options, load the same and run their ranks of it, until it loads no more.
// So commands know nothing of processes, and a model is named once.
//
// Thread rule: one thread a process, the one that owns the job.
#pragma once

#include <memory>
#include <string>

#include "comm/comm.h"
#include "comm/job.h"
#include "engine/engine.h"

namespace weft::engine {

class Crew {
 public:
  // Collective. job outlives it.
  explicit Crew(comm::Job& job);

  // In the first process: as Engine::load, over all processes. One engine at a time.
  std::unique_ptr<Engine> load(const EngineOptions& options, const OnLoad& on_load,
                               const OnOpen& on_open);
  // In the first process: the others await the next engine, as none is loaded and none has failed.
  bool is_idle() const { return !is_loading_ && !job_.failure(); }
  // In the first process, at its end and idle: the others have nothing more to run.
  void dismiss();
  // In every other one; returns when dismissed. Throws what loading or running throws.
  void follow();

 private:
  comm::Job& job_;
  std::unique_ptr<comm::Communicator> processes_;  // a member a process
  bool is_loading_ = false;                        // or has failed to
};

// The options as one line, and back: what of them every process needs (not its job, nor the kept
// steps, which only the first one plans). Error(kCommunication) for a line that is none.
std::string options_line(const EngineOptions& options);
EngineOptions options_of_line(const std::string& line);

}  // namespace weft::engine
