// weft bench serve: load for a running OpenAI-compatible server, and how it bears it.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>
#include <thread>

#include "base/error.h"
#include "base/progress.h"
#include "cli/bench_report.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/load_extras.h"
#include "cli/load_figures.h"
#include "cli/load_prompts.h"
#include "cli/load_run.h"
#include "cli/server_refusal.h"
#include "cli/shown_text.h"
#include "cli/token_counts.h"

namespace weft::cli {
namespace {

using OrderedJson = nlohmann::ordered_json;

constexpr auto kRetryPause = std::chrono::milliseconds(500);

// Thrown once Ctrl-C was pressed before the load began.
struct Stopped {};

class BenchServeCommand : public Command {
 public:
  BenchServeCommand() {
    options_.group("Server");
    options_.add("--backend", &backend_,
                 {"KIND",
                  "openai: /v1/completions; openai-chat: /v1/chat/completions",
                  "",
                  {"openai", "vllm", "openai-chat"}});
    options_.add("--base-url", &base_url_,
                 {.unit = "URL", .help = "in place of --host and --port", .may_be_empty = false});
    options_.add("--host", &host_, {"HOST", "of the server"});
    options_.add("--port", &port_, {"PORT", "of the server"}, 1, 65'535);
    options_.add("--endpoint", &endpoint_,
                 {.unit = "PATH", .help = "of requests", .unset = "by --backend"});
    options_.add("--model", &model_,
                 {.unit = "NAME", .help = "as the server calls it", .unset = "its first one"});
    options_.add("--api-key", &api_key_,
                 {.unit = "KEY", .help = "sent with each request", .unset = "OPENAI_API_KEY"});
    options_.add("--ca-file", &ca_file_,
                 {.unit = "FILE",
                  .help = kCaFileHelp,
                  .unset = "SSL_CERT_FILE, otherwise the system's",
                  .may_be_empty = false});
    options_.add("--ready-check-timeout-sec", &ready_timeout_s_,
                 {"S", "how long to wait for a server that is not there yet"}, 0, 86'400);
    options_.add("--request-timeout-sec", &request_timeout_s_,
                 {"S", "until an answer counts as failed"}, 1, 86'400);
    dataset_.declare(&options_);
    options_.group("Load");
    options_.add("--request-rate", &request_rate_,
                 {"R", "requests a second; inf: all at once, as --max-concurrency lets them"});
    options_.add("--burstiness", &burstiness_,
                 {"B", "of arrivals: 1 is a Poisson process, less comes in bursts, more is even"},
                 1e-3F, 1e6F);
    options_.add("--max-concurrency", &max_concurrency_, {"N", "requests at a time", "any number"},
                 1, 1'000'000);
    options_.add("--num-warmups", &num_warmups_, {"N", "requests before, that do not count"}, 0,
                 100'000);
    options_.add("--ramp-up-strategy", &ramp_,
                 {"KIND",
                  "the rate grows evenly or by equal factors, in place of --request-rate",
                  "it does not",
                  {"linear", "exponential"}});
    options_.add("--ramp-up-start-rps", &ramp_first_, {"R", "its first rate, requests a second"},
                 0.0F, 1e6F);
    options_.add("--ramp-up-end-rps", &ramp_last_, {"R", "its last"}, 0.0F, 1e6F);
    options_.group("Requests");
    extras_.declare_request(&options_);
    options_.group("Output");
    options_.add("--goodput", &goodput_,
                 {"NAME:MS", "what a good answer keeps to: ttft:200, tpot:50, e2el:9000"});
    options_.add("--percentile-metrics", &metrics_, {"LIST", "figures to show"});
    options_.add("--metric-percentiles", &percentiles_, {"LIST", "percentiles of them"});
    options_.add("--save-result", &save_result_, {"", "write a JSON file named after the run"});
    options_.add("--save-detailed", &save_detailed_, {"", "every answer's figures too"});
    options_.add("--result-dir", &result_dir_, {"FOLDER", "of that file", "here"});
    options_.add("--result-filename", &result_file_, {"FILE", "its name", "by time and rate"});
    extras_.declare_record(&options_);
    output_.declare(&options_);
    options_.also_called("--quiet", "--disable-tqdm");
  }

  OptionSet& options() override { return options_; }

  int execute(const Context& given) override {
    BenchConsole told(given, output_.quiet);
    try {
      return load(told.context());
    } catch (const Stopped&) {
      return kInterruptedExit;
    }
  }

 private:
  int load(const Context& context) {
    figures_.metrics = parse_metrics(metrics_);
    figures_.percentiles = parse_percentiles(percentiles_);
    figures_.goodput_ms = parse_goodput(goodput_);
    figures_.detailed = save_detailed_;
    const double rate = parse_rate();
    const std::optional<RampUp> ramp = ramp_up();
    const auto metadata = extras_.metadata();
    output_.check();
    HttpStreams streams(context.environment, std::chrono::seconds(request_timeout_s_), ca_file_);
    std::atomic<bool> stop{false};
    const InterruptAction interrupt(
        [](void* flag) { static_cast<std::atomic<bool>*>(flag)->store(true); }, &stop);
    LoadTarget target = make_target(context.environment);
    std::optional<ServerTokenCounts> counts;
    const std::vector<LoadPrompt> prompts =
        dataset_.make(!target.is_chat, [&](const std::vector<std::string>& texts) {
          if (target.model.empty()) target.model = ask_model(&streams, target, stop);
          if (!counts) counts.emplace(&streams, base(), target.model, target.api_key, stop);
          std::vector<int64_t> lengths = (*counts)(texts);
          if (stop.load()) throw Stopped{};
          return lengths;
        });
    if (counts && counts->estimated())
      context.console.err << "this server counts no tokens (/tokenize): four bytes of a "
                             "conversation are taken for one"
                          << std::endl;
    if (target.model.empty()) target.model = ask_model(&streams, target, stop);
    try_out(&streams, target, prompts, context.console, stop);

    LoadPlan plan;
    plan.arrivals_s = ramp ? arrival_times(dataset_.num_prompts, *ramp, burstiness_, dataset_.seed)
                           : arrival_times(dataset_.num_prompts, rate, burstiness_, dataset_.seed);
    if (max_concurrency_ > 0) plan.max_concurrency = max_concurrency_;
    const LoadRun run = measure(&streams, target, prompts, &plan, context.console, stop);
    report(run, target, rate, metadata, context.console);
    if (run.was_stopped) return kInterruptedExit;
    require_answers(run, target);
    return 0;
  }

  double parse_rate() const {
    if (request_rate_ == "inf") return std::numeric_limits<double>::infinity();
    char* end = nullptr;
    const double rate = std::strtod(request_rate_.c_str(), &end);
    if (request_rate_.empty() || *end != '\0' || !(rate > 0) || rate > 1e6) {
      throw Error(ErrorKind::kUsage, fmt::format("--request-rate: '{}' is no rate", request_rate_),
                  "", "give requests a second, or inf");
    }
    return rate;
  }

  // None where the rate is even.
  std::optional<RampUp> ramp_up() const {
    if (ramp_.empty()) {
      if (ramp_first_ > 0 || ramp_last_ > 0)
        throw Error(ErrorKind::kUsage, "--ramp-up-start-rps and -end-rps are for a ramp", "",
                    "choose one with --ramp-up-strategy linear or exponential");
      return std::nullopt;
    }
    if (request_rate_ != "inf")
      throw Error(ErrorKind::kUsage, "--request-rate and --ramp-up-strategy are both given",
                  "the rate is even, or it grows", "leave one out");
    if (ramp_first_ == 0 || !(ramp_first_ < ramp_last_))
      throw Error(
          ErrorKind::kUsage,
          fmt::format("a {} ramp does not lead from {} to {}", ramp_, ramp_first_, ramp_last_), "",
          "give --ramp-up-start-rps above 0 and a larger --ramp-up-end-rps");
    return RampUp{ramp_ == "exponential", ramp_first_, ramp_last_};
  }

  LoadTarget make_target(const Environment& environment) const {
    LoadTarget target;
    target.is_chat = backend_ == "openai-chat";
    target.url = base() + (!endpoint_.empty() ? endpoint_
                           : target.is_chat   ? "/v1/chat/completions"
                                              : "/v1/completions");
    target.model = model_;
    const auto key = environment.find("OPENAI_API_KEY");
    target.api_key = !api_key_.empty() ? api_key_ : key != environment.end() ? key->second : "";
    target.fields = extras_.fields(options_, target.is_chat);
    target.headers = extras_.headers();
    target.request_id_prefix = extras_.request_id_prefix();
    return target;
  }

  std::string base() const {
    if (base_url_.empty()) return fmt::format("http://{}:{}", host_, port_);
    return base_url_.ends_with('/') ? base_url_.substr(0, base_url_.size() - 1) : base_url_;
  }

  // Once, or as long as a server is waited for. ask: one try; returns what failed. Throws Stopped.
  template <typename Ask>
  void insist(const Ask& ask, const LoadTarget& target, const std::atomic<bool>& stop) const {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(ready_timeout_s_);
    for (;;) {
      const std::optional<FailedAnswer> failure = ask();
      if (stop.load()) throw Stopped{};
      if (!failure) return;
      if (!failure->may_recover() || std::chrono::steady_clock::now() >= deadline)
        refuse(*failure, target);
      std::this_thread::sleep_for(kRetryPause);
    }
  }

  [[noreturn]] void refuse(const FailedAnswer& failure, const LoadTarget& target) const {
    refuse_answer(base(), failure, !target.api_key.empty(),
                  {.key = "give it with --api-key, WEFT_API_KEY or OPENAI_API_KEY",
                   .busy = "ask for less at a time with --max-concurrency or --request-rate",
                   .route = "see to --model, --endpoint and --base-url",
                   .length = dataset_.mend_of_length(),
                   .silence = "start the server, or see to --base-url, --host and --port",
                   .form = "see to --backend and --endpoint"});
  }

  static FailedAnswer failed(const LoadAnswer& answer) {
    return {answer.status, answer.error, answer.error_code, answer.untrusted};
  }

  std::string ask_model(HttpStreams* streams, const LoadTarget& target,
                        const std::atomic<bool>& stop) const {
    std::string model;
    insist(
        [&]() -> std::optional<FailedAnswer> {
          const HttpAnswer answer =
              ask(streams, {base() + "/v1/models", "", target.api_key}, &stop);
          if (answer.end.status != 200) return failed_answer(answer.end, answer.body);
          if (!answer.end.failure.empty()) return FailedAnswer{200, answer.end.failure};
          const auto list = nlohmann::json::parse(answer.body, nullptr, false);
          const nlohmann::json::json_pointer first("/data/0/id");
          if (list.contains(first) && list[first].is_string()) model = list[first];
          if (!model.empty()) return std::nullopt;
          return FailedAnswer{200, "/v1/models names no model; --model names one"};
        },
        target, stop);
    return model;
  }

  // One request that tells whether all is as it should be, then those that warm the server up.
  void try_out(HttpStreams* streams, const LoadTarget& target,
               const std::vector<LoadPrompt>& prompts, Console& console,
               const std::atomic<bool>& stop) const {
    const std::vector<LoadPrompt> first(1, prompts.front());
    insist(
        [&]() -> std::optional<FailedAnswer> {
          const LoadRun run = run_load(streams, target, first, {{0.0}}, stop);
          if (run.answers.empty() || run.answers.front().is_whole()) return std::nullopt;
          return failed(run.answers.front());
        },
        target, stop);
    if (num_warmups_ == 0) return;
    const std::vector<LoadPrompt> warm(static_cast<size_t>(num_warmups_), prompts.front());
    LoadPlan plan{std::vector<double>(warm.size(), 0.0)};
    if (max_concurrency_ > 0) plan.max_concurrency = max_concurrency_;
    run_load(streams, target, warm, plan, stop);
    if (stop.load()) throw Stopped{};
    console.err << "warmed up with " << num_warmups_ << " requests" << std::endl;
  }

  LoadRun measure(HttpStreams* streams, const LoadTarget& target,
                  const std::vector<LoadPrompt>& prompts, LoadPlan* plan, Console& console,
                  const std::atomic<bool>& stop) const {
    Progress progress(console.err, {.label = "requests",
                                    .total = dataset_.num_prompts,
                                    .unit = Progress::Unit::kItems,
                                    .is_terminal = console.err_is_terminal});
    plan->on_answer = [&](const LoadAnswer&) { progress.add(1); };
    LoadRun run = run_load(streams, target, prompts, *plan, stop);
    if (!run.was_stopped) progress.finish();
    return run;
  }

  void report(const LoadRun& run, const LoadTarget& target, double rate,
              const std::vector<std::pair<std::string, std::string>>& metadata,
              Console& console) const {
    const std::time_t now = std::time(nullptr);
    const std::string date = fmt::format("{:%Y%m%d-%H%M%S}", fmt::localtime(now));
    OrderedJson object = {
        {"date", date},
        {"endpoint_type", backend_},
        {"backend", backend_},
        {"label", extras_.label().empty() ? OrderedJson(nullptr) : OrderedJson(extras_.label())},
        {"model_id", target.model},
        {"dataset_name", dataset_.name},
        {"num_prompts", dataset_.num_prompts},
        {"request_rate", std::isfinite(rate) ? OrderedJson(rate) : OrderedJson("inf")},
        {"burstiness", burstiness_},
        {"max_concurrency",
         max_concurrency_ > 0 ? OrderedJson(max_concurrency_) : OrderedJson(nullptr)},
        {"seed", dataset_.seed}};
    if (!ramp_.empty())
      object.update({{"ramp_up_strategy", ramp_},
                     {"ramp_up_start_rps", ramp_first_},
                     {"ramp_up_end_rps", ramp_last_}});
    for (const auto& [key, value] : metadata) object[key] = value;
    const OrderedJson figures = load_json(run, figures_);
    object.update(figures);
    output_.write(object, load_lines(figures, figures_), console);
    if (save_result_ || save_detailed_) save(object, target, date, console);
  }

  void save(const OrderedJson& object, const LoadTarget& target, const std::string& date,
            Console& console) const {
    const std::string model = in_one_line(target.model.substr(target.model.rfind('/') + 1));
    const std::string concurrency =
        max_concurrency_ > 0 ? fmt::format("-concurrency{}", max_concurrency_) : "";
    const std::string name = !result_file_.empty()
                                 ? result_file_
                                 : fmt::format("{}-{}qps{}-{}-{}.json",
                                               extras_.label().empty() ? backend_ : extras_.label(),
                                               request_rate_, concurrency, model, date);
    const std::filesystem::path path = std::filesystem::path(result_dir_) / name;
    std::error_code ignored;
    if (!result_dir_.empty()) std::filesystem::create_directories(result_dir_, ignored);
    // As vLLM: a line each.
    std::ofstream file(path, extras_.appends() ? std::ios::app : std::ios::trunc);
    file << object.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) << "\n";
    file.close();
    if (!file)
      throw Error(ErrorKind::kUsage, fmt::format("cannot write '{}'", path.string()), "",
                  "name another with --result-dir and --result-filename");
    console.err << "saved " << path.string() << std::endl;
  }

  void require_answers(const LoadRun& run, const LoadTarget& target) const {
    if (std::ranges::any_of(run.answers, &LoadAnswer::is_whole)) return;
    if (run.answers.empty()) throw Error(ErrorKind::kCommunication, "no request was answered");
    refuse(failed(run.answers.front()), target);
  }

  OptionSet options_{"bench serve", "load a running server, with the figures of vllm bench serve"};
  std::string backend_ = "openai", base_url_, host_ = "127.0.0.1", endpoint_, model_, api_key_,
              ca_file_;
  int port_ = 8000, max_concurrency_ = 0, num_warmups_ = 0;
  int64_t ready_timeout_s_ = 0, request_timeout_s_ = 3600;
  LoadDataset dataset_;
  std::string request_rate_ = "inf";
  std::string ramp_;
  float burstiness_ = 1.0F, ramp_first_ = 0.0F, ramp_last_ = 0.0F;
  LoadExtras extras_;
  bool save_result_ = false, save_detailed_ = false;
  std::vector<std::string> goodput_;
  std::string metrics_ = "ttft,tpot,itl,e2el", percentiles_ = "99", result_dir_, result_file_;
  LoadFigureOptions figures_;
  BenchOutput output_;
};

}  // namespace

std::unique_ptr<Command> make_bench_serve_command() {
  return std::make_unique<BenchServeCommand>();
}

}  // namespace weft::cli
