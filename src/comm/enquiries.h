// What the first process of a job asks the others at any time, whatever their ranks are in: what
// time it is there, and what they have to report of themselves. The thread that watches over a
// process (job_watch.h) answers, so nothing of this passes through a rank or its steps.
//
//   process 0, any thread                     process p, the watch's thread
//     moment? (16 times) ──────────────────>    now_ns()
//     report? {about}    ──────────────────>    Reporter: at most kMostReportBytes
//     <────────────────── answer of that number
//
// It looks for questions 50 times a second, and at once after one that announces more: only so does
// the time of the trip tell something. Messages are of fixed sizes, those of a moment short, so
// that the way back takes as long as the way there. One question is under way at a time on each of
// two lines; who has given it up leaves it there, and nothing more is asked before its answer came.
//
// Rejected: the time in messages of steps (each step would pay for what a person looks at once in
// a while); the launcher's or the system's time of day (nobody says how far it is off).
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "comm/job.h"
#include "comm/job_part.h"
#include "comm/link.h"
#include "comm/peer_clock.h"

namespace weft::comm {

class Enquiries {
 public:
  // part outlives it; the processes have introduced themselves. clock_ahead: as JobOptions.
  Enquiries(JobPart& part, std::chrono::nanoseconds clock_ahead);
  ~Enquiries();
  // Nothing is asked or answered any more; the watch's thread has ended.
  void hang_up();

  // ---- In the first process; any thread.
  // As Job has them.
  void read_clocks();
  PeerClock clock(int process) const;
  std::optional<std::vector<std::byte>> ask(int process, const ReportQuestion& about);
  void ask_later(int process, const ReportQuestion& about);
  std::optional<std::vector<std::byte>> answer_so_far(int process);

  // ---- In the others.
  void set_reporter(Reporter reporter);
  // Answers what was asked; the watch's thread. Whether more is to be expected soon.
  bool look();

 private:
  struct Asking;     // a process that is asked, on one line
  struct Answering;  // the process that asks, on one line

  // Questions that somebody waits for, and those that nobody does.
  static constexpr int kPatient = 0, kLater = 1, kNumLines = 2;

  Asking& asking(int process, int line) const;
  bool await(Asking& asking);
  void read_clock(int process);
  void listen(Answering& line);
  bool answer(Answering& line);

  JobPart& part_;
  const int64_t clock_ahead_ns_;
  // Transfers stay where they are.
  std::vector<std::unique_ptr<Asking>> asking_;        // [processes - 1][kNumLines], in the first
  std::vector<std::unique_ptr<Answering>> answering_;  // [kNumLines], in the others
  mutable std::mutex clocks_mutex_;
  std::vector<PeerClock> clocks_;  // [processes]
  std::mutex reporter_mutex_;
  Reporter reporter_;
  int64_t heard_ns_;      // when the last question came
  bool expects_ = false;  // it announced another one
  bool has_hung_up_ = false;
};

}  // namespace weft::comm
