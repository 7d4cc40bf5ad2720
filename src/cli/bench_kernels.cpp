// weft bench kernels: the kernels against the bounds of the machine, measured in the same process.
#include <fmt/format.h>

#include <iterator>
#include <nlohmann/json.hpp>
#include <ostream>

#include "base/counted.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/progress.h"
#include "cli/commands.h"
#include "cli/kernel_bench.h"
#include "cli/list_values.h"
#include "cli/text_table.h"

namespace weft::cli {
namespace {

using Json = nlohmann::ordered_json;

// The bound that a type's products stand against.
double peak_of(const Bounds& bounds, tensor::DType dtype) {
  switch (kernels::activation_type(tensor::panel_format(dtype))) {
    case kernels::ActivationType::kInt8:
      return bounds.int8_gops;
    case kernels::ActivationType::kBF16:
      return bounds.bf16_gflops;
    case kernels::ActivationType::kF32:
      return bounds.f32_gflops;
  }
  return 0.0;
}

std::string percent(double part, double whole) {
  return whole > 0 ? fmt::format("{:.0f} %", 100.0 * part / whole) : "-";
}

constexpr kernels::KvType kCacheTypes[] = {kernels::KvType::kF32, kernels::KvType::kF16,
                                           kernels::KvType::kBF16, kernels::KvType::kQ8};
constexpr int64_t kAttentionTokens[] = {1, 512};
constexpr int64_t kAttentionRows = std::size(kCacheTypes) * std::size(kAttentionTokens);

// What every measurement needs.
struct Bench {
  const kernels::KernelTable& table;
  ThreadTeam& team;
  const LayerShape& shape;
  const Bounds& bounds;
  Progress& progress;
};

// One kind of kernel, for both kinds of reader.
struct Section {
  Json rows;
  TextTable text;
};

class BenchKernelsCommand : public Command {
 public:
  BenchKernelsCommand() {
    options_.group("Work");
    std::vector<std::string> names;
    for (const LayerShape& shape : layer_shapes()) names.push_back(shape.name);
    options_.add("--shape", &shape_, {"NAME", "whose layer's matrices", "", names});
    options_.add("--types", &types_,
                 {.unit = "LIST",
                  .help = "weight types, as weft inspect names them",
                  .may_be_empty = false});
    options_.add("--tokens", &tokens_,
                 {.unit = "LIST",
                  .help = "tokens that pass through the matrices at once",
                  .may_be_empty = false});
    options_.add("--threads,-t", &threads_, {"N", "threads", "all cores"}, 1, 1024);
    options_.add("--depth", &depth_, {"TOKENS", "in the cache of the attention kernels"}, 0,
                 1 << 20);
    options_.group("Output");
    options_.add("--json", &json_, {"", "one JSON object on standard output and nothing else"});
    options_.environment_only(
        "WEFT_ISA",
        "forces a kernel table: avx512, avx2, neon or portable; all give the same bits");
  }

  OptionSet& options() override { return options_; }

  int execute(const Context& context) override {
    const std::vector<int> cpus = usable_cpus();
    const int threads = threads_ > 0 ? threads_ : static_cast<int>(cpus.size());
    std::vector<tensor::DType> dtypes;
    for (const std::string& word : split_list(types_)) dtypes.push_back(dtype_named(word));
    const std::vector<int64_t> tokens = parse_counts("--tokens", tokens_, 1, 8192);
    prepare_this_thread();
    const kernels::KernelTable& table = kernels::choose_table();
    const bool pinned = static_cast<size_t>(threads) <= cpus.size();
    ThreadTeam team(threads, pinned ? std::vector<int>(cpus.begin(), cpus.begin() + threads)
                                    : std::vector<int>());
    team.pin_leader();
    Console& console = context.console;
    // Bounds first, then each type at each number of tokens, then attention.
    const auto num_linears = static_cast<int64_t>(dtypes.size() * tokens.size());
    Progress progress(console.err, {"measuring", 1 + num_linears + kAttentionRows,
                                    Progress::Unit::kItems, console.err_is_terminal});
    const Bounds bounds = measure_bounds(table, team);
    progress.add(1);
    const Bench bench{table, team, chosen_shape(), bounds, progress};
    const Section linear = linears(bench, dtypes, tokens), attended = attention(bench);
    progress.finish();
    if (json_) {
      console.out << json_report(bench, linear, attended).dump() << std::endl;
    } else {
      print(bench, {linear, attended}, console.out);
    }
    return 0;
  }

