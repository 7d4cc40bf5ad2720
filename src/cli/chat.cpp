#include "cli/chat.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ostream>

#include "base/counted.h"
#include "base/did_you_mean.h"
#include "base/error.h"
#include "cli/chat_file.h"
#include "cli/shown_text.h"

namespace weft::cli {
namespace {

constexpr std::string_view kHelp =
    "  /help                   this list\n"
    "  /reset, /clear          forget the conversation\n"
    "  /undo                   forget the last question and its answer\n"
    "  /retry, /regen          answer the last question again (with the next seed)\n"
    "  /system [TEXT]          set the system message (or remove it) and forget the conversation\n"
    "  /set                    the parameters of answers, and what they are\n"
    "  /set NAME VALUE         temperature, top_p, seed, max_tokens, stop, ...; default unsets\n"
    "  /save [--overwrite] FILE  messages and parameters, as /v1/chat/completions takes them\n"
    "  /load FILE              go on with such a file\n"
    "  /stats                  figures after each answer, on or off\n"
    "  /quit                   end (so does Ctrl-D)\n"
    "  A line that ends in \\ goes on in the next. Ctrl-C stops an answer; twice ends the "
    "program.\n";

// What a user types first, and the rest without the blanks around it.
struct Words {
  std::string first, rest;
};
Words split(std::string_view line) {
  constexpr std::string_view kBlanks = " \t";
  const size_t begin = std::min(line.find_first_not_of(kBlanks), line.size());
  const size_t end = std::min(line.find_first_of(kBlanks, begin), line.size());
  const size_t rest = std::min(line.find_first_not_of(kBlanks, end), line.size());
  const size_t last = line.find_last_not_of(kBlanks);
  return {std::string(line.substr(begin, end - begin)),
          rest < line.size() ? std::string(line.substr(rest, last + 1 - rest)) : std::string()};
}

constexpr size_t kShownValue = 32;  // bytes of a value that stands in a line with its name

class Chat {
 public:
  Chat(ChatPartner& partner, const ChatOptions& options, ChatParameters parameters,
       const ReadLine& read_line, Console& console)
      : partner_(partner),
        read_line_(read_line),
        console_(console),
        parameters_(std::move(parameters)),
        system_(options.system),
        home_(options.home),
        stats_(options.stats) {
    reset();
  }

  int run() {
    if (const std::string greeting = partner_.greeting(); !greeting.empty()) say(greeting);
    bool interrupted_before = false;
    while (true) {
      const TypedLine line = read_whole_line();
      if (line.kind == TypedLine::Kind::kEnd) {
        console_.out << std::endl;
        return 0;
      }
      if (line.kind == TypedLine::Kind::kInterrupt) {
        if (interrupted_before) return kInterruptedExit;
        say("(Ctrl-C again or /quit ends the program)");
        interrupted_before = true;
        continue;
      }
      interrupted_before = false;
      if (line.text.find_first_not_of(" \t") == std::string::npos) continue;
      if (line.text[0] == '/') {
        if (!obey(line.text)) return 0;
      } else {
        ask(line.text);
      }
    }
  }

 private:
  void say(std::string_view line) { console_.err << line << std::endl; }

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
    unanswered_.clear();
    if (!system_.empty()) messages_.push_back({"system", system_});
  }

  // ---- commands

  struct Command {
    std::vector<std::string_view> names;
    void (Chat::*obey)(const std::string& rest);
  };
  static const std::vector<Command>& commands() {
    static const std::vector<Command> all = {
        {{"/help", "/?"}, &Chat::help},   {{"/reset", "/clear"}, &Chat::forget_all},
        {{"/undo"}, &Chat::undo},         {{"/retry", "/regen", "/regenerate"}, &Chat::retry},
        {{"/system"}, &Chat::set_system}, {{"/set"}, &Chat::set},
        {{"/save"}, &Chat::save},         {{"/load"}, &Chat::load},
        {{"/stats"}, &Chat::set_stats},   {{"/quit", "/exit", "/bye"}, nullptr},
    };
    return all;
  }

