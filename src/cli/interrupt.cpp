#include "cli/interrupt.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/foreground.h"

namespace weft::cli {
namespace {

// A signal handler has no other way to what it stops: the one state of this program that is global.
std::atomic<InterruptAction::Action> g_action{nullptr};
std::atomic<void*> g_argument{nullptr};
std::atomic<int> g_count{0};
struct sigaction g_previous_int, g_previous_term;

// What listened to the launcher before (cli/in_job.cpp) still hears it.
void hand_on(int number) {
  if (number != SIGTERM || (g_previous_term.sa_flags & SA_SIGINFO) != 0) return;
  const auto previous = g_previous_term.sa_handler;
  if (previous != SIG_DFL && previous != SIG_IGN) previous(number);
}

void on_signal(int number) {
  hand_on(number);
  if (g_count.fetch_add(1) > 0) {
    give_back_foreground();
    _exit(kInterruptedExit);
  }
  if (const InterruptAction::Action action = g_action.load()) action(g_argument.load());
}

}  // namespace

InterruptAction::InterruptAction(Action action, void* argument) {
  WEFT_CHECK(g_action.load() == nullptr, "two interrupt actions at once");
  g_count = 0;
  g_argument = argument;
  g_action = action;
  struct sigaction handler {};
  handler.sa_handler = on_signal;
  sigemptyset(&handler.sa_mask);
  handler.sa_flags = SA_RESTART;
  sigaction(SIGINT, &handler, &g_previous_int);
  sigaction(SIGTERM, &handler, &g_previous_term);
}

InterruptAction::~InterruptAction() {
  sigaction(SIGINT, &g_previous_int, nullptr);
  sigaction(SIGTERM, &g_previous_term, nullptr);
  g_action = nullptr;
}

bool InterruptAction::interrupted() const { return g_count.load() > 0; }

bool listens_to_interrupts() { return g_action.load() != nullptr; }

}  // namespace weft::cli
