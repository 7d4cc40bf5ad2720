// weft bench throughput MODEL: many requests at once, and how fast they are answered.
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <ostream>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/progress.h"
#include "cli/bench_length.h"
#include "cli/bench_pipeline.h"
#include "cli/bench_report.h"
#include "cli/commands.h"
#include "cli/grammar_options.h"
#include "cli/load_engine.h"
#include "cli/long_prompt.h"
#include "cli/machine_report.h"
#include "cli/mask_cost.h"
#include "cli/model_options.h"
#include "cli/quantity.h"
#include "cli/serving.h"
#include "cli/serving_figures.h"
#include "cli/speculation_report.h"
#include "cli/trace_file.h"
#include "cli/workload.h"

namespace weft::cli {
namespace {

using Json = nlohmann::ordered_json;

// Streams of random ids: prompts have their own numbers, the prefix that they share this one.
constexpr uint64_t kPrefixStream = uint64_t{1} << 40;
// Salts: of the requests that share a prefix, of those that do not (counted up from it).
constexpr uint64_t kSharedSalt = 1, kOwnSalts = 1000, kWarmSalt = 2;

Batching batching_named(const std::string& name) {
  return name == "static"        ? Batching::kStatic
         : name == "static-drop" ? Batching::kStaticDrop
                                 : Batching::kContinuous;
}

// A bar for each phase of the long prompt's measurement.
class PhaseProgress {
 public:
  explicit PhaseProgress(Console& console) : console_(console) {}

  void show(LongPromptPhase phase, int64_t done, int64_t total) {
    if (!bar_ || phase != phase_) {
      finish();
      phase_ = phase;
      seen_ = 0;
      bar_.emplace(console_.err, Progress::Options{.label = name(phase),
                                                   .total = total,
                                                   .unit = Progress::Unit::kItems,
                                                   .is_terminal = console_.err_is_terminal});
    }
    bar_->add(done - seen_);
    seen_ = done;
  }
  void finish() {
    if (bar_) bar_->finish();
    bar_.reset();
  }

 private:
  static const char* name(LongPromptPhase phase) {
    switch (phase) {
      case LongPromptPhase::kAlone:
        return "long prompt alone, runs";
      case LongPromptPhase::kSettling:
        return "answers alone, tokens";
      case LongPromptPhase::kAmong:
        return "answers beside the long prompt, tokens";
    }
    return "";
  }

  Console& console_;
  std::optional<Progress> bar_;
  LongPromptPhase phase_ = LongPromptPhase::kAlone;
  int64_t seen_ = 0;
};

class BenchThroughputCommand : public Command {
 public:
  BenchThroughputCommand() {
    declare_work();
    model_.declare(&options_);
    model_.declare_scheduling(&options_);
    pipeline_.declare(&options_);
    output_.declare(&options_);
    trace_.declare(&options_);
  }

  OptionSet& options() override { return options_; }

  int execute(const Context& given) override {
    BenchConsole told(given, output_.quiet);
    const Context context = told.context();
    const std::vector<int> cpus = usable_cpus();
    engine::EngineOptions options = model_.resolve(context, false);
    set_bench_length(context, "the workload's longest sequence is", longest(), &options);
    check_batching();
    check_grammar();
    output_.check();
    pipeline_.prepare(&options);
    trace_.prepare(&options);
    if (grammar_.is_given()) options.max_num_seqs = std::max(options.max_num_seqs, num_prompts());
    if (workload_ == "long-prompt")  // all of them run at once
      options.max_num_seqs = std::max(options.max_num_seqs, num_prompts() + 1);
    max_num_seqs_ = options.max_num_seqs;
    is_chunked_ = options.chunked_prefill;
    max_slowdown_ = options.max_slowdown;
    const auto engine = load_engine(context, options, {}, false);
    std::optional<MachineReport> machine;
    if (!no_bounds_) machine.emplace(*engine, cpus);
    Json object = model_json(*engine);
    object["workload"] = workload_;
    object["seed"] = seed_;
    object["max_num_seqs"] = max_num_seqs_;
    if (machine) machine->add_to(&object);
    engine->begin_window();
    warm_up(*engine);
    pipeline_.calibrate(*engine,
                        {std::min(max_num_seqs_, num_prompts()),
                         std::min(options.max_num_batched_tokens, longest()), longest()},
                        context.console);
    const Work work{*engine, machine ? &*machine : nullptr, context.console};
    std::vector<std::string> lines;
    if (grammar_.is_given()) {
      measure_masks(work, &object, &lines);
    } else if (workload_ == "long-prompt") {
      measure_long_prompt(work, &object, &lines);
    } else if (workload_ == "shared-prefix") {
      measure_shared_prefix(work, &object, &lines);
    } else {
      measure_lengths(work, &object, &lines);
    }
    pipeline_.report(*engine, &object, &lines);
    output_.write(object, lines, context.console);
    trace_.write(*engine, context.console.err);
    return 0;
  }

