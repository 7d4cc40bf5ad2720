// weft bench comm: what ranks that talk take. Threads of this process, or the processes that mpirun
// started, against a copy of the same size, a cache line's way and MPI itself, in the same run.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>

#include "base/counted.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/progress.h"
#include "cli/bench_report.h"
#include "cli/comm_bench.h"
#include "cli/comm_chart.h"
#include "cli/comm_contenders.h"
#include "cli/comm_figures.h"
#include "cli/interrupt.h"
#include "cli/list_values.h"
#include "cli/text_table.h"
#include "cli/version.h"
#include "comm/job.h"

namespace weft::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kSmallestMessage = 8;
// A pair's latency is that of the smallest message, its bandwidth that of the largest up to this.
constexpr int64_t kPairMessage = 2 << 20;
constexpr std::string_view kLibrary = "Open MPI";

std::string microseconds(double seconds) { return fmt::format("{:.2f}", 1e6 * seconds); }
double gb_per_s(int64_t bytes, double seconds) {
  return 1e-9 * static_cast<double>(bytes) / seconds;
}
std::string name_of_way(const Series& series) {
  return series.algorithm.empty() ? series.transport
                                  : fmt::format("{}, {}", series.transport, series.algorithm);
}
// What a transport does by itself.
bool is_chosen(const VerbSeries& series) {
  return series.algorithm.empty() || series.algorithm == "as measured";
}
size_t pair_size(const std::vector<int64_t>& sizes) {
  size_t at = 0;
  while (at + 1 < sizes.size() && sizes[at + 1] <= kPairMessage) ++at;
  return at;
}

// ---- One object for programs

Json pair_json(const PairSeries& pair, const std::vector<int64_t>& sizes,
               const std::function<std::optional<double>(int, int)>& line_seconds_of) {
  const size_t large = pair_size(sizes);
  Json row = {
      {"from", pair.first},          {"to", pair.second},
      {"transport", pair.transport}, {"latency_us", 1e6 * pair.seconds.front()},
      {"bytes", sizes[large]},       {"gb_per_s", gb_per_s(sizes[large], pair.seconds[large])},
      {"line_us", nullptr},          {"messages", Json::array()}};
  if (pair.transport == "threads")
    if (const auto line = line_seconds_of(pair.first, pair.second)) row["line_us"] = 1e6 * *line;
  for (size_t i = 0; i < sizes.size(); ++i)
    row["messages"].push_back({{"bytes", sizes[i]},
                               {"time_us", 1e6 * pair.seconds[i]},
                               {"gb_per_s", gb_per_s(sizes[i], pair.seconds[i])}});
  return row;
}

Json verb_json(const VerbSeries& series, const CommFigures& figures, size_t i) {
  const double factor = bus_factor(series.verb, figures.num_ranks);
  const double rate = gb_per_s(figures.sizes[i], series.seconds[i]);
  return {{"verb", name_of(series.verb)},
          {"transport", series.transport},
          {"algorithm", series.algorithm},
          {"bytes", figures.sizes[i]},
          {"time_us", 1e6 * series.seconds[i]},
          {"algorithm_gb_per_s", rate},
          {"bus_gb_per_s", factor * rate},
          {"share_of_copy", factor * figures.copies[i] / series.seconds[i]}};
}

Json group_json(const CommFigures& figures, bool pinned,
                const std::function<std::optional<double>(int, int)>& line_seconds_of) {
  Json group = {{"ranks", figures.num_ranks}, {"pinned", pinned}};
  group["barrier_us"] = 1e6 * figures.barriers.front().seconds.front();
  for (const Series& series : figures.barriers) {
    group["barriers"].push_back(
        {{"transport", series.transport}, {"time_us", 1e6 * series.seconds.front()}});
    const auto from = two_shots_from(figures, series.transport);
    if (series.transport != kLibrary)
      group["crossovers"].push_back(
          {{"transport", series.transport}, {"two_shots_from_bytes", from ? Json(*from) : Json()}});
  }
  for (const PairSeries& pair : figures.pairs)
    group["pairs"].push_back(pair_json(pair, figures.sizes, line_seconds_of));
  for (size_t i = 0; i < figures.sizes.size(); ++i)
    group["copies"].push_back({{"bytes", figures.sizes[i]},
                               {"time_us", 1e6 * figures.copies[i]},
                               {"gb_per_s", gb_per_s(figures.sizes[i], figures.copies[i])}});
  for (const VerbSeries& series : figures.verbs)
    for (size_t i = 0; i < figures.sizes.size(); ++i)
      group["collectives"].push_back(verb_json(series, figures, i));
  return group;
}

// ---- The same for people

TextTable pairs_table(const Json& group) {
  TextTable table({"<pair", "<transport", "8 bytes, us", "a line, us", "large, GB/s"});
  for (const Json& row : group["pairs"])
    table.add_row(
        {fmt::format("{} - {}", row["from"].get<int>(), row["to"].get<int>()), row["transport"],
         fmt::format("{:.2f}", row["latency_us"].get<double>()),
         row["line_us"].is_null() ? "-" : fmt::format("{:.3f}", row["line_us"].get<double>()),
         fmt::format("{:.2f}", row["gb_per_s"].get<double>())});
  return table;
}

