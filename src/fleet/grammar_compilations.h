// Compiles the grammars of requests on a thread of its own, off the loop of steps, and keeps those
// that were asked for lately: a schema comes with every request of an application.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "base/error.h"
#include "text/grammar.h"

namespace weft::fleet {

class GrammarCompilations {
 public:
  using Make = std::function<std::unique_ptr<text::GrammarCompiler>()>;
  // One of the two is there. Called by the thread that compiles.
  using OnDone = std::function<void(uint64_t number, std::shared_ptr<const text::Grammar> grammar,
                                    std::optional<Error> error)>;

  // make: called once, for the first grammar.
  GrammarCompilations(Make make, OnDone on_done)
      : make_(std::move(make)), on_done_(std::move(on_done)) {}
  // Waits for the compilation under way, whose limits bound it; what is left is not told.
  ~GrammarCompilations();

  // Does not block. One thread calls, and cancel too. Error(kBusy) where as much waits as may.
  void submit(uint64_t number, text::GrammarSpec spec);
  // Forgets a grammar that waits. One that is being compiled is told all the same.
  void cancel(uint64_t number);

  static constexpr int64_t kKeptBytes = int64_t{64} << 20;
  // A compilation takes 5 s at most (GrammarLimits), mostly some milliseconds.
  static constexpr size_t kMostWaiting = 256;
  static constexpr size_t kMostWaitingBytes = size_t{16} << 20;  // of sources

 private:
  struct Job {
    uint64_t number;
    text::GrammarSpec spec;
  };
  struct Kept {
    text::GrammarSpec spec;
    std::shared_ptr<const text::Grammar> grammar;
  };

  void run();
  void compile(Job job);
  std::shared_ptr<const text::Grammar> grammar_of(const text::GrammarSpec& spec);

  Make make_;
  OnDone on_done_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  size_t waiting_bytes_ = 0;  // of their sources
  bool stopping_ = false;

  // The thread's.
  std::unique_ptr<text::GrammarCompiler> compiler_;
  std::list<Kept> kept_;  // used last, first
  int64_t kept_bytes_ = 0;

  std::thread thread_;  // begins with the first grammar
};

}  // namespace weft::fleet