 private:
  // What a measurement needs.
  struct Work {
    engine::Engine& engine;
    const MachineReport* machine;
    Console& console;
  };

  void declare_work() {
    options_.group("Work");
    options_.add("--workload", &workload_,
                 {"WHAT",
                  "fixed: equal lengths; mix: lengths as in chats; repetitive: equal lengths, each "
                  "prompt a phrase over and over; random: equal lengths, and no token of an answer "
                  "is likelier than another; shared-prefix: requests that begin alike; "
                  "long-prompt: one long prompt among running answers",
                  "",
                  {"fixed", "mix", "repetitive", "random", "shared-prefix", "long-prompt"}});
    options_.add("--num-prompts", &num_prompts_,
                 {"N", "requests; of long-prompt the answers that run",
                  "128; 16 with long-prompt or a grammar"},
                 1, 1'000'000);
    options_.add("--input-len", &input_len_,
                 {"TOKENS", "prompt of each request; after the prefix that they share"}, 1,
                 1 << 20);
    options_.add("--output-len", &output_len_, {"TOKENS", "generated by each request"}, 1, 1 << 20);
    options_.add("--prefix-len", &prefix_len_, {"TOKENS", "that requests share (shared-prefix)"}, 1,
                 1 << 20);
    options_.add("--num-unshared", &num_unshared_,
                 {"N", "of the requests, also run where nothing is shared (shared-prefix)", "all"},
                 1, 1'000'000);
    options_.add("--long-len", &long_len_, {"TOKENS", "of the long prompt (long-prompt)"}, 1,
                 1 << 20);
    options_.add("--batching", &batching_,
                 {"HOW",
                  "continuous, or to compare with: batches of --max-num-seqs that are computed "
                  "until their longest answer ends (static), or which ended answers leave "
                  "(static-drop)",
                  "",
                  {"continuous", "static", "static-drop"}});
    options_.add("--max-concurrency", &max_concurrency_,
                 {"N", "requests that are asked at a time", "all; shared-prefix 1"}, 1, 1'000'000);
    options_.add("--seed", &seed_, {"N", "of the lengths and the prompts"});
    options_.add("--no-bounds", &no_bounds_,
                 {"", "leave the machine's peaks and its read bandwidth unmeasured"});
    options_.group("Structured output");
    grammar_.declare(&options_);
    options_.add("--structured-output-ratio", &grammar_ratio_,
                 {"R", "share of the requests that have the grammar"}, 0.0F, 1.0F);
    options_.add("--turns", &num_turns_,
                 {"N", "how often the requests run with their grammar and without, in turn"}, 1,
                 1000);
  }

  void check_batching() const {
    if (workload_ == "long-prompt" && batching_ != "continuous")
      throw Error(ErrorKind::kUsage,
                  fmt::format("--batching {} and --workload long-prompt are both given", batching_),
                  "the long prompt comes among answers that run, whatever their batch",
                  "leave --batching out");
  }

  // The grammar's work needs no model, its reading no waiting.
  void check_grammar() const {
    if (!grammar_.is_given()) return;
    if (workload_ != "fixed" || batching_ != "continuous")
      throw Error(ErrorKind::kUsage, "a grammar needs --workload fixed and continuous batching",
                  "it is compared with the same steps without one");
    static_cast<void>(grammar_.spec());
  }

  int64_t num_prompts() const {
    if (num_prompts_ > 0) return num_prompts_;
    return workload_ == "long-prompt" || grammar_.is_given() ? 16 : 128;
  }

