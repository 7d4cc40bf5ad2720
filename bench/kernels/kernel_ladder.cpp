// Climbs the ladder (ladder.h): each version of the matrix kernel of Q4_0 at 1, 16 and 512 tokens,
// against the peak of int8 products and the read bandwidth of the same thread in the same process.
//
//   build/bench/kernels/kernel_ladder [--json]
//
// The matrices are the gate and up projections of Llama-3.2-1B, 8,192 rows of 2,048 inputs, so many
// of them that no cache holds them all. One thread; the median of five runs.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/random.h"
#include "base/thread_team.h"
#include "cli/kernel_bench.h"
#include "cli/text_table.h"
#include "cli/version.h"
#include "ladder.h"
#include "tensor/buffer.h"

namespace weft::ladder {
namespace {

using Json = nlohmann::ordered_json;
using tensor::DType;
using tensor::InputMap;

constexpr int64_t kRows = 8192, kInputs = 2048, kMatrices = 24;  // 226 MB
constexpr int64_t kTokens[] = {1, 16, 512};

// The same random weights as a file's rows and as panels.
struct Matrix {
  static constexpr int64_t kBlockBytes = 18;
  tensor::Buffer rows{kRows * (kInputs / 32) * kBlockBytes, "rows of the ladder"};
  tensor::Buffer panels;

  Matrix(const kernels::PanelLayout& layout, uint64_t stream) {
    for (int64_t block = 0; block < kRows * (kInputs / 32); ++block) {
      std::byte* at = rows.data() + block * kBlockBytes;
      const auto random = [&](uint64_t i) {
        return uniform_bits(stream, static_cast<uint64_t>(block), i);
      };
      const uint16_t scale = static_cast<uint16_t>(0x2000 + random(0) % 0x800);  // f16, below 2^-6
      const uint64_t codes[2] = {random(1), random(2)};
      std::memcpy(at, &scale, sizeof(scale));
      std::memcpy(at + 2, codes, sizeof(codes));
    }
    panels = tensor::Buffer(layout.num_bytes(), "panels of the ladder");
    kernels::pack_panels(layout, DType::kQ4_0, rows.data(), kInputs / 32 * kBlockBytes, kInputs,
                         {0, layout.num_panels()}, panels.data());
  }
};

// Activations between -1 and 1: none is an outlier.
struct Input {
  tensor::Buffer memory;
  kernels::Activations laid_out;

  Input(const kernels::KernelTable& table, const InputMap& map, int64_t num_tokens)
      : memory(kernels::activation_bytes(kernels::ActivationType::kInt8, num_tokens, map),
               "activations of the ladder"),
        laid_out(kernels::place_activations(kernels::ActivationType::kInt8, num_tokens, map,
                                            memory.data())) {
    std::vector<float> x(kInputs);
    for (int64_t token = 0; token < num_tokens; ++token) {
      for (size_t i = 0; i < x.size(); ++i)
        x[i] = static_cast<float>(
                   static_cast<int32_t>(uniform_bits(7, static_cast<uint64_t>(token), i) >> 32)) *
               0x1p-31f;
      table.prepare(map, x.data(), laid_out, token, {0, map.num_groups()});
    }
  }
};

class Climb {
 public:
  explicit Climb(const kernels::KernelTable& table) : table_(table) {
    for (int64_t i = 0; i < kMatrices; ++i)
      matrices_.emplace_back(layout_, static_cast<uint64_t>(i));
  }

  // GOP/s, two operations a weight and token.
  double measure(const Rung& rung, int64_t num_tokens) {
    const Input input(table_, layout_.inputs, num_tokens);
    out_.resize(static_cast<size_t>(num_tokens * kRows));
    // A run goes on where the last one ended: of slow rungs a few panels are enough.
    const int64_t step = panels_a_call(rung, input.laid_out);
    std::vector<double> rates;
    for (int run = 0; run < 5; ++run) {
      const int64_t begin = now_ns();
      int64_t end = begin, num_panels = 0;
      for (; end - begin < kRunNs; end = now_ns(), num_panels += step)
        multiply(rung, input.laid_out, step);
      rates.push_back(giga_operations(num_panels, num_tokens) / seconds_between(begin, end));
    }
    std::nth_element(rates.begin(), rates.begin() + 2, rates.end());
    return rates[2];
  }

