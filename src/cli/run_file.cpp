#include "cli/run_file.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <ostream>
#include <unordered_map>

#include "base/clock.h"
#include "base/counted.h"
#include "base/error.h"
#include "base/progress.h"
#include "cli/answer_file.h"
#include "cli/answer_line.h"
#include "cli/interrupt.h"
#include "cli/pipeline_table.h"
#include "cli/quantity.h"
#include "cli/request_file.h"
#include "cli/request_prompt.h"
#include "cli/speculation_report.h"

namespace weft::cli {
namespace {

bool is_same_file(const std::string& one, const std::string& other) {
  struct stat a {
  }, b{};
  return ::stat(one.c_str(), &a) == 0 && ::stat(other.c_str(), &b) == 0 && a.st_dev == b.st_dev &&
         a.st_ino == b.st_ino;
}

std::unique_ptr<AnswerFile> open_answers(const FileRunOptions& options, Console& console) {
  if (!options.out) return std::make_unique<AnswerFile>(console.out);
  if (is_same_file(options.file, *options.out))
    throw Error(ErrorKind::kUsage, "--file and --out name the same file",
                "the answers would be written over the requests", "name another file with --out");
  return std::make_unique<AnswerFile>(*options.out, options.overwrite);
}

// What the answers of this run add up to.
struct Totals {
  int64_t lines = 0, failed = 0;
  int64_t prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0;
  std::string first_failure;
};

// A line whose requests are with the engine.
struct OpenLine {
  RequestLine line;
  std::vector<std::vector<int32_t>> prompt_ids;             // [prompts of the line]
  std::vector<std::optional<engine::RequestState>> states;  // [prompts of the line], as they end
  std::vector<uint64_t> requests;                           // the engine's numbers
  size_t num_open = 0;
};

class FileRun {
 public:
  FileRun(RequestFile& file, AnswerFile& answers, std::vector<size_t> todo,
          const FileRunOptions& options, const std::string& fingerprint, engine::Engine& engine,
          Console& console)
      : file_(file),
        answers_(answers),
        todo_(std::move(todo)),
        options_(options),
        engine_(engine),
        console_(console),
        context_{engine.tokenizer(), options.model, fingerprint} {
    // An option that is wrong ends the command, not each of its lines.
    if (options.defaults.grammar) grammar_of(*options.defaults.grammar);
  }

  // False where Ctrl-C ended it.
  bool run() {
    const InterruptAction interrupt([](void*) {}, nullptr);
    std::ostream says(options_.quiet ? nullptr : console_.err.rdbuf());
    Progress progress(says, {.label = "answering",
                             .total = static_cast<int64_t>(todo_.size()),
                             .unit = Progress::Unit::kItems,
                             .is_terminal = console_.err_is_terminal,
                             .remark = [this] { return tokens_rate(); }});
    begin_ns_ = now_ns();
    generated_before_ = engine_.stats().generated_tokens;
    while (!interrupt.interrupted()) {
      const int64_t before = totals_.lines;
      submit_lines(interrupt);
      const bool more = engine_.step([this](const engine::RequestEvent& event) { take(event); });
      progress.add(totals_.lines - before);
      if (!more && requests_.empty() && next_ == todo_.size()) {
        progress.finish();
        return true;
      }
      WEFT_CHECK(more || requests_.empty(), "{} requests are open and nothing is left to do",
                 requests_.size());
    }
    leave();
    return false;
  }

  const Totals& totals() const { return totals_; }
  double seconds() const { return seconds_between(begin_ns_, now_ns()); }

 private:
  std::string tokens_rate() const {
    const int64_t generated = engine_.stats().generated_tokens - generated_before_;
    return fmt::format("{:.1f} tokens/s", per_second(static_cast<double>(generated), seconds()));
  }