  // Tokens of the longest sequence.
  int64_t longest() const {
    if (workload_ == "mix") return kChatPrompts.cap + kChatAnswers.cap;
    if (workload_ == "shared-prefix") return prefix_len_ + input_len_ + output_len_;
    // Running answers go on while the long prompt is computed, how long that may take.
    if (workload_ == "long-prompt") return std::max(long_len_, input_len_) + 1024;
    return input_len_ + output_len_;
  }

  std::vector<Lengths> lengths() const {
    if (workload_ == "mix") return chat_lengths(num_prompts(), seed_);
    return fixed_lengths(num_prompts(), {input_len_, output_len_});
  }

  // Touches all memory that a step may need.
  void warm_up(engine::Engine& engine) const {
    const int64_t vocab = engine.model().vocab_size;
    const int64_t count = std::min<int64_t>(max_num_seqs_, num_prompts());
    std::vector<engine::Request> requests;
    for (int64_t i = 0; i < count; ++i)
      requests.push_back(bench_request(
          random_ids(std::min<int64_t>(32, input_len_), ~seed_, static_cast<uint64_t>(i), vocab), 4,
          kWarmSalt));
    serve(engine, requests, {});
  }

  ServingRun serve_all(const Work& work, const std::vector<engine::Request>& requests,
                       const std::string& label, int64_t max_concurrency) {
    Console& console = work.console;
    work.engine.begin_window();
    before_ = work.engine.stats();
    const int64_t begin_ns = now_ns();
    Progress progress(console.err,
                      {.label = label,
                       .total = static_cast<int64_t>(requests.size()),
                       .unit = Progress::Unit::kItems,
                       .is_terminal = console.err_is_terminal,
                       .remark = [&] {
                         const int64_t generated =
                             work.engine.stats().generated_tokens - before_.generated_tokens;
                         return fmt::format("{:.1f} tokens/s",
                                            per_second(static_cast<double>(generated),
                                                       seconds_between(begin_ns, now_ns())));
                       }});
    ServingRun run = serve(work.engine, requests,
                           {.batching = batching_named(batching_),
                            .batch_size = max_num_seqs_,
                            .max_concurrency = max_concurrency,
                            .on_step = [&](int64_t num_ended) { progress.add(num_ended); }});
    progress.finish();
    return run;
  }

  void measure_lengths(const Work& work, Json* object, std::vector<std::string>* lines) {
    std::vector<engine::Request> requests;
    for (const Lengths& each : lengths())
      requests.push_back(request_of(workload_, each, seed_, requests.size(),
                                    work.engine.model().vocab_size, kSharedSalt));
    (*object)["batching"] = batching_;
    const ServingRun run = serve_all(work, requests, "answering", max_concurrency_);
    report(work, run, object, lines);
  }

  // All at once, so that every step is one of --num-prompts tokens.
  void measure_masks(const Work& work, Json* object, std::vector<std::string>* lines) const {
    const engine::ModelReport& model = work.engine.model();
    const int64_t begin_ns = now_ns();
    const auto compiler =
        text::GrammarCompiler::make(work.engine.tokenizer(), model.vocab_size, model.end_ids);
    const int64_t compiler_ns = now_ns();
    MaskCostOptions options;
    options.grammar = compiler->compile(*grammar_.spec());
    const int64_t grammar_ns = now_ns();
    options.requests = [&](int64_t turn) {
      std::vector<engine::Request> requests;
      for (int64_t i = turn * num_prompts(); i < (turn + 1) * num_prompts(); ++i)
        requests.push_back(
            bench_request(random_ids(input_len_, seed_, static_cast<uint64_t>(i), model.vocab_size),
                          output_len_, kSharedSalt));
      return requests;
    };
    options.ratio = grammar_ratio_;
    options.num_turns = num_turns_;
    Progress progress(work.console.err, {.label = "runs with and without masks",
                                         .total = 2 * num_turns_,
                                         .unit = Progress::Unit::kItems,
                                         .is_terminal = work.console.err_is_terminal});
    options.on_run = [&] { progress.add(1); };
    const MaskCost cost = measure_mask_cost(work.engine, options);
    progress.finish();
    (*object)["num_prompts"] = num_prompts();
    (*object)["output_len"] = output_len_;
    Json& found = (*object)["structured_output"];
    found = mask_cost_json(cost);
    found["ratio_of_requests"] = grammar_ratio_;
    found["vocabulary_ms"] = 1e3 * seconds_between(begin_ns, compiler_ns);
    found["compile_ms"] = 1e3 * seconds_between(compiler_ns, grammar_ns);
    lines->push_back(mask_cost_line(cost));
  }

