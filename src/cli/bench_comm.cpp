// weft bench comm: what ranks that talk take, against a cache line's way and a copy of the same
// size, measured in the same run by the same threads.
#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <functional>
#include <limits>
#include <memory>
#include <thread>

#include "base/counted.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/progress.h"
#include "base/thread_team.h"
#include "cli/bench_report.h"
#include "cli/comm_bench.h"
#include "cli/list_values.h"
#include "cli/text_table.h"
#include "cli/version.h"

namespace weft::cli {
namespace {

using comm::Communicator;
using Json = nlohmann::ordered_json;
using Members = std::vector<std::unique_ptr<Communicator>>;

constexpr int64_t kSmallestMessage = 8;
// A pair's latency is that of its smallest message, its bandwidth that of this.
constexpr int64_t kPairMessage = 1 << 20;

// A way in which a transport does a verb, where it has several.
struct Algorithm {
  Collective verb;
  const char* name;  // "" where there is but one
  comm::GroupOptions options;
};

// Threads of one process: the crossover of all_reduce is an option of the group.
std::vector<Algorithm> algorithms_of_threads() {
  comm::GroupOptions one_shot, two_shot, chosen;
  one_shot.two_shot_bytes = std::numeric_limits<int64_t>::max();
  two_shot.two_shot_bytes = 0;
  return {{Collective::kAllReduce, "one shot", one_shot},
          {Collective::kAllReduce, "two shots", two_shot},
          {Collective::kAllReduce, "as measured", chosen},
          {Collective::kReduceScatter, "", chosen},
          {Collective::kAllGather, "", chosen}};
}

// Runs `body` for every member on a thread of its own, on CPUs of their own where there are enough.
// The first failure ends all others and is thrown.
void run_members(Members& members, const std::vector<int>& cpus,
                 const std::function<void(Communicator&)>& body) {
  std::vector<std::exception_ptr> failures(members.size());
  const bool pinned = members.size() <= cpus.size();
  const auto run = [&](size_t rank) {
    try {
      ThreadTeam team(1, pinned ? std::vector<int>{cpus[rank]} : std::vector<int>());
      team.pin_leader();
      body(*members[rank]);
    } catch (const std::exception& error) {
      failures[rank] = std::current_exception();
      members[rank]->abort(error.what());
    }
  };
  std::vector<std::thread> threads;
  for (size_t rank = 0; rank < members.size(); ++rank) threads.emplace_back(run, rank);
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
}

std::string microseconds(double seconds) { return fmt::format("{:.2f}", 1e6 * seconds); }
std::string size_text(int64_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  return bytes < 1 << 20 ? fmt::format("{} KiB", bytes >> 10) : fmt::format("{} MiB", bytes >> 20);
}
// Of something that takes `bound` at best, or a dash.
std::string share(double bound, double measured) {
  return bound > 0 && measured > 0 ? fmt::format("{:.0f} %", 100 * bound / measured) : "-";
}

class BenchCommCommand : public Command {
 public:
  BenchCommCommand() {
    options_.group("Work");
    options_.add("--ranks", &ranks_,
                 {.unit = "LIST",
                  .help = "numbers of ranks, each a thread of this process",
                  .unset = "2 to the number of CPUs, at most 8"});
    options_.add("--max-bytes", &max_bytes_,
                 {"BYTES", "the largest message; the smallest has 8 bytes"}, 8, int64_t{1} << 30);
    options_.add("--run-ms", &run_ms_, {"MS", "how long one of five runs takes at least"}, 1,
                 10'000);
    output_.declare(&options_);
  }

  OptionSet& options() override { return options_; }

  int execute(const Context& context) override {
    output_.check();
    if (max_bytes_ % 8 != 0)
      throw Error(ErrorKind::kUsage, fmt::format("{} bytes are no whole words", max_bytes_), "",
                  "--max-bytes takes multiples of 8");
    cpus_ = usable_cpus();
    const std::vector<int64_t> counts =
        ranks_.empty() ? default_ranks() : parse_counts("--ranks", ranks_, 2, 64);
    sizes_ = message_sizes(kSmallestMessage, max_bytes_);
    Console& console = context.console;
    Progress progress(console.err, {"measuring", num_measurements(counts), Progress::Unit::kItems,
                                    console.err_is_terminal});
    progress_ = &progress;
    Json report = header();
    std::vector<std::string> lines = {
        fmt::format("{}, {}, ranks are threads of one process", describe_cpu().model,
                    counted(static_cast<int64_t>(cpus_.size()), "CPU"))};
    for (const int64_t count : counts) {
      report["groups"].push_back(measure(static_cast<int>(count)));
      append(report["groups"].back(), &lines);
    }
    progress.finish();
    output_.write(report, lines, console);
    return 0;
  }

 private:
  std::vector<int64_t> default_ranks() const {
    std::vector<int64_t> counts;
    const int64_t most = std::clamp<int64_t>(static_cast<int64_t>(cpus_.size()), 2, 8);
    for (int64_t count = 2; count <= most; ++count) counts.push_back(count);
    return counts;
  }

  int64_t num_measurements(const std::vector<int64_t>& counts) const {
    int64_t total = 0;
    for (const int64_t n : counts) {
      const auto rows = static_cast<int64_t>((algorithms_.size() + 1) * sizes_.size());
      total += 1 + n * (n - 1) / 2 + rows;
    }
    return total;
  }

  Json header() const {
    return {{"machine", {{"processor", describe_cpu().model}, {"cpus", cpus_.size()}}},
            {"version", version()},
            {"commit", commit()},
            {"transport", "threads"},
            {"groups", Json::array()}};
  }

  // Every figure is the same in all members: that of rank 0 is kept.
  double figure(int num_ranks, comm::GroupOptions options,
                const std::function<double(Communicator&)>& body) {
    Members members = comm::make_thread_group(num_ranks, options);
    double result = 0;
    run_members(members, cpus_, [&](Communicator& member) {
      const double seconds = body(member);
      if (member.rank() == 0) result = seconds;
    });
    progress_->add(1);
    return result;
  }

  Json measure(int num_ranks) {
    const CommPatience patience{.run_ns = run_ms_ * 1'000'000};
    const bool pinned = static_cast<size_t>(num_ranks) <= cpus_.size();
    Json group = {{"ranks", num_ranks}, {"pinned", pinned}};
    group["barrier_us"] = 1e6 * figure(num_ranks, {}, [&](Communicator& member) {
                            return barrier_seconds(member, patience);
                          });
    group["pairs"] = pairs(num_ranks, pinned, patience);
    std::vector<double> copies;
    for (const int64_t size : sizes_) {
      copies.push_back(figure(num_ranks, {}, [&](Communicator& member) {
        return copy_seconds(member, size, patience);
      }));
      group["copies"].push_back({{"bytes", size},
                                 {"time_us", 1e6 * copies.back()},
                                 {"gb_per_s", 1e-9 * static_cast<double>(size) / copies.back()}});
    }
    for (const Algorithm& algorithm : algorithms_) {
      for (size_t i = 0; i < sizes_.size(); ++i) {
        const double seconds = figure(num_ranks, algorithm.options, [&](Communicator& member) {
          return collective_seconds(member, algorithm.verb, sizes_[i], patience);
        });
        group["collectives"].push_back(row_of(algorithm, sizes_[i], num_ranks, seconds, copies[i]));
      }
    }
    return group;
  }

  static Json row_of(const Algorithm& algorithm, int64_t bytes, int num_ranks, double seconds,
                     double copy_s) {
    const double gb_per_s = 1e-9 * static_cast<double>(bytes) / seconds;
    const double factor = bus_factor(algorithm.verb, num_ranks);
    return {{"verb", name_of(algorithm.verb)},
            {"algorithm", algorithm.name},
            {"bytes", bytes},
            {"time_us", 1e6 * seconds},
            {"algorithm_gb_per_s", gb_per_s},
            {"bus_gb_per_s", factor * gb_per_s},
            {"share_of_copy", factor * copy_s / seconds}};
  }

  Json pairs(int num_ranks, bool pinned, const CommPatience& patience) {
    Json rows = Json::array();
    const int64_t large = std::min(kPairMessage, max_bytes_);
    for (int first = 0; first < num_ranks; ++first) {
      for (int second = first + 1; second < num_ranks; ++second) {
        double latency = 0;
        const double time = figure(num_ranks, {}, [&](Communicator& member) {
          const double small = message_seconds(member, first, second, kSmallestMessage, patience);
          if (member.rank() == 0) latency = small;
          return message_seconds(member, first, second, large, patience);
        });
        Json row = {{"from", first},
                    {"to", second},
                    {"latency_us", 1e6 * latency},
                    {"bytes", large},
                    {"gb_per_s", 1e-9 * static_cast<double>(large) / time},
                    {"line_us", nullptr}};
        if (pinned) {
          const auto cpu = [&](int rank) { return cpus_[static_cast<size_t>(rank)]; };
          row["line_us"] = 1e6 * line_seconds(cpu(first), cpu(second));
        }
        rows.push_back(row);
      }
    }
    return rows;
  }

  // The same for people.
  static void append(const Json& group, std::vector<std::string>* lines) {
    lines->push_back(fmt::format("{} ranks{}: a barrier takes {:.2f} us", group["ranks"].get<int>(),
                                 group["pinned"].get<bool>() ? "" : ", more than CPUs",
                                 group["barrier_us"].get<double>()));
    TextTable pairs({"<pair", "8 bytes, us", "a line, us", "of it", "large, GB/s"});
    for (const Json& row : group["pairs"]) {
      const double latency = row["latency_us"];
      const double line = row["line_us"].is_null() ? 0.0 : row["line_us"].get<double>();
      pairs.add_row({fmt::format("{} - {}", row["from"].get<int>(), row["to"].get<int>()),
                     fmt::format("{:.2f}", latency), line > 0 ? fmt::format("{:.3f}", line) : "-",
                     share(line, latency), fmt::format("{:.1f}", row["gb_per_s"].get<double>())});
    }
    TextTable verbs({"<verb", "<algorithm", "size", "us", "GB/s", "bus GB/s", "of a copy"});
    for (const Json& row : group["copies"])
      verbs.add_row({"copy", "", size_text(row["bytes"]),
                     microseconds(1e-6 * row["time_us"].get<double>()),
                     fmt::format("{:.2f}", row["gb_per_s"].get<double>()), "", ""});
    for (const Json& row : group["collectives"])
      verbs.add_row({row["verb"], row["algorithm"], size_text(row["bytes"]),
                     microseconds(1e-6 * row["time_us"].get<double>()),
                     fmt::format("{:.2f}", row["algorithm_gb_per_s"].get<double>()),
                     fmt::format("{:.2f}", row["bus_gb_per_s"].get<double>()),
                     fmt::format("{:.0f} %", 100 * row["share_of_copy"].get<double>())});
    for (const TextTable* table : {&pairs, &verbs}) {
      for (const std::string& line : table->lines()) lines->push_back(line);
    }
  }

  OptionSet options_{"bench comm", "time the exchange between ranks against a copy"};
  std::string ranks_;
  int64_t max_bytes_ = 16 << 20;
  int64_t run_ms_ = 10;
  BenchOutput output_;
  std::vector<Algorithm> algorithms_ = algorithms_of_threads();
  std::vector<int64_t> sizes_;
  std::vector<int> cpus_;
  Progress* progress_ = nullptr;
};

}  // namespace

std::unique_ptr<Command> make_bench_comm_command() { return std::make_unique<BenchCommCommand>(); }

}  // namespace weft::cli