  // As many as the window has room for. Lines that fail take none, and there may be many of them.
  void submit_lines(const InterruptAction& interrupt) {
    while (next_ < todo_.size() && static_cast<int64_t>(requests_.size()) < options_.window &&
           !interrupt.interrupted())
      submit_line(file_.entries()[todo_[next_++]]);
  }

  // What cannot be served fails this line alone; a lost rank or a bug ends the run.
  void submit_line(const RequestFile::Entry& entry) {
    auto open = std::make_shared<OpenLine>();
    open->line = file_.read(entry);
    try {
      open->prompt_ids = prompt_ids_of(open->line, engine_);
      for (const std::vector<int32_t>& ids : open->prompt_ids) {
        engine::Request request = request_of(open->line, ids, engine_);
        if (open->line.grammar) request.grammar = grammar_of(*open->line.grammar);
        const uint64_t number = engine_.submit(std::move(request));
        requests_.emplace(number, Part{open, open->requests.size()});
        open->requests.push_back(number);
      }
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kUsage && error.kind() != ErrorKind::kModel) throw;
      forget(*open);
      return fail(open->line, error);
    }
    // Of a line that may be long, no more than its answer needs.
    open->line.messages.clear();
    open->line.prompts.clear();
    open->num_open = open->requests.size();
    open->states.resize(open->num_open);
  }

  // Lines of a file mostly have one grammar, if any.
  std::shared_ptr<const text::Grammar> grammar_of(const text::GrammarSpec& spec) {
    if (grammar_ != nullptr && grammar_spec_ == spec) return grammar_;
    if (compiler_ == nullptr)
      compiler_ = text::GrammarCompiler::make(engine_.tokenizer(), engine_.model().vocab_size,
                                              engine_.model().end_ids);
    grammar_ = compiler_->compile(spec);
    grammar_spec_ = spec;
    return grammar_;
  }

  void take(const engine::RequestEvent& event) {
    const engine::RequestState& state = event.request;
    const auto found = requests_.find(state.id);
    if (found == requests_.end()) return;  // of a line that has failed already
    if (!state.ended) return;
    const auto [open, index] = std::move(found->second);
    requests_.erase(found);
    if (state.error) {
      const Error error = *state.error;  // cancelling the line's other requests may end the state
      forget(*open);
      return fail(open->line, error);
    }
    open->states[index] = state;
    if (--open->num_open == 0) answer(*open);
  }

  void answer(const OpenLine& open) {
    std::vector<AnsweredPrompt> prompts;
    for (size_t i = 0; i < open.states.size(); ++i) {
      const engine::RequestState& state = *open.states[i];
      prompts.push_back({open.prompt_ids[i], state});
      totals_.prompt_tokens += state.num_prompt_tokens;
      totals_.cached_tokens += state.num_cached_tokens;
      for (const engine::Choice& choice : state.choices)
        totals_.generated_tokens += static_cast<int64_t>(choice.token_ids.size());
    }
    answers_.write(answer_line(context_, open.line, prompts));
    ++totals_.lines;
  }

  void fail(const RequestLine& line, const Error& error) {
    answers_.write(failed_line(context_, line, error));
    if (totals_.failed++ == 0)
      totals_.first_failure =
          fmt::format("line {} ({}): {}", line.number, line.custom_id, error.summary());
    ++totals_.lines;
  }

  // Ends what is still computed of a line.
  void forget(const OpenLine& open) {
    for (const uint64_t number : open.requests) {
      if (requests_.erase(number) > 0) engine_.cancel(number);
    }
  }

  void leave() {
    for (const auto& [number, part] : requests_) engine_.cancel(number);
    requests_.clear();
    while (engine_.step([](const engine::RequestEvent&) {})) {
    }
  }

  struct Part {
    std::shared_ptr<OpenLine> open;
    size_t index = 0;  // of the line's requests
  };