  // The same requests twice: each (or the first of them) with a salt of its own, which shares
  // nothing, and with one salt.
  void measure_shared_prefix(const Work& work, Json* object, std::vector<std::string>* lines) {
    const int64_t vocab = work.engine.model().vocab_size;
    const std::vector<int32_t> prefix = random_ids(prefix_len_, seed_, kPrefixStream, vocab);
    std::vector<engine::Request> shared, own;
    for (int64_t i = 0; i < num_prompts(); ++i) {
      const auto number = static_cast<uint64_t>(i);
      std::vector<int32_t> ids = prefix;
      const std::vector<int32_t> rest = random_ids(input_len_, seed_, number, vocab);
      ids.insert(ids.end(), rest.begin(), rest.end());
      if (num_unshared_ == 0 || i < num_unshared_)
        own.push_back(bench_request(ids, output_len_, kOwnSalts + number));
      shared.push_back(bench_request(std::move(ids), output_len_, kSharedSalt));
    }
    const int64_t concurrency = max_concurrency_ > 0 ? max_concurrency_ : 1;
    (*object)["max_concurrency"] = concurrency;
    (*object)["prefix_len"] = prefix_len_;
    (*object)["num_unshared"] = own.size();
    const ServingRun without = serve_all(work, own, "nothing shared", concurrency);
    const ServingRun with = serve_all(work, shared, "prefix shared", concurrency);
    report(work, with, object, lines);
    report_sharing(without, with, object, lines);
  }

  void report_sharing(const ServingRun& without, const ServingRun& with, Json* object,
                      std::vector<std::string>* lines) const {
    int64_t cached = 0;
    for (const Served& served : with.requests)
      cached += std::min(served.cached_tokens, prefix_len_);
    const double share = static_cast<double>(cached) / static_cast<double>(num_prompts()) /
                         static_cast<double>(prefix_len_);
    Delays delays_with, delays_without;
    delays_with.add(with.requests);
    delays_without.add(without.requests);
    const double ttft = mean(delays_with.ttft_ms), ttft_alone = mean(delays_without.ttft_ms);
    Json alone = throughput_json(without);
    add_delays(delays_without, &alone);
    (*object)["prefix_cached_share"] = share;
    (*object)["ttft_ratio"] = ttft > 0 ? Json(ttft_alone / ttft) : Json(nullptr);
    (*object)["nothing_shared"] = std::move(alone);
    lines->push_back(fmt::format(
        "{:.1f} % of the prefix's tokens came from the cache; mean time to first token {:.1f} ms, "
        "{:.1f} ms where nothing is shared: {:.1f} times",
        100.0 * share, ttft, ttft_alone, ttft > 0 ? ttft_alone / ttft : 0.0));
  }

  void measure_long_prompt(const Work& work, Json* object, std::vector<std::string>* lines) const {
    work.engine.begin_window();
    PhaseProgress progress(work.console);
    const LongPromptRun run = run_long_prompt(
        work.engine, {.num_running = num_prompts(),
                      .input_len = input_len_,
                      .long_len = long_len_,
                      .seed = seed_,
                      .on_progress = [&](LongPromptPhase phase, int64_t done, int64_t total) {
                        progress.show(phase, done, total);
                      }});
    progress.finish();
    const double before = percentile(run.gaps_before_ms, 50);
    const double during = percentile(run.gaps_during_ms, 99);
    const double alone = percentile(run.ttft_alone_ms, 50);
    const auto ratio = [](double a, double b) { return b > 0 ? Json(a / b) : Json(nullptr); };
    (*object)["num_running"] = num_prompts();
    (*object)["input_len"] = input_len_;
    (*object)["long_len"] = long_len_;
    (*object)["chunked_prefill"] = is_chunked_;
    (*object)["max_slowdown"] = is_chunked_ ? Json(max_slowdown_) : Json(nullptr);
    (*object)["median_gap_before_ms"] = before;
    (*object)["median_gap_during_ms"] = percentile(run.gaps_during_ms, 50);
    (*object)["median_gap_ratio"] = ratio(percentile(run.gaps_during_ms, 50), before);
    (*object)["p99_gap_during_ms"] = during;
    (*object)["max_gap_during_ms"] = percentile(run.gaps_during_ms, 100);
    (*object)["gap_ratio"] = ratio(during, before);
    (*object)["long_ttft_ms"] = run.ttft_ms;
    (*object)["long_ttft_alone_ms"] = alone;
    (*object)["long_ttft_alone_runs_ms"] = run.ttft_alone_ms;
    (*object)["ttft_ratio"] = ratio(run.ttft_ms, alone);
    lines->push_back(fmt::format(
        "{} answers: {:.1f} ms between tokens (median); p99 {:.1f} ms, at most {:.1f} ms while a "
        "prompt of {} tokens is computed{}",
        num_prompts(), before, during, percentile(run.gaps_during_ms, 100), long_len_,
        is_chunked_ ? "" : " (whole: without chunks all answers wait for it)"));
    lines->push_back(
        fmt::format("its first token after {:.1f} ms, alone after {:.1f} ms", run.ttft_ms, alone));
  }