// A row a size, a column a way; last what the first transport does by itself against the bounds.
TextTable verb_table(const CommFigures& figures, Collective verb) {
  std::vector<const VerbSeries*> ways;
  const VerbSeries *chosen = nullptr, *library = nullptr;
  std::vector<std::string> headings = {fmt::format("<{}, us", name_of(verb)), "a copy"};
  for (const VerbSeries& series : figures.verbs) {
    if (series.verb != verb) continue;
    ways.push_back(&series);
    headings.push_back(name_of_way(series));
    if (series.transport == kLibrary) library = &series;
    if (chosen == nullptr && is_chosen(series)) chosen = &series;
  }
  headings.insert(headings.end(), {"bus GB/s", "of a copy"});
  if (library != nullptr) headings.emplace_back("of Open MPI");
  TextTable table(headings);
  for (size_t i = 0; i < figures.sizes.size(); ++i) {
    std::vector<std::string> row = {size_text(figures.sizes[i]), microseconds(figures.copies[i])};
    for (const VerbSeries* way : ways) row.push_back(microseconds(way->seconds[i]));
    const double factor = bus_factor(verb, figures.num_ranks), seconds = chosen->seconds[i];
    row.push_back(fmt::format("{:.2f}", factor * gb_per_s(figures.sizes[i], seconds)));
    row.push_back(fmt::format("{:.0f} %", 100 * factor * figures.copies[i] / seconds));
    if (library != nullptr) row.push_back(fmt::format("{:.2f}", seconds / library->seconds[i]));
    table.add_row(row);
  }
  return table;
}

void append_group(const CommFigures& figures, const Json& group, std::vector<std::string>* lines) {
  std::string barriers;
  for (const Series& series : figures.barriers)
    barriers += fmt::format("{}{:.2f} us ({})", barriers.empty() ? "" : ", ",
                            1e6 * series.seconds.front(), series.transport);
  lines->push_back(fmt::format("{} ranks{}: a barrier takes {}", figures.num_ranks,
                               group["pinned"].get<bool>() ? "" : ", not pinned", barriers));
  std::vector<TextTable> tables = {pairs_table(group)};
  for (const Collective verb :
       {Collective::kAllReduce, Collective::kReduceScatter, Collective::kAllGather})
    tables.push_back(verb_table(figures, verb));
  for (const TextTable& table : tables)
    for (const std::string& line : table.lines()) lines->push_back(line);
  for (const Series& series : figures.barriers) {
    if (series.transport == kLibrary) continue;
    const auto from = two_shots_from(figures, series.transport);
    lines->push_back(fmt::format(
        "  {}: two shots are {}", series.transport,
        from ? "faster from " + size_text(*from) + " on" : "faster at no size up to the largest"));
  }
}

