#include "cli/line_reader.h"

#include <histedit.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <clocale>
#include <cstdio>

namespace weft::cli {
namespace {

constexpr char kCtrlD = '\x04';

}  // namespace

struct LineReader::State {
  EditLine* editor = nullptr;
  History* history = nullptr;
  HistEvent event{};
  std::string prompt;
  bool interrupted = false;
  std::string typed_ahead;  // keys that the editor is still to be given

  void take_typed_ahead();
  std::string next_keys();

  static State& of(EditLine* editor) {
    void* data = nullptr;
    el_get(editor, EL_CLIENTDATA, &data);
    return *static_cast<State*>(data);
  }
  static char* show_prompt(EditLine* editor) { return of(editor).prompt.data(); }
  static unsigned char on_interrupt(EditLine* editor, int) {
    of(editor).interrupted = true;
    return CC_EOF;
  }
  static unsigned char on_suspend(EditLine* editor, int);
};

// What was typed since the last line, while the terminal kept whole lines. Their bytes would wait
// for the editor, but Ctrl-D is no byte there: it would be lost once the terminal gives single
// keys. So lines are taken while it still is what it was, and Ctrl-D becomes a key.
void LineReader::State::take_typed_ahead() {
  char piece[1024];
  while (true) {
    pollfd wanted{STDIN_FILENO, POLLIN, 0};
    if (poll(&wanted, 1, 0) != 1 || wanted.revents != POLLIN) return;  // nothing, or hung up
    const ssize_t count = ::read(STDIN_FILENO, piece, sizeof(piece));
    if (count < 0) return;
    if (count == 0) {
      typed_ahead += kCtrlD;
      return;
    }
    std::copy_if(piece, piece + count, std::back_inserter(typed_ahead),
                 [](char c) { return c != '\0'; });  // the editor takes a C string
  }
}

// The keys up to the end of a line: what the editor is given it must use up in one call.
std::string LineReader::State::next_keys() {
  const size_t end = typed_ahead.find_first_of("\n\x04");
  const size_t count = end == std::string::npos ? typed_ahead.size() : end + 1;
  std::string keys = typed_ahead.substr(0, count);
  typed_ahead.erase(0, count);
  return keys;
}

// Stops the whole job, as the terminal does where Ctrl-Z is a signal; its shell continues it. The
// editor's own handler of that signal is for once out of the way: it works only once a line.
unsigned char LineReader::State::on_suspend(EditLine* editor, int) {
  el_set(editor, EL_PREP_TERM, 0);
  struct sigaction plain {
  }, before{};
  plain.sa_handler = SIG_DFL;
  sigemptyset(&plain.sa_mask);
  sigaction(SIGTSTP, &plain, &before);
  kill(0, SIGTSTP);
  sigaction(SIGTSTP, &before, nullptr);
  el_set(editor, EL_PREP_TERM, 1);
  return CC_REDISPLAY;
}

LineReader::LineReader() : state_(std::make_unique<State>()) {
  // Without a locale of UTF-8 the editor would count and cut bytes.
  if (std::setlocale(LC_CTYPE, "") == nullptr || MB_CUR_MAX < 4) {
    std::setlocale(LC_CTYPE, "C.UTF-8");
  }
  state_->history = history_init();
  history(state_->history, &state_->event, H_SETSIZE, 1000);
  state_->editor = el_init("weft", stdin, stdout, stderr);
  el_set(state_->editor, EL_CLIENTDATA, state_.get());
  el_set(state_->editor, EL_PROMPT, &State::show_prompt);
  el_set(state_->editor, EL_EDITOR, "emacs");
  el_set(state_->editor, EL_HIST, history, state_->history);
  el_set(state_->editor, EL_SIGNAL, 1);
  // While a line is edited Ctrl-C is a key like any other, so that no signal cuts the editor short.
  el_set(state_->editor, EL_SETTY, "-d", "-isig", nullptr);
  el_set(state_->editor, EL_ADDFN, "weft-interrupt", "give up this line", &State::on_interrupt);
  el_set(state_->editor, EL_BIND, "^C", "weft-interrupt", nullptr);
  el_set(state_->editor, EL_ADDFN, "weft-suspend", "stop the program", &State::on_suspend);
  el_set(state_->editor, EL_BIND, "^Z", "weft-suspend", nullptr);
  el_source(state_->editor, nullptr);  // the user's own ~/.editrc
}

LineReader::~LineReader() {
  el_end(state_->editor);
  history_end(state_->history);
}

TypedLine LineReader::read(const std::string& prompt) {
  state_->prompt = prompt;
  state_->interrupted = false;
  state_->take_typed_ahead();
  // Before the prompt is seen: the editor itself would do it after, and a key that came between
  // would be the terminal's, an end of input swallowed, a Ctrl-C the end of the program.
  el_set(state_->editor, EL_PREP_TERM, 1);
  const std::string keys = state_->next_keys();
  if (!keys.empty()) el_push(state_->editor, keys.c_str());
  int count = 0;
  const char* line = el_gets(state_->editor, &count);
  if (state_->interrupted) {
    std::fputs("^C\n", stdout);
    std::fflush(stdout);
    return {TypedLine::Kind::kInterrupt, ""};
  }
  if (line == nullptr || count <= 0) return {TypedLine::Kind::kEnd, ""};
  std::string text(line, static_cast<size_t>(count));
  if (!text.empty() && text.back() == '\n') text.pop_back();
  if (!text.empty()) history(state_->history, &state_->event, H_ENTER, text.c_str());
  return {TypedLine::Kind::kText, text};
}

}  // namespace weft::cli
