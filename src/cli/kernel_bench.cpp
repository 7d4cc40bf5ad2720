#include "cli/kernel_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>

#include "base/clock.h"
#include "base/error.h"
#include "base/random.h"
#include "parallel/linear.h"
#include "tensor/buffer.h"

namespace weft::cli {
namespace {

using kernels::Activations;
using tensor::InputMap;

// More than any cache of the machines at hand, so that weights come from memory as in a model.
constexpr int64_t kUncachedBytes = int64_t{192} << 20;

// Seconds of one call: the median of five runs of at least 60 ms each, after one that warms.
double seconds_of(const std::function<void()>& body) {
  body();
  std::vector<double> runs;
  for (int run = 0; run < 5; ++run) {
    const int64_t begin = now_ns();
    int64_t end = begin, calls = 0;
    for (; end - begin < 60'000'000; ++calls, end = now_ns()) body();
    runs.push_back(seconds_between(begin, end) / static_cast<double>(calls));
  }
  std::nth_element(runs.begin(), runs.begin() + 2, runs.end());
  return runs[2];
}

void fill_normal(std::vector<float>& x, uint64_t stream) {
  // The sum of four uniform numbers, near enough to a normal one, with a variance of one.
  for (size_t i = 0; i < x.size(); ++i) {
    const uint64_t bits = uniform_bits(1, stream, i);
    float sum = -2.0f;
    for (int part = 0; part < 64; part += 16)
      sum += static_cast<float>(bits >> part & 0xffff) * 0x1p-16f;
    x[i] = sum * 1.7320508f;
  }
}

double product_rate(ThreadTeam& team, int64_t (*probe)(int64_t)) {
  constexpr int64_t kRounds = 200'000;
  std::atomic<int64_t> operations{0};
  const double seconds = seconds_of([&] {
    operations = 0;
    team.parallel_for(team.num_threads(), [&](int64_t, int) { operations += probe(kRounds); });
  });
  return 1e-9 * static_cast<double>(operations.load()) / seconds;
}

// ahead: with requests for what is two pages ahead. Which is faster depends on the processor.
double read_rate(ThreadTeam& team, bool ahead) {
  tensor::Buffer memory(kUncachedBytes, "memory to read");
  std::memset(memory.data(), 1, static_cast<size_t>(kUncachedBytes));
  constexpr int64_t kTile = 1 << 20;
  std::atomic<uint64_t> total{0};
  const double seconds = seconds_of([&] {
    team.parallel_for(kUncachedBytes / kTile, [&](int64_t tile, int) {
      const auto* words = memory.as<uint64_t>() + tile * (kTile / 8);
      uint64_t sums[8] = {};
      for (int64_t i = 0; i < kTile / 8; i += 8) {
        if (ahead) __builtin_prefetch(words + i + 1024, 0, 2);
        for (int64_t k = 0; k < 8; ++k) sums[k] += words[i + k];
      }
      total += std::accumulate(sums, sums + 8, uint64_t{0});
    });
  });
  return 1e-9 * static_cast<double>(kUncachedBytes) / seconds;
}

// A linear whose panels hold small finite numbers in every format.
parallel::PackedLinear random_linear(tensor::DType dtype, int64_t num_rows, const InputMap& map) {
  tensor::RawTensor source;
  source.dtype = dtype;
  source.shape = {num_rows, map.inputs().size()};
  parallel::PackedLinear linear(source, {0, num_rows}, map);
  linear.allocate();
  auto* words = reinterpret_cast<uint64_t*>(linear.mutable_panels());
  for (int64_t i = 0; i < linear.num_bytes() / 8; ++i)
    words[i] =
        (uniform_bits(2, 0, static_cast<uint64_t>(i)) & 0x1f1f1f1f1f1f1f1f) + 0x1010101010101010;
  return linear;
}

InputMap units_of(int64_t num_inputs, int64_t unit) {
  std::vector<Range> units;
  for (int64_t begin = 0; begin < num_inputs; begin += unit)
    units.push_back({begin, std::min(num_inputs, begin + unit)});
  return InputMap::of_units(units);
}

// Random activations of every token.
struct Input {
  tensor::Buffer memory;
  Activations laid_out;