  // What every run of requests comes to.
  void report(const Work& work, const ServingRun& run, Json* object,
              std::vector<std::string>* lines) const {
    const TokenCounts counts = count_tokens(run.requests);
    object->update(throughput_json(run));
    Delays delays;
    delays.add(run.requests);
    add_delays(delays, object);
    // Of this run alone: the warm-up and what a run is compared with have steps too.
    const engine::EngineStats stats = work.engine.stats();
    (*object)["num_preemptions"] = stats.num_preemptions - before_.num_preemptions;
    const int64_t num_steps = stats.num_steps - before_.num_steps;
    const auto us_per_step = [&](double seconds) {
      return num_steps > 0 ? Json(1e6 * seconds / static_cast<double>(num_steps)) : Json(nullptr);
    };
    (*object)["schedule_us_per_step"] = us_per_step(stats.schedule_s - before_.schedule_s);
    (*object)["scheduler_us_per_step"] = us_per_step(stats.scheduler_s - before_.scheduler_s);
    lines->push_back(fmt::format(
        "{} requests in {:.2f} s: {:.2f} requests/s, {:.1f} tokens/s, {:.1f} output tokens/s",
        run.requests.size(), run.seconds,
        per_second(static_cast<double>(run.requests.size()), run.seconds),
        per_second(static_cast<double>(counts.input + counts.output), run.seconds),
        per_second(static_cast<double>(counts.output), run.seconds)));
    lines->push_back(fmt::format("{} prompt tokens, {} of them cached; {} generated", counts.input,
                                 counts.cached, counts.output));
    for (const std::string& line : delay_lines(delays)) lines->push_back(line);
    const engine::SpeculationStats guessed = stats.speculation.since(before_.speculation);
    const std::string line_of_guesses = speculation_line(guessed, run.seconds);
    if (!line_of_guesses.empty()) {
      lines->push_back(line_of_guesses);
      (*object)["speculation"] = speculation_json(guessed, run.seconds);
    }
    if (work.machine == nullptr) return;
    // The last token of an answer is not computed with.
    const int64_t computed =
        counts.input - counts.cached + counts.output - static_cast<int64_t>(run.requests.size());
    work.machine->add_share(work.engine.model(), computed, counts.output, run.seconds, object);
    for (const std::string& line : work.machine->lines(*object)) lines->push_back(line);
  }

  OptionSet options_{"bench throughput", "answer many requests at once, as fast as it goes"};
  ModelOptions model_;
  BenchOutput output_;
  BenchPipeline pipeline_;
  TraceOption trace_;
  GrammarOptions grammar_;
  std::string workload_ = "fixed", batching_ = "continuous";
  int64_t num_prompts_ = 0, input_len_ = 128, output_len_ = 128;
  int64_t prefix_len_ = 1024, long_len_ = 4096, num_unshared_ = 0, max_concurrency_ = 0;
  int64_t max_num_seqs_ = 1;
  uint64_t seed_ = 0;
  float grammar_ratio_ = 1.0F;
  int64_t num_turns_ = 5;
  bool no_bounds_ = false, is_chunked_ = true;
  double max_slowdown_ = 0;
  engine::EngineStats before_;  // the run that is measured
};

}  // namespace

std::unique_ptr<Command> make_bench_throughput_command() {
  return std::make_unique<BenchThroughputCommand>();
}

}  // namespace weft::cli
