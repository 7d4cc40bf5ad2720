// A job: processes that mpirun, srun or another PMIx launcher started together, on one host or
// several, and the groups of ranks that span them.
//
// Inside a process ranks are threads that share memory; between processes one of them speaks for
// all: reduce inside, one exchange between, spread inside. A group that lies within one process
// lends views (comm.h), one that spans several does not, and its callers send what they would lend.
//
// A job is one fault domain. Whichever process fails, is killed, freezes or is cut off: every wait
// of every other one ends with an error that names it, its host and what it was last seen in. Then
// say so and call `end`. The launcher tells processes to end (SIGTERM) when one of them is lost,
// and kills them a second later: who wants to say why must not die of that signal, and hands it to
// `suspect`, since of a process that is killed on another machine nothing else tells in time.
//
// Nothing here is paid for without a launcher: find_launch looks at variables, and MPI is not
// initialised before join_job.
// Thread rule: a Job belongs to one thread; `abort` and what `members` gives as comm.h says.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/options.h"
#include "comm/comm.h"
#include "comm/peer_clock.h"

namespace weft::comm {

struct Launch {
  std::string launcher;   // "mpirun", "srun", "a PMIx launcher", "the mpirun of another MPI"
  int num_processes = 0;  // 0: not said
  bool can_join = true;   // false: the launcher offers its processes no way to find each other
};
// How this process was started, by its environment alone; nothing where it was started by itself,
// or as the only process of its job.
std::optional<Launch> find_launch(const Environment& environment);

// What a process says of itself at the start. Texts of at most 120 bytes.
struct Introduction {
  std::string version;          // of the program: must agree
  std::string numerics;         // what the bits of an answer depend on: must agree
  std::string instruction_set;  // may differ where the numerics agree
};

struct Peer {
  Introduction said;
  std::string host;
  int64_t pid = 0;
};

struct JobOptions {
  std::chrono::milliseconds deadline{60'000};  // of the start, and of the end
  // Without a sign of life for as long, a process is lost. Threads of their own give it, however
  // long the ranks compute, and time in which this process itself did not run does not count.
  std::chrono::milliseconds silence{8'000};
  // The same once the launcher has told some process to end: all is to be said before the second is
  // over that it leaves.
  std::chrono::milliseconds silence_at_the_end{400};
  // Processes of one machine share memory, where their groups do (comm.h); false: as if each were
  // on a machine of its own.
  bool shares_memory = true;
  // Of a test: what this process says of its clock is ahead of what it shows.
  std::chrono::nanoseconds clock_ahead{0};
};

// What the first process asks of another one, in words of those who ask and answer.
struct ReportQuestion {
  int64_t kind = 0;
  std::array<int64_t, 3> about{};
};
inline constexpr size_t kMostReportBytes = 32 * 1024 - 16;
// Fills in the answer, which is empty. It is called by the thread that watches over the process:
// it may neither block nor throw.
using Reporter = std::function<void(const ReportQuestion& about, std::vector<std::byte>& answer)>;

class Job {
 public:
  virtual ~Job() = default;

  virtual int process() const = 0;
  virtual int num_processes() const = 0;
  virtual const Peer& peer(int process) const = 0;
  // Whether it shares this one's cores and memory.
  virtual bool on_this_host(int process) const = 0;

  // Collective over the processes. The members of a group of all ranks, of which this process runs
  // num_local (1 to 64; processes may differ); ranks go by process. In every group that is split
  // from it the members of a process are to be neighbours too (checked).
  virtual std::vector<std::unique_ptr<Communicator>> members(int num_local,
                                                             GroupOptions options = {}) = 0;
  // The collectives and messages of MPI itself, a member a process: for measurements beside those
  // of `members`. Blocks without a deadline, and nothing else of the job moves while it lives; null
  // where there is no MPI beneath. Collective.
  virtual std::unique_ptr<Communicator> library_member() = 0;
  // Whether all processes are on one machine, and so may share memory.
  virtual bool on_one_machine() const = 0;
  // What this process is doing now, for what others say if it is lost: "load", "prompt". A literal.
  // Any thread.
  virtual void enter(const char* activity) = 0;
  // Makes every present and future wait of the job, in all processes, end with this reason.
  virtual void abort(const std::string& reason) = 0;
  // That reason, once there is one. From any thread.
  virtual std::optional<std::string> failure() const = 0;

  // What the first process may ask of the others at any time, whatever their ranks are in; no step
  // pays for it (comm/enquiries.h).
  // In the others: what they answer. Once this returns, the one before is not called any more.
  virtual void set_reporter(Reporter reporter) = 0;
  // In the first; any thread. An answer takes some 20 ms, after a second there is none.
  virtual std::optional<std::vector<std::byte>> ask(int process, const ReportQuestion& about) = 0;
  // The same without waiting: the answer is what answer_so_far gives later, once. One question at
  // a time; another one is not asked.
  virtual void ask_later(int process, const ReportQuestion& about) = 0;
  virtual std::optional<std::vector<std::byte>> answer_so_far(int process) = 0;
  // Clocks of the others were read at the start; they are again where that was long ago. Takes some
  // 20 ms a process.
  virtual void read_clocks() = 0;
  virtual PeerClock clock(int process) const = 0;
  // JobOptions::clock_ahead in nanoseconds: added to moments that are told to the first process.
  virtual int64_t clock_ahead_ns() const = 0;

  // The launcher has told this process to end. If another one is lost, every wait ends with its
  // name within half a second; if none is, nothing happens. Async-signal-safe.
  virtual void suspect() = 0;

  // The ordinary end, collective. Without it the launcher takes this process for lost. Members of
  // groups may be destroyed before or after.
  virtual void leave() = 0;
  // After a failure was reported: gives the others half a second to report theirs, then has the
  // launcher end whatever is left of the job, frozen processes too.
  [[noreturn]] virtual void end(int exit_code) = 0;
};

// Joins the processes that `launch` tells of. Throws Error(kCommunication): a build without MPI
// (naming the package), a launcher and an MPI that do not know each other, processes that differ.
std::unique_ptr<Job> join_job(const Launch& launch, const Introduction& self,
                              JobOptions options = {});

}  // namespace weft::comm
