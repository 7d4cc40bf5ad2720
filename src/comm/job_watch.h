// The thread that looks after a process's part in a job while its ranks compute: it moves messages
// on, tells the others that this process is alive (and what it is in) or why it has failed, and
// finds those that are not.
//
//   killed   on this machine: the system says so at once (pidfd)
//   killed   elsewhere: the launcher tells the others to end; who then says nothing is lost
//   frozen, cut off: no sign of life for JobOptions::silence
//   failed   it says so itself
//
// It sleeps for 20 ms at a time, and less while messages are under way that only looks move on.
// Between, it answers what the first process asks (enquiries.h).
#pragma once

#include <poll.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/wait_word.h"
#include "comm/enquiries.h"
#include "comm/job.h"
#include "comm/job_part.h"
#include "comm/link.h"

namespace weft::comm {

class JobWatch {
 public:
  // Both outlive it; the processes have introduced themselves.
  JobWatch(JobPart& part, Enquiries& enquiries, JobOptions options);
  ~JobWatch();

  // Tells the others that this process leaves and waits until all leave. Throws
  // Error(kCommunication) naming those that do not, within the deadline.
  void leave();

 private:
  enum class Kind : uint32_t { kAlive = 1, kFailed, kLeaving, kSuspects };
  struct Notice {
    uint32_t magic;
    Kind kind;
    uint32_t length;  // of the text
    char text[500];
  };
  struct Neighbour {
    int process = 0;
    int pidfd = -1;
    Notice heard{}, said{}, last_word{};
    Transfer hearing, saying, saying_last;
    int64_t silent_ns = 0;
    std::string doing;  // as it said last
    bool leaving = false;
    bool answered = false;  // since the launcher's word
  };

  void run();
  void listen(Neighbour& neighbour);
  void hear(Neighbour& neighbour);
  void say_alive();
  void say_last(Kind kind, const std::string& text);
  void look_at(Neighbour& neighbour, int64_t passed_ns);
  void sleep_for(int64_t ns);
  void lost(const Neighbour& neighbour, const std::string& how);
  // Once the launcher has told some process to end.
  void search(int64_t now);
  bool has_left() const;

  JobPart& part_;
  Enquiries& enquiries_;
  const JobOptions options_;
  std::vector<std::unique_ptr<Neighbour>> neighbours_;  // transfers stay where they are
  std::vector<pollfd> wakers_;                          // of its sleep
  std::atomic<bool> leaving_{false}, stopping_{false};
  bool said_last_ = false;
  int64_t suspects_since_ = 0, searched_ = 0;  // 0: does not, has not
  WaitWord left_;
  std::thread thread_;
};

}  // namespace weft::comm
