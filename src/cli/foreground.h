// The terminal's foreground while an answer runs.
//
// Ctrl-C goes to every process of the terminal's foreground group. Where a program like make
// started this one, it shares the group, takes the Ctrl-C that stopped an answer for its own end,
// and reports 130 however the chat ended. So an answer runs in a group of its own. (At the prompt
// Ctrl-C is a key, not a signal.)
#pragma once

namespace weft::cli {

// While one lives, the keys of `terminal` that send signals reach this process alone. Ctrl-Z still
// stops the group that this process came from, as its shell expects. Does nothing where this
// process leads its group (a shell started it), is in the background, or `terminal` is none.
// One at a time in a process.
class OwnForeground {
 public:
  explicit OwnForeground(int terminal);
  ~OwnForeground();
  OwnForeground(const OwnForeground&) = delete;
  OwnForeground& operator=(const OwnForeground&) = delete;
};

// Gives the terminal back at once, for who ends the program without destructors. May be called
// from a signal handler, also where nothing was taken.
void give_back_foreground();

}  // namespace weft::cli