  Input(const kernels::KernelTable& table, const parallel::PackedLinear& linear,
        int64_t num_tokens) {
    const InputMap& map = linear.layout().inputs;
    const kernels::ActivationType type = linear.activation_type();
    memory = tensor::Buffer(kernels::activation_bytes(type, num_tokens, map), "activations");
    laid_out = kernels::place_activations(type, num_tokens, map, memory.data());
    std::vector<float> x(static_cast<size_t>(round_up(map.inputs().size(), 16)));
    for (int64_t token = 0; token < num_tokens; ++token) {
      fill_normal(x, static_cast<uint64_t>(token));
      table.prepare(map, x.data(), laid_out, token, {0, map.num_groups()});
    }
  }
};

}  // namespace

tensor::DType dtype_named(const std::string& name) {
  std::vector<std::string_view> known;
  for (int i = 0; i < tensor::kNumDTypes; ++i) {
    const auto dtype = static_cast<tensor::DType>(i);
    if (tensor::name(dtype) == name) return dtype;
    known.push_back(tensor::name(dtype));
  }
  throw Error(ErrorKind::kUsage, fmt::format("no weight type is called '{}'", name),
              fmt::format("there are {}", fmt::join(known, ", ")));
}

Bounds measure_bounds(const kernels::KernelTable& table, ThreadTeam& team) {
  return {std::max(read_rate(team, false), read_rate(team, true)),
          product_rate(team, table.probe_int8), product_rate(team, table.probe_bf16),
          product_rate(team, table.probe_f32)};
}

const std::vector<LayerShape>& layer_shapes() {
  static const std::vector<LayerShape> shapes = {
      {"llama-3.2-1b", 2048, 64, 32, 8, 8192, 256},
      {"qwen2.5-0.5b", 896, 64, 14, 2, 4864, 128},
      {"smollm2-135m", 576, 64, 9, 3, 1536, 128},
  };
  return shapes;
}

LinearRates measure_linears(const kernels::KernelTable& table, ThreadTeam& team,
                            const LayerShape& shape, tensor::DType dtype, int64_t num_tokens) {
  const InputMap whole = InputMap::whole(shape.hidden);
  const InputMap heads = units_of(shape.num_heads * shape.head_dim, shape.head_dim);
  const InputMap slices = units_of(shape.ffn, shape.ffn_unit);
  const int64_t kv_rows = shape.num_kv_heads * shape.head_dim;
  std::vector<parallel::ColumnLinear> columns;
  std::vector<parallel::RowLinear> outputs, downs;
  int64_t bytes = 0;
  while (bytes < kUncachedBytes) {
    for (const int64_t rows :
         {shape.num_heads * shape.head_dim, kv_rows, kv_rows, shape.ffn, shape.ffn}) {
      columns.push_back({random_linear(dtype, rows, whole), {}});
      bytes += columns.back().weight.num_bytes();
    }
    outputs.push_back({random_linear(dtype, shape.hidden, heads)});
    downs.push_back({random_linear(dtype, shape.hidden, slices)});
    bytes += outputs.back().weight.num_bytes() + downs.back().weight.num_bytes();
  }
  const Input column_input(table, columns[0].weight, num_tokens);
  const Input output_input(table, outputs[0].weight, num_tokens);
  const Input down_input(table, downs[0].weight, num_tokens);

  tensor::Buffer out(num_tokens * round_up(std::max(shape.ffn, shape.hidden), 16) * 4, "outputs");
  kernels::PartialSums sums{nullptr, num_tokens, shape.hidden};
  tensor::Buffer integers(num_tokens * sums.stride() * 8, "sums");
  sums.data = integers.as<int64_t>();
  parallel::MatmulPhase phase(table);
  const double column_s = seconds_of([&] {
    for (const parallel::ColumnLinear& linear : columns) {
      phase.add(linear, column_input.laid_out, out.as<float>());
      phase.run(team);
    }
  });
  const double row_s = seconds_of([&] {
    for (size_t i = 0; i < outputs.size(); ++i) {
      phase.add(outputs[i], output_input.laid_out, sums);
      phase.run(team);
      phase.add(downs[i], down_input.laid_out, sums);
      phase.run(team);
    }
  });
  const auto layers = static_cast<double>(outputs.size());
  const auto operations = [&](int64_t weights) {
    return 2e-9 * layers * static_cast<double>(weights * num_tokens);
  };
  LinearRates rates;
  rates.column_gops =
      operations(shape.hidden * (shape.num_heads * shape.head_dim + 2 * kv_rows + 2 * shape.ffn)) /
      column_s;
  rates.row_gops =
      operations(shape.hidden * (shape.num_heads * shape.head_dim + shape.ffn)) / row_s;
  rates.gb_per_s = 1e-9 * static_cast<double>(bytes) / (column_s + row_s);
  return rates;
}

AttentionRates measure_attention(const kernels::KernelTable& table, ThreadTeam& team,
                                 const LayerShape& shape, kernels::KvType type, int64_t num_tokens,
                                 int64_t depth) {
  constexpr int64_t kTokensPerTile = 32;
  const int64_t context = depth + num_tokens, group = shape.num_heads / shape.num_kv_heads;
  const kernels::KvLayout layout{type, shape.head_dim, 16};
  const int64_t num_blocks = ceil_div(context, layout.block_tokens);
  const int64_t block_stride = shape.num_kv_heads * layout.head_bytes();
  tensor::Buffer cache(num_blocks * block_stride, "cache");
  std::vector<int32_t> blocks(static_cast<size_t>(num_blocks));
  std::iota(blocks.begin(), blocks.end(), 0);
  std::vector<float> q(static_cast<size_t>(num_tokens * shape.num_heads * shape.head_dim));
  fill_normal(q, 0);
  std::vector<float> row(static_cast<size_t>(layout.padded_head_dim())), out(q.size());
  for (int64_t t = 0; t < context; ++t) {
    fill_normal(row, static_cast<uint64_t>(t + 1));
    for (int64_t head = 0; head < shape.num_kv_heads; ++head) {
      std::byte* place =
          cache.data() + t / layout.block_tokens * block_stride + head * layout.head_bytes();
      table.write_kv({row.data(), row.data(), layout, place, t % layout.block_tokens});
    }
  }
  const int64_t token_tiles = ceil_div(num_tokens, kTokensPerTile);
  const double seconds = seconds_of([&] {
    team.parallel_for(shape.num_kv_heads * token_tiles, [&](int64_t tile, int) {
      const int64_t kv = tile % shape.num_kv_heads,
                    first = tile / shape.num_kv_heads * kTokensPerTile;
      kernels::Attention op;
      op.q = q.data();
      op.out = out.data();
      op.q_stride = op.out_stride = shape.num_heads * shape.head_dim;
      op.tokens = {first, std::min(num_tokens, first + kTokensPerTile)};
      op.heads = {kv * group, (kv + 1) * group};
      op.kv_head = kv;
      op.first_position = depth;
      op.scale = 0.125f;
      op.layout = layout;
      op.cache = cache.data();
      op.block_stride = block_stride;
      op.block_table = blocks.data();
      table.attention(op);
    });
  });
  // Token i sees depth + i + 1 positions.
  const double seen = static_cast<double>(num_tokens) *
                      (static_cast<double>(depth) + 0.5 * static_cast<double>(num_tokens + 1));
  const auto dims = static_cast<double>(shape.num_heads * shape.head_dim);
  const double bytes = static_cast<double>(cache.size());
  return {4e-9 * seen * dims / seconds, 1e-9 * bytes / seconds};
}

}  // namespace weft::cli