class BenchCommCommand : public Command {
 public:
  BenchCommCommand() {
    options_.group("Work");
    options_.add("--ranks", &ranks_,
                 {.unit = "LIST",
                  .help = "numbers of ranks, each a thread of this process; under mpirun, of each "
                          "process",
                  .unset = "2 to the number of CPUs, at most 8; 1 under mpirun"});
    options_.add("--max-bytes", &max_bytes_,
                 {"BYTES", "the largest message; the smallest has 8 bytes"}, 8, int64_t{1} << 30);
    options_.add("--sizes", &size_list_,
                 {.unit = "LIST",
                  .help = "bytes of the messages",
                  .unset = "8 to --max-bytes, each four times the one before"});
    options_.add("--run-ms", &run_ms_, {"MS", "how long one of five runs takes at least"}, 1,
                 10'000);
    output_.declare(&options_);
    options_.add(
        "--svg", &svg_,
        {.unit = "FILE", .help = "a picture of the last group as well", .may_be_empty = false});
  }

  OptionSet& options() override { return options_; }

  int execute(const Context& context) override {
    sizes_ = size_list_.empty() ? message_sizes(kSmallestMessage, max_bytes_)
                                : parse_counts("--sizes", size_list_, 8, int64_t{1} << 30);
    for (const int64_t size : sizes_)
      if (size % 8 != 0)
        throw Error(
            ErrorKind::kUsage, fmt::format("{} bytes are no whole words", size), "",
            fmt::format("{} takes multiples of 8", size_list_.empty() ? "--max-bytes" : "--sizes"));
    cpus_ = usable_cpus();
    const std::optional<comm::Launch> launch = comm::find_launch(context.environment);
    return launch ? execute_in_job(*launch, context) : execute_alone(context);
  }

 private:
  int execute_alone(const Context& context) {
    const std::vector<int64_t> counts =
        ranks_.empty() ? default_ranks() : parse_counts("--ranks", ranks_, 2, 64);
    Json report = header("threads");
    run_groups(counts, context, &report, "ranks are threads of one process", [&](int64_t count) {
      return contenders_of_threads(static_cast<int>(count), cpus_);
    });
    return 0;
  }

  // Every process runs this, and the first one says what came of it.
  int execute_in_job(const comm::Launch& launch, const Context& context) {
    const std::vector<int64_t> counts =
        ranks_.empty() ? std::vector<int64_t>{1} : parse_counts("--ranks", ranks_, 1, 64);
    job_ = comm::join_job(launch, {std::string(version()), "bench comm", ""});
    const InterruptAction told([](void* job) { static_cast<comm::Job*>(job)->suspect(); },
                               job_.get());
    try {
      Json report = header("processes");
      report["launcher"] = launch.launcher;
      for (int process = 0; process < job_->num_processes(); ++process)
        report["hosts"].push_back(job_->peer(process).host);
      const std::string where =
          fmt::format("{} processes {}", job_->num_processes(),
                      job_->on_one_machine() ? "of one machine" : "of several machines");
      run_groups(counts, context, &report, where, [&](int64_t count) {
        return contenders_of_job(*job_, static_cast<int>(count), cpus_);
      });
      job_->leave();
    } catch (const Error& error) {
      context.console.err << "weft: " << error.what() << std::endl;
      job_->end(error.exit_code());
    }
    return 0;
  }

  bool speaks() const { return !job_ || job_->process() == 0; }

  void run_groups(const std::vector<int64_t>& counts, const Context& context, Json* report,
                  const std::string& where,
                  const std::function<std::vector<Contender>(int64_t)>& make) {
    BenchConsole told(context, output_.quiet);
    Console& console = told.context().console;
    if (speaks()) check_files();
    std::vector<std::string> lines = {
        fmt::format("{}, {}, {}", describe_cpu().model, counted(std::ssize(cpus_), "CPU"), where)};
    CommFigures figures;
    for (const int64_t count : counts) {
      const std::vector<Contender> contenders = make(count);
      const int num_ranks = static_cast<int>(count) * (job_ ? job_->num_processes() : 1);
      std::optional<Progress> progress;
      if (speaks())
        progress.emplace(
            console.err,
            Progress::Options{"measuring", num_figures(contenders, num_ranks, sizes_.size()),
                              Progress::Unit::kItems, console.err_is_terminal});
      CommPlan plan{sizes_, {.run_ns = run_ms_ * 1'000'000}, [&] {
                      if (progress) progress->add(1);
                    }};
      figures = measure_comm(contenders, num_ranks, plan);
      if (!speaks()) continue;
      const bool pinned = static_cast<size_t>(num_ranks) <= cpus_.size();
      (*report)["groups"].push_back(group_json(figures, pinned, [&](int first, int second) {
        return pinned ? std::optional(line_seconds(cpus_[static_cast<size_t>(first)],
                                                   cpus_[static_cast<size_t>(second)]))
                      : std::nullopt;
      }));
      append_group(figures, (*report)["groups"].back(), &lines);
      progress->finish();
    }
    if (!speaks()) return;
    if (svg_) write_svg(figures, lines.front());
    output_.write(*report, lines, console);
  }

  void check_files() const {
    output_.check();
    if (svg_ && !std::ofstream(*svg_, std::ios::app))
      throw Error(ErrorKind::kUsage, fmt::format("{} cannot be written", *svg_),
                  std::strerror(errno), "name another file with --svg");
  }

  void write_svg(const CommFigures& figures, const std::string& title) const {
    std::ofstream out(*svg_);
    out << comm_chart(figures, fmt::format("{}: {} ranks", title, figures.num_ranks));
    out.close();
    if (!out)
      throw Error(ErrorKind::kUsage, fmt::format("{} could not be written", *svg_),
                  std::strerror(errno));
  }

  std::vector<int64_t> default_ranks() const {
    std::vector<int64_t> counts;
    const int64_t most = std::clamp<int64_t>(std::ssize(cpus_), 2, 8);
    for (int64_t count = 2; count <= most; ++count) counts.push_back(count);
    return counts;
  }

  Json header(std::string_view transport) const {
    return {{"machine", {{"processor", describe_cpu().model}, {"cpus", cpus_.size()}}},
            {"version", version()},
            {"commit", commit()},
            {"transport", transport},
            {"groups", Json::array()}};
  }

  OptionSet options_{"bench comm", "time the exchange between ranks against a copy, and MPI"};
  std::string ranks_, size_list_;
  int64_t max_bytes_ = 16 << 20;
  int64_t run_ms_ = 10;
  std::optional<std::string> svg_;
  BenchOutput output_;
  std::vector<int64_t> sizes_;
  std::vector<int> cpus_;
  std::unique_ptr<comm::Job> job_;
};

}  // namespace

std::unique_ptr<Command> make_bench_comm_command() { return std::make_unique<BenchCommCommand>(); }

}  // namespace weft::cli
