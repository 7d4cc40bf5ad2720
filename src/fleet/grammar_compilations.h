// Compiles the grammars of requests on two threads of its own, off the loop of steps, and keeps
// those that were asked for lately: a schema comes with every request of an application.
#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "base/error.h"
#include "text/grammar.h"

namespace weft::fleet {

class GrammarCompilations {
 public:
  static constexpr std::chrono::milliseconds kLongestWait = std::chrono::seconds(10);
  using Make = std::function<std::unique_ptr<text::GrammarCompiler>()>;
  // One of the two is there. Called by the threads that compile.
  using OnDone = std::function<void(uint64_t number, std::shared_ptr<const text::Grammar> grammar,
                                    std::optional<Error> error)>;

  // make: called once, for the first grammar. longest_wait: a grammar that a thread comes to later
  // than that is Error(kBusy), so that nobody waits longer than that and a compilation or two.
  GrammarCompilations(Make make, OnDone on_done,
                      std::chrono::milliseconds longest_wait = kLongestWait)
      : make_(std::move(make)), on_done_(std::move(on_done)), longest_wait_(longest_wait) {}
  // Waits for the compilations under way, whose limits bound them; what is left is not told.
  ~GrammarCompilations();

  // Does not block. One thread calls, and cancel too. Error(kBusy) where as much waits as may.
  // owner: one who has a grammar compiled gets the other thread, too, only where no other owner
  // waits for it.
  void submit(uint64_t number, text::GrammarSpec spec, std::string owner = {});
  // Forgets a grammar that waits. One that is being compiled is told all the same.
  void cancel(uint64_t number);

  static constexpr int64_t kKeptBytes = int64_t{64} << 20;
  // A compilation takes 5 s at most (GrammarLimits), mostly some milliseconds.
  static constexpr size_t kMostWaiting = 256;
  static constexpr size_t kMostWaitingBytes = size_t{16} << 20;  // of sources

 private:
  using Clock = std::chrono::steady_clock;
  struct Job {
    uint64_t number;
    text::GrammarSpec spec;
    std::string owner;
    Clock::time_point since;
  };
  struct Kept {
    text::GrammarSpec spec;
    std::shared_ptr<const text::Grammar> grammar;
  };
  struct Worker {
    std::optional<std::string> owner;  // of what it compiles
    std::thread thread;
  };

  void run(Worker& worker);
  Job take_next(Worker& worker);  // mutex_ is held, and one waits
  void compile(Job job);
  std::shared_ptr<const text::Grammar> grammar_of(const text::GrammarSpec& spec);
  std::shared_ptr<const text::Grammar> kept(const text::GrammarSpec& spec);
  void keep(const text::GrammarSpec& spec, const std::shared_ptr<const text::Grammar>& grammar);
  text::GrammarCompiler& compiler();

  Make make_;
  OnDone on_done_;
  std::chrono::milliseconds longest_wait_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  size_t waiting_bytes_ = 0;  // of their sources
  bool stopping_ = false;
  std::list<Kept> kept_;  // used last, first
  int64_t kept_bytes_ = 0;

  std::mutex making_;
  std::unique_ptr<text::GrammarCompiler> compiler_;

  std::array<Worker, 2> workers_;  // begin with the first grammar
};

}  // namespace weft::fleet
