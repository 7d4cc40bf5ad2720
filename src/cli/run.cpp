// weft run MODEL: answers one prompt, chats in the terminal, or answers a file of prompts.
#include <fmt/format.h>
#include <unistd.h>

#include <ostream>

#include "base/error.h"
#include "cli/answer_report.h"
#include "cli/chat.h"
#include "cli/engine_partner.h"
#include "cli/generation_options.h"
#include "cli/grammar_options.h"
#include "cli/interrupt.h"
#include "cli/load_engine.h"
#include "cli/model_options.h"
#include "cli/named_model.h"
#include "cli/prompt.h"
#include "cli/run_file.h"
#include "cli/server_partner.h"
#include "cli/trace_file.h"
#include "fleet/fingerprint.h"

namespace weft::cli {
namespace {

// Requests of a file that are with the engine, in batches of --max-num-seqs: enough that a batch
// never waits for the next lines to be read, and that prefixes which they share are found.
constexpr int64_t kWindowsOfFile = 4;

class RunCommand : public Command {
 public:
  RunCommand() {
    options_.group("Prompt");
    options_.add("--prompt,-p", &prompt_,
                 {"TEXT", "answer this and end; - reads standard input to its end",
                  "a file or pipe on standard input that holds something; on a terminal, a chat; "
                  "otherwise a built-in question (a pipe that stays silent for 2 s is an error)"});
    options_.add("--system,-s", &system_, {"TEXT", "system message of the conversation"});
    options_.add("--no-chat-template", &no_chat_template_,
                 {"", "continue the prompt as plain text"});
    options_.add(
        "--prompt-ids", &prompt_ids_,
        {.unit = "LIST", .help = "token ids in place of a text: 1,2,3", .may_be_empty = false});
    options_.exclude("--prompt", "--prompt-ids");
    options_.exclude("--system", "--prompt-ids", [this] { return !system_.empty(); });
    options_.exclude("--system", "--no-chat-template",
                     [this] { return !system_.empty() && no_chat_template_; });
    declare_file();
    server_.declare(&options_);
    model_.declare(&options_);
    model_.declare_scheduling(&options_);
    generation_.declare(&options_);
    grammar_.declare(&options_);
    options_.group("Output");
    options_.add("--json", &json_, {"", "one JSON object on standard output and nothing else"});
    options_.add("--stats", &stats_,
                 {"", "speed, and each rank's time in compute, all-reduce and waiting"});
    options_.add("--logits-hash", &logits_hash_,
                 {"", "hash of the raw logits: equal for every split"});
    options_.add("--quiet,-q", &quiet_, {"", "no banner and no progress"});
    trace_.declare(&options_);
  }

  OptionSet& options() override { return options_; }

  int execute(const Context& context) override {
    server_.check(options_);
    check_together();
    generation_.check();
    if (server_.is_given()) return run_with_server(context);
    Console& console = context.console;
    engine::EngineOptions engine_options = model_.resolve(context, quiet_);
    trace_.prepare(&engine_options);
    if (file_) return answer_file(context, engine_options);
    engine_options.max_num_seqs = 1;
    const bool chats = is_chat(console);
    // Before the model is loaded, which may take long.
    const PromptText prompt = chats || prompt_ids_ ? PromptText{} : find_prompt(console);
    std::vector<int32_t> prompt_ids;
    const std::optional<text::GrammarSpec> grammar = grammar_.spec();
    const engine::OnOpen check = [&](const engine::OpenedModel& model) {
      engine::check_sampling(generation_.sampling(), model.report.vocab_size);
      if (grammar) {
        compiled_ = text::GrammarCompiler::make(model.tokenizer, model.report.vocab_size,
                                                model.report.end_ids)
                        ->compile(*grammar);
      }
      if (chats) return;
      prompt_ids = prompt_token_ids(model, prompt.text, console);
      model.check_prompt(prompt_ids);
    };
    const std::unique_ptr<engine::Engine> engine =
        load_engine(context, engine_options, check, quiet_);
    if (chats) {
      const auto partner = make_engine_partner(
          *engine, {model_name(), logits_hash_, STDIN_FILENO, grammar, compiled_});
      const int code = hold_chat(*partner, parameters(/*only_given=*/false), context);
      write_trace(*engine, console);
      return code;
    }
    if (prompt.is_built_in && !quiet_) console.err << "> " << prompt.text << std::endl;
    return answer_once(*engine, std::move(prompt_ids), console);
  }

 private:
  struct PromptText {
    std::string text;
    bool is_built_in = false;
  };

  void declare_file() {
    options_.group("File of prompts");
    options_.add("--file,-f", &file_,
                 {.unit = "FILE",
                  .help = "answer every line of it, many at a time: OpenAI batch requests, or "
                          "{\"prompt\": \"...\"}, which is answered as -p is; - reads standard "
                          "input",
                  .may_be_empty = false});
    options_.add("--out,-o", &out_,
                 {.unit = "FILE",
                  .help = "answers, a line each as they end; a line without a custom_id is line-N. "
                          "What is answered there already is not done again, so that a stopped run "
                          "goes on",
                  .unset = "standard output",
                  .may_be_empty = false});
    options_.add("--overwrite", &overwrite_, {"", "forget what --out holds and start anew"});
    for (const char* other : {"--prompt", "--prompt-ids"}) options_.exclude("--file", other);
  }