  RequestFile& file_;
  AnswerFile& answers_;
  const std::vector<size_t> todo_;  // entries of the file
  const FileRunOptions& options_;
  engine::Engine& engine_;
  Console& console_;
  const AnswerContext context_;
  std::unordered_map<uint64_t, Part> requests_;  // that are with the engine
  std::unique_ptr<text::GrammarCompiler> compiler_;
  std::shared_ptr<const text::Grammar> grammar_;  // used last
  text::GrammarSpec grammar_spec_;
  size_t next_ = 0;  // of todo_
  int64_t generated_before_ = 0, begin_ns_ = 0;
  Totals totals_;
};

// The entries that --out does not answer yet. Error(kUsage) where it answers other requests.
std::vector<size_t> find_todo(const RequestFile& file, const AnswerFile& answers,
                              int64_t* num_failed_before) {
  std::vector<size_t> todo;
  for (size_t i = 0; i < file.entries().size(); ++i) {
    const RequestFile::Entry& entry = file.entries()[i];
    const auto known = answers.known().find(entry.custom_id);
    if (known == answers.known().end()) {
      todo.push_back(i);
      continue;
    }
    if (known->second.request_id != entry.request_id)
      throw Error(ErrorKind::kUsage,
                  fmt::format("{} answers another request '{}' than line {} of {}", answers.path(),
                              entry.custom_id, entry.number, file.path()),
                  "the line or an option of the answers has changed since",
                  "--overwrite starts anew, --out FILE elsewhere");
    *num_failed_before += known->second.failed ? 1 : 0;
  }
  return todo;
}

// Answers of one file come from one model, however it is called: files of one name may hold it in
// other types.
void check_model(const AnswerFile& answers, const std::string& model,
                 const std::string& fingerprint) {
  constexpr const char* kMend = "--overwrite starts anew, --out FILE elsewhere";
  for (const auto& [custom_id, known] : answers.known()) {
    const bool is_other_name = !known.model.empty() && known.model != model;
    const bool is_other =
        known.fingerprint.empty() ? is_other_name : known.fingerprint != fingerprint;
    if (is_other && is_other_name)
      throw Error(
          ErrorKind::kUsage,
          fmt::format("{} holds answers of {}, and this is {}", answers.path(), known.model, model),
          "", kMend);
    if (is_other)
      throw Error(
          ErrorKind::kUsage,
          fmt::format("{} holds answers of another {}: its fingerprint is {}, this one's {}",
                      answers.path(), model, known.fingerprint, fingerprint),
          "another file of the model, another type of cache, or another version of weft "
          "answered, whose bits differ",
          kMend);
  }
}

std::string summary(const Totals& totals, double seconds) {
  const double cached = totals.prompt_tokens == 0
                            ? 0.0
                            : 100.0 * static_cast<double>(totals.cached_tokens) /
                                  static_cast<double>(totals.prompt_tokens);
  return fmt::format(
      "{} answered in {:.2f} s, {} failed: {} prompt tokens ({:.1f} % of them cached), {} "
      "generated, "
      "{:.1f} tokens/s",
      counted(totals.lines - totals.failed, "line"), seconds, totals.failed, totals.prompt_tokens,
      cached, totals.generated_tokens,
      per_second(static_cast<double>(totals.generated_tokens), seconds));
}

// One line, whatever their number: where the answers lie, each tells its own.
std::string failures(const Totals& totals, const AnswerFile& answers) {
  if (totals.failed == 1) return totals.first_failure;
  return fmt::format("{} failed, first {}; the error of each is in its line of {}",
                     counted(totals.failed, "line"), totals.first_failure,
                     answers.is_file() ? answers.path() : "the answers");
}

void print_stats(const engine::Engine& engine, double seconds, std::ostream& err) {
  const engine::EngineStats stats = engine.stats();
  err << fmt::format(
      "{} steps, {:.1f} us of scheduling each; {} pre-emptions; cache of {} blocks, {} free, {} "
      "kept for prefixes\n",
      stats.num_steps,
      stats.num_steps == 0 ? 0.0 : 1e6 * stats.scheduler_s / static_cast<double>(stats.num_steps),
      stats.num_preemptions, stats.num_blocks, stats.num_free_blocks, stats.num_idle_blocks);
  const std::string guessed = speculation_line(stats.speculation, seconds);
  if (!guessed.empty()) err << guessed << "\n";
  if (stats.num_window_blocks > 0)
    err << fmt::format("windows of {} blocks, {} free, {} kept for prefixes\n",
                       stats.num_window_blocks, stats.num_free_window_blocks,
                       stats.num_idle_window_blocks);
  const engine::PipelineReport report = engine.report_window();
  for (const std::string& line : rank_lines(report.ranks, report.pooled)) err << line << "\n";
  for (const std::string& line : pipeline_lines(report, {})) err << line << "\n";
}

// What is said before the work begins.
void tell_start(const RequestFile& file, const AnswerFile& answers, size_t num_todo,
                std::ostream& says) {
  if (answers.dropped_torn_line())
    says << fmt::format("the last line of {} was torn: its request is done again\n",
                        answers.path());
  const size_t num_done = file.entries().size() - num_todo;
  const size_t num_others = answers.known().size() - num_done;
  if (num_others > 0)
    says << fmt::format("{} also holds {} of requests that are not in {}: they stay there\n",
                        answers.path(), counted(num_others, "answer"), file.path());
  if (num_done > 0)
    says << fmt::format("{} of {} are answered in {} already: {} left\n", num_done,
                        counted(file.entries().size(), "line"), answers.path(), num_todo);
  if (file.any_streams()) says << "stream is left aside: an answer is written when it is whole\n";
  says.flush();
}

}  // namespace