  // False where the chat is to end. A command that is refused changes nothing.
  bool obey(const std::string& line) {
    const auto [name, rest] = split(line);
    for (const Command& command : commands()) {
      if (std::ranges::find(command.names, name) == command.names.end()) continue;
      if (command.obey == nullptr) return false;
      try {
        (this->*command.obey)(rest);
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::kUsage) throw;
        say(fmt::format("weft: {}", error.what()));
      }
      console_.err.flush();
      return true;
    }
    std::vector<std::string> known;
    for (const Command& command : commands())
      known.insert(known.end(), command.names.begin(), command.names.end());
    say(fmt::format("unknown command {}{}; /help lists them", name, did_you_mean(name, known)));
    return true;
  }

  void help(const std::string&) { console_.err << kHelp; }

  void forget_all(const std::string&) {
    reset();
    say("the conversation is forgotten");
  }

  void set_system(const std::string& text) {
    system_ = text;
    reset();
    say(text.empty() ? "no system message" : "the system message is set");
  }

  void set_stats(const std::string& rest) {
    stats_ = rest == "on" || (rest != "off" && !stats_);
    say(fmt::format("figures are {}", stats_ ? "on" : "off"));
  }

  // What stands behind the last question, and that question; empty where nothing was asked.
  std::string take_last_question(std::vector<text::Message>* messages) const {
    const auto last = std::find_if(messages->rbegin(), messages->rend(),
                                   [](const text::Message& m) { return m.role == "user"; });
    if (last == messages->rend()) return {};
    const std::string question = last->content;
    messages->erase(std::prev(last.base()), messages->end());
    return question;
  }

  void undo(const std::string&) {
    unanswered_.clear();
    const std::string question = take_last_question(&messages_);
    say(question.empty() ? "nothing was asked yet"
                         : fmt::format("forgotten: {}", shortened(question, kShownValue)));
  }

  // Answers are drawn anew only with another seed, and at a temperature.
  void retry(const std::string&) {
    if (!unanswered_.empty()) return ask(std::string(unanswered_));
    std::vector<text::Message> before = messages_;
    const std::string question = take_last_question(&before);
    if (question.empty()) return say("nothing was asked yet");
    const serve::RequestBody body = parameters_.read();
    ChatParameters parameters = parameters_;
    if (body.sampling.greedy()) {
      say("(at temperature 0 every answer is the same; /set temperature 1 draws)");
    } else if (body.sampling.seed) {
      const auto seed = static_cast<int64_t>((*body.sampling.seed + 1) & INT64_MAX);
      parameters.set("seed", seed);
      say(fmt::format("(seed {})", seed));
    }
    if (answer(std::move(before), question, parameters)) parameters_ = std::move(parameters);
  }

  // ---- parameters

  // Of ollama's /set parameter NAME VALUE, /set system TEXT, /set verbose and quiet too.
  void set(const std::string& rest) {
    Words words = split(rest);
    if (words.first == "parameter") words = split(words.rest);
    if (words.first.empty()) return list_parameters();
    if (words.first == "system") return set_system(words.rest);
    if (words.first == "verbose" || words.first == "quiet")
      return set_stats(words.first == "verbose" ? "on" : "off");
    const std::string name = canonical_parameter(words.first);
    const KnownParameter* known = find_parameter(name);
    if (known == nullptr) check_unknown(words.first, name);
    if (words.rest.empty()) return show_parameter(name);
    ChatParameters changed = parameters_;
    if (words.rest == "default" && known != nullptr) {
      changed.unset(name);
    } else {
      changed.set_typed(name, words.rest);
    }
    partner_.check(changed);
    parameters_ = std::move(changed);
    show_parameter(name);
  }

  void check_unknown(const std::string& typed, const std::string& name) const {
    std::vector<std::string> names;
    for (const KnownParameter& known : known_parameters()) names.emplace_back(known.name);
    const std::string near = did_you_mean(name, names);
    if (partner_.is_remote() && near.empty()) return;
    throw Error(ErrorKind::kUsage, fmt::format("there is no parameter {}{}", typed, near), "",
                "/set lists them");
  }

  void show_parameter(const std::string& name) {
    const std::string* json = parameters_.find(name);
    say(fmt::format("{} is {}", name, json == nullptr ? partner_.unset() : *json));
  }

