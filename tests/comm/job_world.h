// Jobs of several "processes" within one program, over memory links.
#pragma once

#include <exception>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "comm/contract.h"
#include "comm/job_of_link.h"
#include "comm/memory_link.h"

namespace weft::comm {

inline const Introduction kSelf{"1.2.3", "weft1/lanes16/kv-bf16/exact", "avx512"};

// So many of them, joined. The clock of each is as far ahead of that of the one before it as the
// options say.
class Jobs {
 public:
  explicit Jobs(int num_processes, JobOptions options = {})
      : board_(std::make_shared<Switchboard>(num_processes)),
        jobs_(static_cast<size_t>(num_processes)) {
    on_each([&](int process) {
      JobOptions own = options;
      own.clock_ahead = process * options.clock_ahead;
      jobs_[static_cast<size_t>(process)] =
          make_job(std::make_unique<MemoryLink>(board_, process), kSelf, own);
    });
  }

  int size() const { return static_cast<int>(jobs_.size()); }
  Job& operator[](int process) { return *jobs_[static_cast<size_t>(process)]; }
  Switchboard& board() { return *board_; }
  void leave() {
    on_each([&](int process) { (*this)[process].leave(); });
  }
  // Runs body(process) for each in a thread of its own.
  template <typename Body>
  void on_each(const Body& body) {
    std::vector<std::thread> threads;
    for (int process = 0; process < size(); ++process)
      threads.emplace_back([&body, process] { body(process); });
    for (std::thread& thread : threads) thread.join();
  }

 private:
  std::shared_ptr<Switchboard> board_;
  std::vector<std::unique_ptr<Job>> jobs_;
};

// A group over processes that run num_local[p] members each.
class JobWorld final : public World {
 public:
  JobWorld(const std::vector<int>& num_local, GroupOptions options, JobOptions job_options = {})
      : jobs_(static_cast<int>(num_local.size()), job_options) {
    std::vector<Members> parts(num_local.size());
    jobs_.on_each([&](int process) {
      const auto p = static_cast<size_t>(process);
      parts[p] = jobs_[process].members(num_local[p], options);
    });
    for (Members& part : parts)
      for (auto& member : part) members_.push_back(std::move(member));
  }
  ~JobWorld() override {
    members_.clear();
    if (leaves_) jobs_.leave();
  }

  Members& members() override { return members_; }
  Job& job(int process) { return jobs_[process]; }
  Switchboard& board() { return jobs_.board(); }
  // It has failed: nobody leaves in order.
  void fail() { leaves_ = false; }

 private:
  Jobs jobs_;
  Members members_;
  bool leaves_ = true;
};

}  // namespace weft::comm
