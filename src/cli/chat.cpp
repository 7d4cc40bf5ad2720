#include "cli/chat.h"

#include <fmt/format.h>

#include <ostream>

#include "base/did_you_mean.h"
#include "base/error.h"
#include "cli/answer_report.h"
#include "cli/foreground.h"
#include "cli/interrupt.h"
#include "cli/prompt.h"

namespace weft::cli {
namespace {

constexpr std::string_view kHelp =
    "  /help            this list\n"
    "  /reset           forget the conversation\n"
    "  /system [TEXT]   set the system message (or remove it) and forget the conversation\n"
    "  /stats           figures after each answer, on or off\n"
    "  /quit            end (so does Ctrl-D)\n"
    "  A line that ends in \\ goes on in the next. Ctrl-C stops an answer; twice ends the "
    "program.\n";

class Chat {
 public:
  Chat(engine::Engine& engine, const ChatOptions& options, const MakeRequest& make_request,
       const ReadLine& read_line, Console& console)
      : engine_(engine),
        make_request_(make_request),
        read_line_(read_line),
        console_(console),
        system_(options.system),
        stats_(options.stats),
        terminal_(options.terminal) {
    reset();
  }

  int run() {
    if (engine_.chat_template() == nullptr) {
      console_.err << "this model ships no chat template: each line is continued as plain text\n";
    }
    bool interrupted_before = false;
    while (true) {
      const TypedLine line = read_whole_line();
      if (line.kind == TypedLine::Kind::kEnd) {
        console_.out << std::endl;
        return 0;
      }
      if (line.kind == TypedLine::Kind::kInterrupt) {
        if (interrupted_before) return kInterruptedExit;
        console_.err << "(Ctrl-C again or /quit ends the program)" << std::endl;
        interrupted_before = true;
        continue;
      }
      interrupted_before = false;
      if (line.text.find_first_not_of(" \t") == std::string::npos) continue;
      if (line.text[0] == '/') {
        if (!obey(line.text)) return 0;
      } else {
        answer(line.text);
      }
    }
  }

 private:
  // Joins lines that end in a backslash.
  TypedLine read_whole_line() {
    TypedLine whole = read_line_("> ");
    while (whole.kind == TypedLine::Kind::kText && !whole.text.empty() &&
           whole.text.back() == '\\') {
      whole.text.back() = '\n';
      const TypedLine more = read_line_(". ");
      whole.kind = more.kind;
      whole.text += more.text;
    }
    return whole;
  }

  void reset() {
    messages_.clear();
    if (!system_.empty()) messages_.push_back({"system", system_});
  }

  // False where the chat is to end.
  bool obey(const std::string& line) {
    const size_t space = line.find(' ');
    const std::string command = line.substr(0, space);
    const std::string rest = space == std::string::npos ? "" : line.substr(space + 1);
    if (command == "/quit" || command == "/exit" || command == "/bye") return false;
    if (command == "/help" || command == "/?") {
      console_.err << kHelp;
    } else if (command == "/reset") {
      reset();
      console_.err << "the conversation is forgotten\n";
    } else if (command == "/system") {
      system_ = rest;
      reset();
      console_.err << (rest.empty() ? "no system message\n" : "the system message is set\n");
    } else if (command == "/stats") {
      stats_ = rest == "on" || (rest != "off" && !stats_);
      console_.err << "figures are " << (stats_ ? "on\n" : "off\n");
    } else {
      const std::vector<std::string> known = {"/help", "/reset", "/system", "/stats", "/quit"};
      console_.err << fmt::format("unknown command {}{}; /help lists them\n", command,
                                  did_you_mean(command, known));
    }
    console_.err.flush();
    return true;
  }

  // A question that is refused leaves the conversation as it was, also what had to be forgotten
  // for it.
  void answer(const std::string& question) {
    std::vector<text::Message> messages = messages_;
    messages.push_back({"user", question});
    try {
      const size_t forgotten = forget_oldest(engine_, &messages);
      engine::Request request = make_request_();
      request.prompt_ids = writer_of(engine_).conversation_ids(messages);
      const engine::GenerationResult result = generate(&request, forgotten);
      messages.push_back({"assistant", result.text});
      messages_ = std::move(messages);
      report({engine_, request, result});
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kUsage && error.kind() != ErrorKind::kModel) throw;
      console_.out << std::endl;
      console_.err << "weft: " << error.what() << std::endl;
    }
  }

  engine::GenerationResult generate(engine::Request* request, size_t num_forgotten) {
    const bool fits = static_cast<int64_t>(request->prompt_ids.size()) <= engine_.max_model_len();
    if (num_forgotten > 0 && fits) {
      console_.err << "(the oldest messages are forgotten: the context is full)" << std::endl;
    }
    fit_answer(engine_, request);
    const OwnForeground foreground(terminal_);
    const InterruptAction interrupt(
        [](void* engine) { static_cast<engine::Engine*>(engine)->cancel(); }, &engine_);
    engine::GenerationResult result = engine_.generate(*request, [&](const std::string& piece) {
      console_.out << piece << std::flush;
      return true;
    });
    console_.out << std::endl;
    return result;
  }

  void report(const Answer& answer) {
    for (const std::string& line : detail_lines(answer)) console_.out << line << "\n";
    console_.out.flush();
    if (!stats_) return;
    for (const std::string& line : stats_lines(answer)) console_.err << line << "\n";
    console_.err.flush();
  }

  engine::Engine& engine_;
  const MakeRequest& make_request_;
  const ReadLine& read_line_;
  Console& console_;
  std::string system_;
  bool stats_;
  int terminal_;
  std::vector<text::Message> messages_;
};

}  // namespace

int chat(engine::Engine& engine, const ChatOptions& options, const MakeRequest& make_request,
         const ReadLine& read_line, Console& console) {
  return Chat(engine, options, make_request, read_line, console).run();
}

}  // namespace weft::cli