  void list_parameters() {
    for (const KnownParameter& known : known_parameters()) {
      const std::string* json = parameters_.find(known.name);
      const std::string value = json == nullptr ? partner_.unset() : shortened(*json, kShownValue);
      say(fmt::format("  {:<27} {:<12} {}", known.name, value, known.help));
    }
    for (const ChatParameters::Parameter& set : parameters_.all())
      if (find_parameter(set.name) == nullptr)
        say(fmt::format("  {:<27} {:<12} passed on as it is", set.name,
                        shortened(set.json, kShownValue)));
  }

  // ---- files

  std::filesystem::path path_of(const std::string& typed) const {
    const bool is_home = typed.starts_with("~/") && !home_.empty();
    return is_home ? std::filesystem::path(home_) / typed.substr(2) : std::filesystem::path(typed);
  }

  void save(const std::string& rest) {
    constexpr std::string_view kOverwrite = "--overwrite";
    const Words words = split(rest);
    const bool overwrite = words.first == kOverwrite;
    const std::string& file = overwrite ? words.rest : rest;
    if (file.empty()) throw Error(ErrorKind::kUsage, "/save wants the name of a file");
    if (messages_.empty()) throw Error(ErrorKind::kUsage, "nothing was said yet");
    save_chat(path_of(file), {partner_.model(), messages_, parameters_}, overwrite);
    say(fmt::format("saved {} to {}", counted(messages_.size(), "message"), file));
  }

  void load(const std::string& file) {
    if (file.empty()) throw Error(ErrorKind::kUsage, "/load wants the name of a file");
    ChatFile loaded = load_chat(path_of(file));
    partner_.check(loaded.parameters);
    messages_ = std::move(loaded.messages);
    parameters_ = std::move(loaded.parameters);
    unanswered_.clear();
    system_ = messages_.front().role == "system" ? messages_.front().content : "";
    say(fmt::format("loaded {}; their parameters hold (/set)",
                    counted(messages_.size(), "message")));
    if (messages_.back().role == "user") say("the last question has no answer yet: /retry asks it");
  }

  // ---- answers

  void ask(const std::string& question) { answer(messages_, question, parameters_); }

  // False where there was no answer: a question that is refused leaves the conversation as it was,
  // also what had to be forgotten for it.
  bool answer(std::vector<text::Message> messages, const std::string& question,
              const ChatParameters& parameters) {
    messages.push_back({"user", question});
    try {
      const ChatReply reply = partner_.answer(&messages, parameters, console_);
      console_.out << std::endl;
      messages.push_back({"assistant", reply.text});
      messages_ = std::move(messages);
      unanswered_.clear();
      report(reply);
      return true;
    } catch (const Error& error) {
      if (!may_go_on_after(error.kind())) throw;
      unanswered_ = question;
      console_.out << std::endl;
      say(fmt::format("weft: {}", error.what()));
      return false;
    }
  }

  bool may_go_on_after(ErrorKind kind) const {
    if (kind == ErrorKind::kCommunication) return partner_.is_remote();
    return kind != ErrorKind::kInternal && kind != ErrorKind::kMemory;
  }

  void report(const ChatReply& reply) {
    for (const std::string& line : reply.details) console_.out << line << "\n";
    console_.out.flush();
    if (reply.finish_reason == "length")
      say("(cut at max_tokens or the context's end; /set max_tokens N)");
    if (!stats_) return;
    for (const std::string& line : reply.stats) console_.err << line << "\n";
    console_.err.flush();
  }

  ChatPartner& partner_;
  const ReadLine& read_line_;
  Console& console_;
  ChatParameters parameters_;
  std::string system_, home_;
  bool stats_;
  std::vector<text::Message> messages_;
  std::string unanswered_;  // asked last, and no answer came; not in messages_
};

}  // namespace

int chat(ChatPartner& partner, const ChatOptions& options, ChatParameters parameters,
         const ReadLine& read_line, Console& console) {
  return Chat(partner, options, std::move(parameters), read_line, console).run();
}

}  // namespace weft::cli