  // Combinations that say two things at once. Before the model is loaded, which may take long.
  void check_together() const {
    const auto refuse = [](const char* what, const char* why) {
      throw Error(ErrorKind::kUsage, what, why, "give one of the two");
    };
    if (file_ && (prompt_ || prompt_ids_)) {
      refuse(
          prompt_ ? "--file and --prompt are both given" : "--file and --prompt-ids are both given",
          "each says what is to be answered");
    }
    if (file_ && json_) {
      refuse("--file and --json are both given", "answers of a file are JSON anyway, a line each");
    }
    if (!file_ && (out_ || overwrite_)) {
      throw Error(ErrorKind::kUsage, out_ ? "--out needs --file" : "--overwrite needs --file",
                  "one answer is written to standard output",
                  "name the prompts with --file, or write > FILE");
    }
    if (prompt_ && prompt_ids_) {
      refuse("--prompt and --prompt-ids are both given", "each is the whole prompt");
    }
    if (!system_.empty() && prompt_ids_) {
      refuse("--system and --prompt-ids are both given", "ids are the whole prompt");
    }
    if (!system_.empty() && no_chat_template_) {
      refuse("--system and --no-chat-template are both given",
             "without a template there is no place for a system message");
    }
  }

  // What is asked where it is no list of ids.
  PromptText find_prompt(Console& console) const {
    if (prompt_ && *prompt_ != "-") return {*prompt_};
    if (prompt_) return {read_prompt(console.in)};
    const InputState state = console.look_at_in ? console.look_at_in() : InputState::kNothing;
    if (state == InputState::kText) {
      std::string text = read_prompt(console.in);
      if (text.find_first_not_of(" \t\r\n") != std::string::npos) return {std::move(text)};
    }
    if (json_ && no_chat_template_) {
      throw Error(ErrorKind::kUsage, "--json and --no-chat-template need a prompt",
                  "there is nothing to continue", "give one with -p or on standard input");
    }
    if (state == InputState::kTerminal && json_)
      throw Error(ErrorKind::kUsage, "--json needs a prompt",
                  "standard input is a terminal, and a chat is no JSON object",
                  "give the prompt with -p, or type it after -p - and end it with Ctrl-D");
    if (state == InputState::kTerminal) {
      console.err << "standard output is no terminal to chat in: a built-in question is answered "
                     "(-p gives your own, -p - reads what you type)"
                  << std::endl;
    }
    if (state == InputState::kSilent)
      throw Error(ErrorKind::kUsage, "standard input is a pipe in which nothing came for 2 s",
                  "an inherited pipe may never end, and another question's answer helps nobody",
                  "-p - waits for the prompt, -p \"...\" gives it, < /dev/null asks for the "
                  "built-in question");
    return {std::string(kBuiltInPrompt), true};
  }

  // Everything but the prompt.
  engine::Request request() const {
    engine::Request request;
    request.sampling = generation_.sampling();
    request.grammar = compiled_;
    request.hash_logits = logits_hash_;
    return request;
  }

  std::vector<int32_t> prompt_token_ids(const engine::OpenedModel& model, const std::string& text,
                                        Console& console) const {
    if (prompt_ids_) return parse_ids("--prompt-ids", *prompt_ids_, model.report.vocab_size);
    const PromptWriter writer{model.tokenizer, model.chat_template};
    if (no_chat_template_) return writer.plain_ids(text);
    if (model.chat_template == nullptr && !quiet_) {
      console.err << "this model ships no chat template: the prompt is continued as plain text\n";
    }
    return writer.conversation_ids(conversation(text));
  }

  std::vector<text::Message> conversation(const std::string& question) const {
    std::vector<text::Message> messages;
    if (!system_.empty()) messages.push_back({"system", system_});
    messages.push_back({"user", question});
    return messages;
  }

  // Nothing here is loaded.
  int run_with_server(const Context& context) const {
    Console& console = context.console;
    const bool chats = is_chat(console);
    const PromptText prompt = chats ? PromptText{} : find_prompt(console);
    const auto partner =
        connect(server_, model_.model, context.environment, chats ? STDIN_FILENO : -1);
    const ChatParameters asked = parameters(/*only_given=*/true);
    partner->check(asked);
    if (chats) return hold_chat(*partner, asked, context);
    if (prompt.is_built_in && !quiet_) console.err << "> " << prompt.text << std::endl;
    std::ostream unseen(nullptr);
    Console shown{console.in, json_ ? unseen : console.out, console.err};
    std::vector<text::Message> messages = conversation(prompt.text);
    const ChatReply reply = partner->answer(&messages, asked, shown);
    console.out << (json_ ? reply_json(reply, partner->model()) : "") << std::endl;
    if (stats_)
      for (const std::string& line : reply.stats) console.err << line << "\n";
    return reply.finish_reason == kCancelled ? kInterruptedExit : 0;
  }

