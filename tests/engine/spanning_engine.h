// An engine over "processes" that are threads of this program, with a link in its memory
// (comm/job_world.h): everything but MPI itself is what `mpirun weft` runs.
#pragma once

#include <exception>
#include <memory>
#include <thread>
#include <vector>

#include "comm/job_world.h"
#include "engine/crew.h"
#include "engine/engine.h"

namespace weft::engine {

class SpanningEngine {
 public:
  SpanningEngine(const EngineOptions& options, int num_processes, comm::JobOptions job_options = {})
      : jobs_(num_processes, job_options),
        crews_(static_cast<size_t>(num_processes)),
        failures_(static_cast<size_t>(num_processes)) {
    jobs_.on_each([&](int process) {
      crews_[static_cast<size_t>(process)] = std::make_unique<Crew>(jobs_[process]);
    });
    for (size_t process = 1; process < crews_.size(); ++process) {
      followers_.emplace_back([this, process] {
        try {
          crews_[process]->follow();
        } catch (...) {
          failures_[process] = std::current_exception();
          jobs_[static_cast<int>(process)].abort("a follower failed");
        }
      });
    }
    try {
      engine_ = crews_[0]->load(options, {}, {});
    } catch (...) {
      jobs_[0].abort("the first process failed");
      join();
      throw;
    }
  }
  ~SpanningEngine() {
    engine_.reset();
    if (!failed_) crews_[0]->dismiss();
    join();
    if (!failed_) jobs_.leave();
  }

  Engine& operator*() { return *engine_; }
  Engine* operator->() { return engine_.get(); }
  comm::Jobs& jobs() { return jobs_; }
  // Of a process that is not the first; once it has ended.
  std::exception_ptr failure(int process) {
    join();
    return failures_[static_cast<size_t>(process)];
  }
  // It has failed: nobody leaves in order.
  void fail() { failed_ = true; }

 private:
  void join() {
    for (std::thread& follower : followers_)
      if (follower.joinable()) follower.join();
  }

  comm::Jobs jobs_;
  std::vector<std::unique_ptr<Crew>> crews_;
  std::vector<std::exception_ptr> failures_;
  std::vector<std::thread> followers_;
  std::unique_ptr<Engine> engine_;
  bool failed_ = false;
};

}  // namespace weft::engine
