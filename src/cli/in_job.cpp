#include "cli/in_job.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <ostream>
#include <stop_token>
#include <thread>

#include "base/error.h"
#include "cli/interrupt.h"
#include "cli/version.h"
#include "engine/crew.h"
#include "engine/numerics.h"

namespace weft::cli {
namespace {

// With what the end itself takes, a frozen process has ended all others after some nine seconds
// (docs/cluster.md). Signs of life come twice a second, from a thread that does nothing else.
constexpr std::chrono::milliseconds kSilence{6'000};
// What a command needs to say by itself that a rank is lost: it gives ranks that still work a
// second, and a server's clients two.
constexpr std::chrono::milliseconds kOwnWords{2'500};
constexpr std::chrono::milliseconds kBetweenLooks{100};
// Twice what finding out takes whether another process is lost (JobOptions::silence_at_the_end).
constexpr std::chrono::milliseconds kSearch{800};
// What leaving allows the others (JobOptions::deadline), and half as much for the launcher's part.
constexpr std::chrono::milliseconds kLongestEnd{90'000};
constexpr int kTerminatedExit = 128 + SIGTERM;  // as shells say it

// What the bits depend on but the cache's type, which the first process tells the others.
comm::Introduction introduction(const Context& context) {
  return {fmt::format("{} ({})", version(), commit()),
          fmt::format("weft{}/{}", engine::kArithmeticVersion, engine::kKernelClass),
          std::string(context.engine.isa())};
}

// The job's reason where the first process has told its user why it ends.
constexpr const char* kTold = "the first process ends, and has said why";
// Within which a mistake that all processes find has been told by the first one.
constexpr std::chrono::milliseconds kSameMistake{500};

// What this process has to say of the job's end, once.
class LastWord {
 public:
  explicit LastWord(const Context& context) : context_(context) {}
  int say(ErrorKind kind, std::string_view what) {
    const std::lock_guard lock(mutex_);
    // In one piece: several processes write to one terminal.
    if (!said_) context_.console.err << fmt::format("weft: {}\n", what) << std::flush;
    said_ = true;
    return static_cast<int>(kind);
  }

 private:
  const Context& context_;
  std::mutex mutex_;
  bool said_ = false;
};

// The launcher's word that another process is lost (comm/job.h), or somebody's that this program
// shall end. Commands that end on it by themselves hand it on (cli/interrupt.h). A signal handler
// has no other way to the job, which lives as long as the program.
std::atomic<comm::Job*> g_job{nullptr};
std::atomic<bool> g_told_to_end{false};
void on_launchers_word(int) {
  if (!listens_to_interrupts()) g_told_to_end = true;
  if (comm::Job* const job = g_job.load()) job->suspect();
}

// A lost rank ends this process whatever it is doing: waiting for a line of a chat, for a request,
// for a disk. So does SIGTERM where no command listens to it, as while a model is loaded, once it
// is known that nobody is lost; only the first process ends by it, and with it the others.
class Guard {
 public:
  Guard(comm::Job& job, LastWord& word)
      : thread_([this, &job, &word](const std::stop_token& stop) { watch(job, word, stop); }) {}

 private:
  void watch(comm::Job& job, LastWord& word, const std::stop_token& stop) {
    while (!job.failure()) {
      if (sleeps(kBetweenLooks, stop)) return;
      if (job.process() != 0 || !g_told_to_end) continue;
      if (sleeps(kSearch, stop)) return;
      if (job.failure()) break;
      job.abort(kTold);
      word.say(ErrorKind::kUsage, "told to end (SIGTERM) before the command listened to it");
      job.end(kTerminatedExit);
    }
    if (sleeps(kOwnWords, stop)) return;
    job.end(word.say(ErrorKind::kCommunication, *job.failure()));
  }
  // Whether it was told to stop meanwhile.
  bool sleeps(std::chrono::milliseconds time, const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    return waker_.wait_for(lock, stop, time, [] { return false; }) || stop.stop_requested();
  }

  std::mutex mutex_;
  std::condition_variable_any waker_;
  std::jthread thread_;  // the last member: it uses all others
};

// MPI's own end waits for every process without a deadline. A host that is cut off in that moment
// does not keep the others: the launcher ends what is left once one of them ends by itself.
class EndGuard {
 public:
  explicit EndGuard(LastWord& word)
      : thread_([this, &word](const std::stop_token& stop) {
          std::unique_lock lock(mutex_);
          waker_.wait_for(lock, stop, kLongestEnd, [] { return false; });
          if (stop.stop_requested()) return;
          const Error error(
              ErrorKind::kCommunication,
              fmt::format("the processes did not end within {} s", kLongestEnd.count() / 1000),
              "a host was cut off or froze after the work was done; all answers are whole");
          _exit(word.say(error.kind(), error.what()));
        }) {}

 private:
  std::mutex mutex_;
  std::condition_variable_any waker_;
  std::jthread thread_;  // the last member: it uses all others
};

// How the program ended here. In order: every other process is told to end as well.
struct Ending {
  int code = 0;
  bool in_order = true;
};

Ending run_first(comm::Job& job, engine::Crew& crew, const std::vector<std::string>& arguments,
                 const Context& context) {
  EngineDoor door = context.engine;
  door.job = &job;
  door.load = [&](const engine::EngineOptions& options, const engine::OnLoad& on_load,
                  const engine::OnOpen& on_open) { return crew.load(options, on_load, on_open); };
  const int code = run_program(arguments, {context.console, context.environment, door});
  // A server that the launcher told to end, since a rank is lost, has ended in good order.
  const bool said_all_is_well = code == 0 || code == 1 || code == kInterruptedExit;
  if (const auto failure = job.failure(); failure && said_all_is_well)
    throw Error(ErrorKind::kCommunication, *failure);
  if (crew.is_idle()) {
    crew.dismiss();
    return {code, true};
  }
  job.abort(kTold);
  return {code, false};
}

Ending run_joined(comm::Job& job, const std::vector<std::string>& arguments,
                  const Context& context) {
  engine::Crew crew(job);
  if (job.process() == 0) return run_first(job, crew, arguments, context);
  crew.follow();
  return {};
}

bool is_told(const comm::Job& job) { return job.failure() == kTold; }

bool is_told_soon(const comm::Job& job) {
  const auto deadline = std::chrono::steady_clock::now() + kSameMistake;
  while (!is_told(job) && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  return is_told(job);
}

// What went wrong here is everybody's reason, unless another one was first.
Ending fail(comm::Job& job, LastWord& word, const Error& error) {
  const int code = error.exit_code();
  if (error.kind() == ErrorKind::kUsage ? is_told_soon(job) : is_told(job)) return {code, false};
  job.abort(fmt::format("process {} ({}): {}", job.process(), job.peer(job.process()).host,
                        error.summary()));
  return {word.say(error.kind(), error.what()), false};
}

// What body returns, or what `failed` makes of what it throws.
template <typename Result>
Result caught(const std::function<Result()>& body,
              const std::function<Result(const Error&)>& failed) {
  try {
    return body();
  } catch (const Error& error) {
    return failed(error);
  } catch (const std::bad_alloc&) {
    return failed(Error(ErrorKind::kMemory, "out of memory"));
  } catch (const std::exception& error) {
    return failed(Error(ErrorKind::kInternal, fmt::format("internal error: {}", error.what())));
  }
}

// All of its processes measure.
bool joins_by_itself(const std::vector<std::string>& arguments) {
  return arguments.size() >= 2 && arguments[0] == "bench" && arguments[1] == "comm";
}

}  // namespace

int run_in_job(const comm::Launch& launch, const std::vector<std::string>& arguments,
               const Context& context) {
  if (joins_by_itself(arguments)) return run_program(arguments, context);
  signal(SIGTERM, on_launchers_word);
  LastWord word(context);
  std::unique_ptr<comm::Job> job;
  const auto say = [&](const Error& error) { return word.say(error.kind(), error.what()); };
  const int joined = caught<int>(
      [&] {
        job = comm::join_job(launch, introduction(context), {.silence = kSilence});
        return 0;
      },
      say);
  if (joined != 0) return joined;
  g_job = job.get();
  if (job->process() != 0) signal(SIGINT, SIG_IGN);  // the first one ends them
  std::optional<Guard> guard(std::in_place, *job, word);
  Ending ending = caught<Ending>([&] { return run_joined(*job, arguments, context); },
                                 [&](const Error& error) { return fail(*job, word, error); });
  context.console.out.flush();
  guard.reset();
  if (ending.in_order) {
    const EndGuard end_guard(word);
    const int left = caught<int>(
        [&] {
          job->leave();
          return 0;
        },
        say);
    if (left == 0) {
      g_job = nullptr;
      return ending.code;
    }
    ending.code = left;
  }
  job->end(ending.code);
  return ending.code;  // it does not, but no compiler believes a virtual function
}

}  // namespace weft::cli
