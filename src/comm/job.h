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

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/options.h"
#include "comm/comm.h"

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
};

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

  // The launcher has told this process to end. Within half a second every wait ends with the name
  // of the process that is lost, or with the launcher's word where none is. Async-signal-safe.
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
