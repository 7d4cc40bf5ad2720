// The matrix kernels of the chosen table on one thread: products of a prompt in GOP/s and streams
// of a generation in GB/s, by the thread's own processor time.
//
//   linear_bench [TYPE...]      e.g. linear_bench Q4_0 Q6_K; WEFT_ISA picks the table
#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "base/thread_team.h"
#include "kernels/kernels.h"
#include "tensor/buffer.h"

namespace {

using namespace weft;
using namespace weft::kernels;
using tensor::DType;
using tensor::InputMap;

double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// The best of several runs of at least 50 ms each.
double best_seconds(const std::function<void()>& body) {
  double best = 1e9;
  for (int run = 0; run < 5; ++run) {
    int calls = 0;
    const double begin = thread_seconds();
    double end = begin;
    do {
      body();
      ++calls;
      end = thread_seconds();
    } while (end - begin < 0.05);
    best = std::min(best, (end - begin) / calls);
  }
  return best;
}

// A matrix whose bytes are random but whose scales are small numbers.
struct Matrix {
  PanelLayout layout;
  tensor::Buffer panels;

  Matrix(DType dtype, int64_t num_rows, const InputMap& inputs)
      : layout(tensor::panel_format(dtype), num_rows, inputs),
        panels(layout.num_bytes(), "bench panels") {
    // Bytes 0x10..0x2f: finite in every floating-point type, and codes like any others.
    std::mt19937 random(1);
    auto* bytes = panels.as<uint8_t>();
    for (int64_t i = 0; i < panels.size(); ++i) bytes[i] = static_cast<uint8_t>(16 + random() % 32);
  }
};

struct Input {
  tensor::Buffer memory;
  Activations input;

  Input(const KernelTable& table, const PanelLayout& layout, int64_t num_tokens) {
    const ActivationType type = activation_type(layout.format);
    memory = tensor::Buffer(activation_bytes(type, num_tokens, layout.inputs), "bench activations");
    input = place_activations(type, num_tokens, layout.inputs, memory.data());
    std::mt19937 random(2);
    std::normal_distribution<float> normal;
    std::vector<float> x(static_cast<size_t>(layout.inputs.inputs().size()));
    for (float& value : x) value = normal(random);
    for (int64_t t = 0; t < num_tokens; ++t) table.prepare(layout.inputs, x.data(), input, t);
  }
};

InputMap units(int64_t num_inputs, int64_t unit) {
  std::vector<Range> all;
  for (int64_t i = 0; i < num_inputs; i += unit) all.push_back({i, i + unit});
  return InputMap::of_units(all);
}

void run_tiles(const KernelTable& table, const Matmul& op, float* out, const PartialSums* sums) {
  const Tiling tiling = choose_tiling(*op.layout, op.input.num_tokens, 1);
  const int64_t num_panels = op.layout->num_panels();
  for (int64_t t = 0; t < op.input.num_tokens; t += tiling.tokens_per_tile) {
    const Range tokens{t, std::min(op.input.num_tokens, t + tiling.tokens_per_tile)};
    for (int64_t p = 0; p < num_panels; p += tiling.panels_per_tile) {
      const Range panels{p, std::min(num_panels, p + tiling.panels_per_tile)};
      if (sums == nullptr) {
        table.matmul(op, panels, tokens, nullptr, out, num_panels * 16);
      } else {
        table.matmul_exact(op, panels, tokens, *sums);
      }
    }
  }
}

// GOP/s (two operations a weight and token).
double product_rate(const KernelTable& table, DType dtype, int64_t num_rows, int64_t num_inputs,
                    int64_t num_tokens, int64_t unit) {
  const Matrix matrix(dtype, num_rows,
                      unit == 0 ? InputMap::whole(num_inputs) : units(num_inputs, unit));
  const Input input(table, matrix.layout, num_tokens);
  const Matmul op{&matrix.layout, matrix.panels.data(), input.input};
  tensor::Buffer out(num_tokens * round_up(num_rows, 16) * 4, "bench outputs");
  PartialSums sums{nullptr, num_tokens, num_rows};
  tensor::Buffer integers(num_tokens * sums.stride() * 8, "bench sums");
  sums.data = integers.as<int64_t>();
  const double seconds =
      best_seconds([&] { run_tiles(table, op, out.as<float>(), unit == 0 ? nullptr : &sums); });
  return 2e-9 * static_cast<double>(num_rows * num_inputs * num_tokens) / seconds;
}

// GB/s of panels, with a matrix that no cache holds.
double stream_rate(const KernelTable& table, DType dtype, int64_t num_inputs) {
  const PanelLayout one(tensor::panel_format(dtype), 16, InputMap::whole(num_inputs));
  const int64_t num_rows = (int64_t{64} << 20) / one.panel_bytes() * 16;
  const Matrix matrix(dtype, num_rows, InputMap::whole(num_inputs));
  const Input input(table, matrix.layout, 1);
  const Matmul op{&matrix.layout, matrix.panels.data(), input.input};
  tensor::Buffer out(num_rows * 4, "bench outputs");
  const double seconds = best_seconds([&] { run_tiles(table, op, out.as<float>(), nullptr); });
  return 1e-9 * static_cast<double>(matrix.panels.size()) / seconds;
}

// The rate at which this thread can read memory at all.
double read_rate() {
  const int64_t size = int64_t{128} << 20;
  tensor::Buffer memory(size, "bench memory");
  std::memset(memory.data(), 1, static_cast<size_t>(size));
  const auto* words = memory.as<uint64_t>();
  uint64_t total = 0;
  const double seconds = best_seconds([&] {
    uint64_t sums[8] = {};
    for (int64_t i = 0; i < size / 8; i += 8) {
      for (int64_t k = 0; k < 8; ++k) sums[k] += words[i + k];
    }
    for (const uint64_t sum : sums) total += sum;
  });
  if (total == 1) fmt::print(" ");
  return 1e-9 * static_cast<double>(size) / seconds;
}

}  // namespace

int main(int argc, char** argv) {
  prepare_this_thread();
  const KernelTable& table = choose_table();
  fmt::print("table {}, plain reads {:.1f} GB/s\n", table.name, read_rate());
  fmt::print("{:8} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}\n", "GOP/s", "2048^2", "exact256",
             "exact64", "576x1536", "2 tokens", "16 tokens", "GB/s");
  for (int i = 0; i < tensor::kNumDTypes; ++i) {
    const auto dtype = static_cast<DType>(i);
    const std::string_view name = tensor::name(dtype);
    if (argc > 1 && std::find(argv + 1, argv + argc, name) == argv + argc) continue;
    fmt::print("{:8} {:9.0f} {:9.0f} {:9.0f} {:9.0f} {:9.0f} {:9.0f} {:9.1f}\n", name,
               product_rate(table, dtype, 2048, 2048, 512, 0),
               product_rate(table, dtype, 2048, 2048, 512, 256),
               product_rate(table, dtype, 2048, 2048, 512, 64),
               product_rate(table, dtype, 576, 1536, 512, 0),
               product_rate(table, dtype, 2048, 2048, 2, 0),
               product_rate(table, dtype, 2048, 2048, 16, 0), stream_rate(table, dtype, 2048));
    std::fflush(stdout);
  }
  return 0;
}