  bool is_chat(const Console& console) const {
    const bool one_answer = prompt_ || prompt_ids_ || json_;
    return !one_answer && console.in_is_terminal && console.out_is_terminal;
  }

  ChatParameters parameters(bool only_given) const {
    ChatParameters fields = generation_.parameters(only_given);
    if (const std::optional<text::GrammarSpec> grammar = grammar_.spec()) fields.set(*grammar);
    return fields;
  }

  // As `weft serve` calls it.
  std::string model_name() const {
    return public_name(model_.model.empty() ? model_.hf_repo : model_.model);
  }

  int answer_file(const Context& context, const engine::EngineOptions& engine_options) const {
    FileRunOptions options{
        .file = *file_,
        .out = out_,
        .overwrite = overwrite_,
        .quiet = quiet_,
        .stats = stats_,
        .window = kWindowsOfFile * engine_options.max_num_seqs,
        .defaults = line_defaults(engine_options),
        .model = model_name(),
        .fingerprint = [&] { return fleet::fingerprint(engine_options); },
        .on_end = [&](const engine::Engine& engine) { write_trace(engine, context.console); }};
    const LoadEngine load = [&](const engine::OnOpen& on_open) {
      return load_engine(context, engine_options, on_open, quiet_);
    };
    return run_file(options, load, context.console);
  }

  // Options that were given hold for every line that does not say otherwise. Where none was, a
  // prompt alone has the defaults of this command, a request of the API those of the API.
  LineDefaults line_defaults(const engine::EngineOptions& engine_options) const {
    LineDefaults defaults;
    defaults.chat.max_tokens = kOpenMaxTokens;
    defaults.prompt = generation_.sampling();
    defaults.prompt.seed.reset();  // each line has its own
    for (engine::SamplingParams* p : {&defaults.chat, &defaults.completion})
      generation_.apply_given(p);
    defaults.seed = generation_.seed();
    defaults.system = system_;
    defaults.grammar = grammar_.spec();
    defaults.chat_template = !no_chat_template_;
    defaults.hash_logits = logits_hash_;
    defaults.kv_cache_dtype = kernels::name(engine_options.kv_type);
    defaults.reduce = comm::name(engine_options.reduce);
    return defaults;
  }

  int hold_chat(ChatPartner& partner, const ChatParameters& fields, const Context& context) const {
    LineReader reader;
    const auto home = context.environment.find("HOME");
    return chat(
        partner,
        {system_, stats_, home == context.environment.end() ? std::string() : home->second}, fields,
        [&](const std::string& prompt) { return reader.read(prompt); }, context.console);
  }

  int answer_once(engine::Engine& engine, std::vector<int32_t> prompt_ids, Console& console) const {
    engine::Request request = this->request();
    request.prompt_ids = std::move(prompt_ids);
    fit_answer(engine, &request);
    const InterruptAction interrupt(
        [](void* target) { static_cast<engine::Engine*>(target)->cancel(); }, &engine);
    const engine::OnText on_text = [&](const std::string& piece) {
      if (!json_) console.out << piece << std::flush;
      return true;
    };
    engine.begin_window();
    const engine::GenerationResult result = engine.generate(request, on_text);
    print({engine, request, result}, console);
    write_trace(engine, console);
    return interrupt.interrupted() ? kInterruptedExit : 0;
  }

  void write_trace(const engine::Engine& engine, Console& console) const {
    std::ostream says(quiet_ ? nullptr : console.err.rdbuf());
    trace_.write(engine, says);
  }

  void print(const Answer& answer, Console& console) const {
    if (json_) {
      console.out << answer_json(answer) << std::endl;
    } else {
      console.out << "\n";
      for (const std::string& line : detail_lines(answer)) console.out << line << "\n";
      console.out.flush();
    }
    if (!stats_) return;
    for (const std::string& line : stats_lines(answer)) console.err << line << "\n";
    console.err.flush();
  }

  OptionSet options_{"run", "answer a prompt or a file of them, or chat in the terminal"};
  ModelOptions model_;
  GenerationOptions generation_;
  GrammarOptions grammar_;
  ServerAddress server_;
  std::shared_ptr<const text::Grammar> compiled_;  // of grammar_, once the model is open
  TraceOption trace_;
  std::optional<std::string> prompt_, prompt_ids_, file_, out_;
  std::string system_;
  bool no_chat_template_ = false, overwrite_ = false;
  bool json_ = false, stats_ = false, logits_hash_ = false, quiet_ = false;
};

}  // namespace

std::unique_ptr<Command> make_run_command() { return std::make_unique<RunCommand>(); }

}  // namespace weft::cli