 private:
  static constexpr int64_t kRunNs = 100'000'000;

  static double giga_operations(int64_t num_panels, int64_t num_tokens) {
    return 2e-9 * 16.0 * static_cast<double>(num_panels * kInputs * num_tokens);
  }

  // A divisor of the panels of a matrix that takes about a run's time, at most all of them.
  int64_t panels_a_call(const Rung& rung, const kernels::Activations& input) {
    const int64_t begin = now_ns();
    multiply(rung, input, 2);
    const int64_t ns = now_ns() - begin;
    int64_t step = layout_.num_panels();
    while (step > 2 && step / 2 * ns > kRunNs) step /= 2;
    return step;
  }

  void multiply(const Rung& rung, const kernels::Activations& input, int64_t num_panels) {
    const Matrix& matrix = matrices_[matrix_];
    Product product;
    product.layout = &layout_;
    product.file_rows = matrix.rows.data();
    product.panels = matrix.panels.data();
    product.input = input;
    product.out = out_.data();
    product.out_stride = kRows;
    const int64_t end = std::min(panel_ + num_panels, layout_.num_panels());
    rung.run(product, {panel_, end});
    panel_ = end % layout_.num_panels();
    if (panel_ == 0) matrix_ = (matrix_ + 1) % matrices_.size();
  }

  const kernels::KernelTable& table_;
  const kernels::PanelLayout layout_{tensor::panel_format(DType::kQ4_0), kRows,
                                     InputMap::whole(kInputs)};
  std::vector<Matrix> matrices_;
  std::vector<float> out_;
  size_t matrix_ = 0;
  int64_t panel_ = 0;
};

int climb(bool json) {
  if (rungs().empty()) {
    std::cout << "The rungs of the ladder need AVX-512 with VNNI, which this processor lacks.\n";
    return 0;
  }
  const std::vector<int> cpus = usable_cpus();
  ThreadTeam team(1, {cpus.front()});
  team.pin_leader();
  const kernels::KernelTable& table = *kernels::table_for(kernels::Isa::kAvx512);
  const cli::Bounds bounds = cli::measure_bounds(table, team);
  Climb ladder(table);
  cli::TextTable text({"<rung", "1 token: GOP/s", "GB/s", "16 tokens: GOP/s", "of peak",
                       "512 tokens: GOP/s", "of peak"});
  Json report = {{"machine", describe_cpu().model},
                 {"commit", cli::commit()},
                 {"type", "Q4_0"},
                 {"rows", kRows},
                 {"inputs", kInputs},
                 {"int8_gops", bounds.int8_gops},
                 {"read_gb_per_s", bounds.read_gb_per_s}};
  for (const Rung& rung : rungs()) {
    std::vector<std::string> cells{rung.name};
    Json row = {{"rung", rung.name}, {"change", rung.change}};
    for (const int64_t tokens : kTokens) {
      const double gops = ladder.measure(rung, tokens);
      // Two operations a weight and token, 18 bytes for 32 weights.
      const double gb_per_s = gops / 2 * 18 / 32 / static_cast<double>(tokens);
      row["rates"].push_back({{"tokens", tokens},
                              {"gops", gops},
                              {"share_of_peak", gops / bounds.int8_gops},
                              {"weights_gb_per_s", gb_per_s}});
      cells.push_back(fmt::format("{:.1f}", gops));
      cells.push_back(tokens == 1 ? fmt::format("{:.1f}", gb_per_s)
                                  : fmt::format("{:.1f} %", 100 * gops / bounds.int8_gops));
    }
    text.add_row(cells);
    report["rungs"].push_back(row);
  }
  if (json) {
    std::cout << report.dump() << "\n";
    return 0;
  }
  std::cout << fmt::format("{}, one thread: int8 {:.0f} GOP/s, reads {:.1f} GB/s\n",
                           describe_cpu().model, bounds.int8_gops, bounds.read_gb_per_s);
  for (const std::string& line : text.lines()) std::cout << line << "\n";
  return 0;
}

}  // namespace
}  // namespace weft::ladder

int main(int argc, char** argv) {
  const bool json = argc == 2 && std::string_view(argv[1]) == "--json";
  if (argc > 1 && !json) {
    std::cerr << "usage: kernel_ladder [--json]\n";
    return 2;
  }
  return weft::ladder::climb(json);
}