 private:
  const LayerShape& chosen_shape() const {
    for (const LayerShape& shape : layer_shapes()) {
      if (shape.name == shape_) return shape;
    }
    return layer_shapes().front();
  }

  Section linears(const Bench& bench, const std::vector<tensor::DType>& dtypes,
                  const std::vector<int64_t>& tokens) const {
    Section section{Json::array(), TextTable({"<type", "tokens", "column GOP/s", "of peak",
                                              "row GOP/s", "of peak", "weights GB/s", "of reads"})};
    for (const tensor::DType dtype : dtypes) {
      const double peak = peak_of(bench.bounds, dtype);
      for (const int64_t count : tokens) {
        const LinearRates r = measure_linears(bench.table, bench.team, bench.shape, dtype, count);
        bench.progress.add(1);
        section.rows.push_back({{"type", tensor::name(dtype)},
                                {"tokens", count},
                                {"column_gops", r.column_gops},
                                {"row_gops", r.row_gops},
                                {"peak_gops", peak},
                                {"weights_gb_per_s", r.gb_per_s}});
        section.text.add_row({std::string(tensor::name(dtype)), fmt::format("{}", count),
                              fmt::format("{:.0f}", r.column_gops), percent(r.column_gops, peak),
                              fmt::format("{:.0f}", r.row_gops), percent(r.row_gops, peak),
                              fmt::format("{:.1f}", r.gb_per_s),
                              percent(r.gb_per_s, bench.bounds.read_gb_per_s)});
      }
    }
    return section;
  }

  Section attention(const Bench& bench) const {
    Section section{Json::array(), TextTable({"<attention", "tokens", "depth", "GFLOP/s",
                                              "of BF16 peak", "cache GB/s", "of reads"})};
    for (const kernels::KvType type : kCacheTypes) {
      for (const int64_t count : kAttentionTokens) {
        const AttentionRates r =
            measure_attention(bench.table, bench.team, bench.shape, type, count, depth_);
        bench.progress.add(1);
        section.rows.push_back({{"cache", kernels::name(type)},
                                {"tokens", count},
                                {"depth", depth_},
                                {"gflops", r.gflops},
                                {"cache_gb_per_s", r.gb_per_s}});
        section.text.add_row(
            {std::string(kernels::name(type)), fmt::format("{}", count), fmt::format("{}", depth_),
             fmt::format("{:.0f}", r.gflops), percent(r.gflops, bench.bounds.bf16_gflops),
             fmt::format("{:.1f}", r.gb_per_s), percent(r.gb_per_s, bench.bounds.read_gb_per_s)});
      }
    }
    return section;
  }

  static Json json_report(const Bench& bench, const Section& linear, const Section& attended) {
    return {{"table", bench.table.name},
            {"threads", bench.team.num_threads()},
            {"shape", bench.shape.name},
            {"read_gb_per_s", bench.bounds.read_gb_per_s},
            {"int8_gops", bench.bounds.int8_gops},
            {"bf16_gflops", bench.bounds.bf16_gflops},
            {"f32_gflops", bench.bounds.f32_gflops},
            {"linears", linear.rows},
            {"attention", attended.rows}};
  }

  static void print(const Bench& bench, const std::vector<Section>& sections, std::ostream& out) {
    const Bounds& b = bench.bounds;
    out << fmt::format("table {}, {}, shape {}\n", bench.table.name,
                       counted(bench.team.num_threads(), "thread"), bench.shape.name)
        << fmt::format(
               "bounds: int8 {:.0f} GOP/s, BF16 {:.0f}, FP32 {:.0f} GFLOP/s, reads {:.1f} GB/s\n",
               b.int8_gops, b.bf16_gflops, b.f32_gflops, b.read_gb_per_s);
    for (const Section& section : sections) {
      for (const std::string& line : section.text.lines()) out << line << "\n";
    }
    out.flush();
  }

  OptionSet options_{"bench kernels", "time the kernels against this machine's bounds"};
  std::string shape_ = "llama-3.2-1b";
  std::string types_ = "Q4_0,Q4_1,Q8_0,Q4_K,Q6_K,BF16";
  std::string tokens_ = "1,16,512";
  int threads_ = 0;
  int64_t depth_ = 8192;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> make_bench_kernels_command() {
  return std::make_unique<BenchKernelsCommand>();
}

}  // namespace weft::cli
