// Ctrl-C: the first one (or SIGTERM) asks what is running to stop, the second ends the program.
#pragma once

namespace weft::cli {

// While one lives, the first SIGINT or SIGTERM calls `action(argument)` from the signal handler, so
// `action` must be async-signal-safe; the second one ends the program at once with exit code 130.
// Afterwards signals do again what they did before. One at a time in a process.
class InterruptAction {
 public:
  using Action = void (*)(void* argument);
  InterruptAction(Action action, void* argument);
  ~InterruptAction();
  InterruptAction(const InterruptAction&) = delete;
  InterruptAction& operator=(const InterruptAction&) = delete;

  bool interrupted() const;
};

// Whether one lives. Async-signal-safe.
bool listens_to_interrupts();

}  // namespace weft::cli
