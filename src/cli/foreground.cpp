#include "cli/foreground.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "base/error.h"

namespace weft::cli {
namespace {

// Of the signal handler, which has no other way to it. g_origin: the group to return to, 0 while
// this process is in it.
std::atomic<int> g_terminal{-1};
std::atomic<pid_t> g_origin{0};
struct sigaction g_previous_stop;

void take_foreground(pid_t origin) {
  const int terminal = g_terminal.load();
  if (setpgid(0, 0) != 0) return;
  // The new group is a background one, which may only set the foreground with SIGTTOU blocked.
  sigset_t blocked, before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTTOU);
  pthread_sigmask(SIG_BLOCK, &blocked, &before);
  const bool taken = tcsetpgrp(terminal, getpid()) == 0;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (taken) {
    g_origin = origin;
  } else {
    setpgid(0, origin);
  }
}

// Ctrl-Z: back to the group of origin, stop with it, and go on as before once it is continued in
// the foreground. Continued in the background, this process stays in the group of origin, and its
// next Ctrl-Z reaches the whole group by itself.
void on_stop(int) {
  const bool own_group = g_origin.load() != 0;
  const int error = errno;  // of whatever was interrupted
  give_back_foreground();
  struct sigaction own = {}, plain = {};
  plain.sa_handler = SIG_DFL;
  sigemptyset(&plain.sa_mask);
  sigaction(SIGTSTP, &plain, &own);
  // One signal for the whole group, not one for the others first: they would be seen to stop, and
  // be continued, before this process had stopped, which would then wait for good.
  kill(own_group ? 0 : getpid(), SIGTSTP);
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTSTP);
  pthread_sigmask(SIG_UNBLOCK, &stop, nullptr);  // stops here, and goes on when continued
  // Another thread may have taken the signal and be about to stop this one.
  poll(nullptr, 0, 10);
  pthread_sigmask(SIG_BLOCK, &stop, nullptr);
  sigaction(SIGTSTP, &own, nullptr);
  const pid_t group = getpgrp();
  if (group != getpid() && tcgetpgrp(g_terminal.load()) == group) take_foreground(group);
  errno = error;
}

}  // namespace

OwnForeground::OwnForeground(int terminal) {
  WEFT_CHECK(g_terminal.load() < 0, "two foregrounds at once");
  const pid_t group = getpgrp();
  if (terminal < 0 || group == getpid() || tcgetpgrp(terminal) != group) return;
  g_terminal = terminal;
  struct sigaction handler {};
  handler.sa_handler = on_stop;
  sigemptyset(&handler.sa_mask);
  handler.sa_flags = SA_RESTART;
  sigaction(SIGTSTP, &handler, &g_previous_stop);
  take_foreground(group);
}

OwnForeground::~OwnForeground() {
  if (g_terminal.load() < 0) return;
  give_back_foreground();
  sigaction(SIGTSTP, &g_previous_stop, nullptr);
  g_terminal = -1;
}

void give_back_foreground() {
  const pid_t origin = g_origin.exchange(0);
  if (origin == 0) return;
  tcsetpgrp(g_terminal.load(), origin);
  setpgid(0, origin);
}

}  // namespace weft::cli
