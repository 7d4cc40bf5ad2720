// How far a piece of work is, for the person who waits for it.
//
//   loading  [=========>          ]  45 %  1.2 of 2.7 GB  3.41 GB/s  4 s left     on a terminal
//   loading: 45 %, 1.2 of 2.7 GB, 3.41 GB/s, 4 s left                            elsewhere
//   loading: 2.7 GB in 0.79 s, 3.43 GB/s                                          at the end
//
// On a terminal one line is drawn again, at most ten times a second; elsewhere (a log file) a line
// is added every five seconds, so short work leaves only its last line.
// Thread rule: `add` from any thread, and it costs an atomic addition and a clock read unless it
// draws; construction, `finish` and destruction from one thread, with no `add` under way.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <mutex>
#include <string>

#include "base/clock.h"

namespace weft {

class Progress {
 public:
  enum class Unit { kBytes, kItems };
  struct Options {
    std::string label;
    int64_t total = 0;  // 0: unknown; then neither bar, share nor time left is shown. (The time is
                        // not before a tenth is done, or half a minute has gone.)
    Unit unit = Unit::kBytes;
    bool is_terminal = false;
    std::function<int64_t()> clock_ns = now_ns;
    // What else is to be said, after the rate: "512.3 tokens/s". Called by whoever draws.
    std::function<std::string()> remark = {};
  };

  // `out` must outlive this.
  Progress(std::ostream& out, Options options);
  ~Progress();  // wipes the bar of work that was not finished
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void add(int64_t amount);  // 0: draws where it is time to
  // Replaces the bar by a line that stays. Later calls do nothing.
  void finish();

 private:
  void draw(int64_t done, int64_t now);
  std::string bar_line(int64_t done, double seconds) const;
  std::string plain_line(int64_t done, double seconds) const;

  std::ostream& out_;
  const Options options_;
  const int64_t begin_ns_;
  std::atomic<int64_t> done_{0};
  std::atomic<int64_t> next_draw_ns_;
  std::mutex mutex_;    // of what follows, and of out_
  bool drawn_ = false;  // a bar is on the terminal's line
  bool finished_ = false;
};

}  // namespace weft
