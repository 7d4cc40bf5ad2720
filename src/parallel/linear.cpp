#include "parallel/linear.h"

#include <algorithm>

#include "base/error.h"

namespace weft::parallel {
namespace {

// Panels that one loading tile packs: about 256 KiB of output, so that tiles are many and each
// amortises its hand-out.
int64_t panels_per_load_tile(const tensor::PanelLayout& layout) {
  return std::max<int64_t>(1, (256 << 10) / std::max<int64_t>(1, layout.panel_bytes()));
}

// Bytes of the file that the layout's groups are read from.
int64_t source_bytes(const PackedLinear& linear) {
  const tensor::DTypeInfo& type = tensor::info(linear.source().dtype);
  return linear.layout().num_rows * linear.layout().inputs.inputs().size() * type.block_bytes /
         type.block_elements;
}

}  // namespace

PackedLinear::PackedLinear(const tensor::RawTensor& weight, Range rows, tensor::InputMap inputs)
    : source_(weight),
      rows_(rows),
      layout_(tensor::panel_format(weight.dtype), rows.size(), std::move(inputs)) {
  WEFT_CHECK_LE(rows.end, weight.num_rows());
  WEFT_CHECK_LE(layout_.inputs.inputs().end, weight.num_cols());
}

void PackedLinear::allocate() {
  if (!empty()) panels_ = tensor::Buffer(layout_.num_bytes(), "weights");
}

void WeightLoader::add(PackedLinear& linear) {
  if (linear.empty()) return;
  linears_.push_back(&linear);
  total_bytes_ += source_bytes(linear);
}

void WeightLoader::run(ThreadTeam& team, const std::function<void(int64_t)>& on_bytes) {
  for (PackedLinear* linear : linears_) {
    linear->allocate();
    const tensor::PanelLayout& layout = linear->layout();
    const tensor::RawTensor& source = linear->source();
    const int64_t stride = source.row_stride_bytes();
    const std::byte* rows = source.data + linear->rows().begin * stride;
    const int64_t step = panels_per_load_tile(layout);
    const int64_t num_tiles = ceil_div(layout.num_panels(), step);
    const int64_t bytes = source_bytes(*linear);
    team.parallel_for(num_tiles, [&](int64_t tile, int) {
      const Range panels{tile * step, std::min(layout.num_panels(), (tile + 1) * step)};
      kernels::pack_panels(layout, source.dtype, rows, stride, source.num_cols(), panels,
                           linear->mutable_panels());
      if (on_bytes) on_bytes(equal_part({0, bytes}, tile, num_tiles).size());
    });
  }
  linears_.clear();
}

std::vector<float> load_vector(const tensor::RawTensor& tensor, int64_t expected_size,
                               Range range) {
  const int64_t size = tensor.num_rows() * tensor.num_cols();
  if (size != expected_size)
    throw Error(ErrorKind::kModel, fmt::format("{} holds {} elements where {} are expected",
                                               tensor.name, size, expected_size));
  std::vector<float> all(static_cast<size_t>(size));
  kernels::decode_row(tensor.dtype, tensor.data, size, all.data());
  std::vector<float> out(static_cast<size_t>(round_up(range.size(), 16)), 0.0f);
  std::copy(all.begin() + range.begin, all.begin() + range.end, out.begin());
  return out;
}

void MatmulPhase::add(const ColumnLinear& linear, const kernels::Activations& input, float* out) {
  if (linear.weight.empty()) return;
  Job job;
  job.op = {&linear.weight.layout(), linear.weight.panels(), input};
  job.bias = linear.bias.empty() ? nullptr : linear.bias.data();
  job.out = out;
  job.out_stride = linear.weight.padded_rows();
  jobs_.push_back(job);
}

void MatmulPhase::add(const RowLinear& linear, const kernels::Activations& input,
                      const kernels::PartialSums& out) {
  if (linear.weight.empty()) return;
  Job job;
  job.op = {&linear.weight.layout(), linear.weight.panels(), input};
  job.partial = out;
  jobs_.push_back(job);
}

void MatmulPhase::run(ThreadTeam& team) {
  int64_t num_tiles = 0;
  for (Job& job : jobs_) {
    job.tiling =
        kernels::choose_tiling(*job.op.layout, job.op.input.num_tokens, team.num_threads());
    job.first_tile = num_tiles;
    num_tiles += job.tiling.num_tiles();
  }
  team.parallel_for(num_tiles, [&](int64_t tile, int) {
    const auto after =
        std::upper_bound(jobs_.begin(), jobs_.end(), tile,
                         [](int64_t wanted, const Job& job) { return wanted < job.first_tile; });
    const Job& job = *std::prev(after);
    const Range panels = job.tiling.panels(tile - job.first_tile);
    const Range tokens = job.tiling.tokens(tile - job.first_tile);
    if (job.out != nullptr) {
      table_.matmul(job.op, panels, tokens, job.bias, job.out, job.out_stride);
    } else {
      table_.matmul_exact(job.op, panels, tokens, job.partial);
    }
  });
  jobs_.clear();
}

ExactReduce::ExactReduce(comm::Communicator& communicator, int num_local_shards, int64_t max_tokens,
                         int64_t num_rows)
    : communicator_(communicator),
      num_shards_(num_local_shards),
      max_tokens_(max_tokens),
      num_rows_(num_rows) {
  const kernels::PartialSums one{nullptr, max_tokens, num_rows};
  buffers_ = tensor::Buffer(2 * num_shards_ * max_tokens * one.stride() * 8, "partial sums");
  parts_.reserve(static_cast<size_t>(num_shards_));
}

kernels::PartialSums ExactReduce::partial(int shard, int64_t num_tokens) {
  kernels::PartialSums sums{nullptr, num_tokens, num_rows_};
  WEFT_CHECK_LE(num_tokens, max_tokens_);
  sums.data =
      buffers_.as<int64_t>() + (parity_ * num_shards_ + shard) * max_tokens_ * sums.stride();
  return sums;
}

std::span<const int64_t* const> ExactReduce::reduce(int64_t num_tokens, const char* phase) {
  parts_.clear();
  for (int shard = 0; shard < num_shards_; ++shard)
    parts_.push_back(partial(shard, num_tokens).data);
  const kernels::PartialSums first = partial(0, num_tokens);
  parity_ ^= 1;
  if (communicator_.size() == 1) return parts_;

  // A worker of several shards holds the whole stage (engine/placement.h).
  WEFT_CHECK_EQ(num_shards_, 1);
  if (communicator_.lends_views()) {
    const auto views =
        communicator_.exchange(reinterpret_cast<const std::byte*>(first.data), phase);
    parts_.clear();
    for (const std::byte* view : views) parts_.push_back(reinterpret_cast<const int64_t*>(view));
    return parts_;
  }
  communicator_.all_reduce({first.data, static_cast<size_t>(num_tokens * first.stride())}, phase);
  parts_.resize(1);
  return parts_;
}

int64_t ExactReduce::bytes(int64_t num_tokens) const {
  return num_tokens * kernels::PartialSums{nullptr, num_tokens, num_rows_}.stride() * 8;
}

}  // namespace weft::parallel