int run_file(const FileRunOptions& options, const LoadEngine& load, Console& console) {
  std::ostream says(options.quiet ? nullptr : console.err.rdbuf());
  RequestFile file(options.file, options.defaults, console.in);
  const std::unique_ptr<AnswerFile> answers = open_answers(options, console);
  int64_t failed_before = 0;
  std::vector<size_t> todo = find_todo(file, *answers, &failed_before);
  tell_start(file, *answers, todo.size(), says);
  if (failed_before > 0)
    says << fmt::format(
                "{} of these failed: {} says why; delete their lines there to have them tried "
                "again\n",
                failed_before, answers->path())
         << std::flush;
  if (todo.empty()) {
    check_model(*answers, options.model, options.fingerprint());
    return failed_before > 0 ? kSomeFailedExit : 0;
  }

  std::string fingerprint;
  const std::unique_ptr<engine::Engine> engine = load([&](const engine::OpenedModel& model) {
    fingerprint = options.fingerprint();
    check_model(*answers, options.model, fingerprint);
    if (model.chat_template == nullptr)
      says << "this model ships no chat template: a question is continued as plain text, a "
              "conversation is refused (--chat-template names one)"
           << std::endl;
  });
  FileRun run(file, *answers, std::move(todo), options, fingerprint, *engine, console);
  const auto tell_how_to_go_on = [&] {
    if (answers->is_file())
      console.err << fmt::format("{} are in {}: the same command goes on from there\n",
                                 counted(run.totals().lines, "more line"), answers->path());
  };
  bool finished = false;
  engine->begin_window();
  try {
    finished = run.run();
  } catch (const Error&) {
    tell_how_to_go_on();
    throw;
  }
  says << summary(run.totals(), run.seconds()) << "\n";
  if (options.stats) print_stats(*engine, run.seconds(), console.err);
  if (run.totals().failed > 0) console.err << "weft: " << failures(run.totals(), *answers) << "\n";
  if (!finished) tell_how_to_go_on();
  console.err.flush();
  if (options.on_end) options.on_end(*engine);
  if (!finished) return kInterruptedExit;
  return run.totals().failed + failed_before > 0 ? kSomeFailedExit : 0;
}

}  // namespace weft::cli
