#include "cli/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <chrono>
#include <thread>

#include "base/options.h"

namespace weft::cli {
namespace {

constexpr int kNotStarted = 127;  // as a shell says it
constexpr auto kWatchInterval = std::chrono::milliseconds(100);
constexpr int kIntervalsUntilKill = 20;

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

// The process id, or -1.
pid_t start(const ChildProcess& child) {
  Environment environment = process_environment();
  for (const auto& [name, value] : child.variables) environment[name] = value;
  std::vector<std::string> variables, arguments = child.arguments;
  for (const auto& [name, value] : environment) variables.push_back(name + "=" + value);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, child.output.c_str(), O_WRONLY | O_CREAT | O_TRUNC,
                                   0644);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  pid_t pid = -1;
  const int error = posix_spawnp(&pid, arguments[0].c_str(), &actions, nullptr,
                                 pointers(arguments).data(), pointers(variables).data());
  posix_spawn_file_actions_destroy(&actions);
  return error == 0 ? pid : -1;
}

}  // namespace

int run_child(const ChildProcess& child, const std::function<bool()>& watch) {
  const pid_t pid = start(child);
  if (pid < 0) return kNotStarted;
  int status = 0, intervals_since_end = -1;
  while (waitpid(pid, &status, WNOHANG) == 0) {
    if (intervals_since_end >= 0 && ++intervals_since_end == kIntervalsUntilKill) {
      kill(pid, SIGKILL);
    }
    if (!watch() && intervals_since_end < 0) {
      kill(pid, SIGTERM);
      intervals_since_end = 0;
    }
    std::this_thread::sleep_for(kWatchInterval);
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace weft::cli
