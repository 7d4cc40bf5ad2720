#include "parallel/linear.h"

#include <algorithm>

#include "base/error.h"
#include "base/mapped_file.h"

namespace weft::parallel {
namespace {

// Panels of one loading tile: about 256 KiB of output, so that tiles are many and each amortises
// its hand-out.
int64_t panels_per_load_tile(const tensor::PanelLayout& layout) {
  return std::max<int64_t>(1, (256 << 10) / std::max<int64_t>(1, layout.panel_bytes()));
}

// The pages of the rows that a tile repacks, all at once: a fault for every 16 of them costs more,
// and what a processor fetches ahead is dropped where there is no page. Of rows whose other part is
// another rank's, the pages come as they are read.
void enter_rows(const PackedLinear& linear, Range panels) {
  const tensor::RawTensor& source = linear.source();
  if (linear.layout().inputs.inputs() != Range{0, source.num_cols()}) return;
  const Range rows =
      Range{panels.begin * tensor::kPanelRows, panels.end * tensor::kPanelRows}.intersect(
          {0, linear.layout().num_rows});
  const int64_t stride = source.row_stride_bytes();
  enter_pages({source.data + (linear.rows().begin + rows.begin) * stride,
               static_cast<size_t>(rows.size() * stride)});
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
  if (empty()) return;
  memory_ = tensor::Buffer(layout_.num_bytes(), "weights");
  place(memory_.data());
}

int64_t source_bytes(const PackedLinear& linear) {
  if (linear.is_mapped()) return linear.num_bytes();
  const tensor::DTypeInfo& type = tensor::info(linear.source().dtype);
  return linear.layout().num_rows * linear.layout().inputs.inputs().size() * type.block_bytes /
         type.block_elements;
}

void pack(const PackedLinear& linear, Range panels, std::byte* out) {
  const tensor::RawTensor& source = linear.source();
  const int64_t stride = source.row_stride_bytes();
  kernels::pack_panels(linear.layout(), source.dtype, source.data + linear.rows().begin * stride,
                       stride, source.num_cols(), panels, out);
}

void WeightLoader::add(PackedLinear& linear) {
  if (linear.empty()) return;
  WEFT_CHECK(linear.panels() != nullptr, "{} has no place", linear.source().name);
  const int64_t step = panels_per_load_tile(linear.layout());
  jobs_.push_back({&linear, num_tiles_, ceil_div(linear.layout().num_panels(), step), step});
  num_tiles_ += jobs_.back().num_tiles;
}

void WeightLoader::run_tile(const Job& job, int64_t tile) {
  PackedLinear& linear = *job.linear;
  const Range all{0, linear.layout().num_panels()};
  const Range panels =
      all.intersect({tile * job.panels_per_tile, (tile + 1) * job.panels_per_tile});
  if (!linear.is_mapped()) {
    enter_rows(linear, panels);
    return pack(linear, panels, linear.mutable_panels());
  }
  const int64_t stride = linear.layout().panel_bytes();
  enter_pages(
      {linear.panels() + panels.begin * stride, static_cast<size_t>(panels.size() * stride)});
}

// One phase over all linears: no thread waits at the end of each.
void WeightLoader::run(ThreadTeam& team, const std::function<void(int64_t)>& on_bytes) {
  team.parallel_for(num_tiles_, [&](int64_t tile, int) {
    const auto after = std::upper_bound(jobs_.begin(), jobs_.end(), tile,
                                        [](int64_t t, const Job& j) { return t < j.first_tile; });
    const Job& job = *(after - 1);
    run_tile(job, tile - job.first_tile);
    if (!on_bytes) return;
    const Range bytes{0, source_bytes(*job.linear)};
    on_bytes(equal_part(bytes, tile - job.first_tile, job.num_tiles).size());
  });
  jobs_.clear();
  num_tiles_ = 0;
}

std::vector<float> load_vector(const tensor::RawTensor& tensor, int64_t expected_size,
                               Range range) {
  const int64_t size = tensor.num_rows() * tensor.num_cols();
  if (tensor.data == nullptr)
    throw Error(ErrorKind::kModel,
                fmt::format("{} is a vector, but the packed model has panels of it", tensor.name),
                "its manifest is damaged", "pack the model again: weft pack MODEL");
  if (size != expected_size)
    throw Error(ErrorKind::kModel, fmt::format("{} holds {} elements where {} are expected",
                                               tensor.name, size, expected_size));
  std::vector<float> all(static_cast<size_t>(size));
  kernels::decode_row(tensor.dtype, tensor.data, size, all.data());
  std::vector<float> out(static_cast<size_t>(round_up(range.size(), 16)), 0.0f);
  std::copy(all.begin() + range.begin, all.begin() + range.end, out.begin());
  return out;
}

void clear(const kernels::PartialSums& sums, Range tokens) {
  std::fill_n(sums.data + tokens.begin * sums.stride(), tokens.size() * sums.stride(), int64_t{0});
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
  job.sums = out;
  job.goes_with_last = !jobs_.empty() && jobs_.back().sums.data == out.data;
  job.sums.accumulate = job.goes_with_last;
  jobs_.push_back(job);
}

void MatmulPhase::add(const GatedPart& part) {
  if (part.gate->weight.empty()) return;
  Job job;
  job.op = {&part.gate->weight.layout(), part.gate->weight.panels(), part.gate_input};
  job.gated = part;
  jobs_.push_back(job);
}

void MatmulPhase::run(ThreadTeam& team) {
  if (!empty()) run(team, {0, jobs_.front().op.input.num_tokens});
  forget();
}

void MatmulPhase::run(ThreadTeam& team, Range tokens) {
  first_token_ = tokens.begin;
  int64_t num_tiles = 0;
  for (Job& job : jobs_) {
    job.first_tile = num_tiles;
    if (job.goes_with_last) continue;
    job.tiling = kernels::choose_tiling(*job.op.layout, tokens.size(), team.num_threads());
    num_tiles += job.tiling.num_tiles();
  }
  team.parallel_for(num_tiles, [&](int64_t tile, int) { run_tile(tile); });
}

void MatmulPhase::run_tile(int64_t tile) const {
  // The last job that begins at or before the tile and has tiles of its own.
  auto job = std::prev(std::upper_bound(
      jobs_.begin(), jobs_.end(), tile,
      [](int64_t wanted, const Job& candidate) { return wanted < candidate.first_tile; }));
  const Range panels = job->tiling.panels(tile - job->first_tile);
  const Range of_run = job->tiling.tokens(tile - job->first_tile);
  const Range tokens{first_token_ + of_run.begin, first_token_ + of_run.end};
  if (job->gated.gate != nullptr) return run_gated(job->gated, panels, tokens);
  if (job->out != nullptr) {
    return table_.matmul(job->op, panels, tokens, job->bias, job->out, job->out_stride);
  }
  table_.matmul_exact(job->op, panels, tokens, job->sums);
  for (++job; job != jobs_.end() && job->goes_with_last; ++job)
    table_.matmul_exact(job->op, panels, tokens, job->sums);
}

void MatmulPhase::run_gated(const GatedPart& part, Range panels, Range tokens) const {
  const int64_t stride = part.gate->weight.padded_rows();
  const auto project = [&](const ColumnLinear& linear, const kernels::Activations& input,
                           float* out) {
    const float* bias = linear.bias.empty() ? nullptr : linear.bias.data();
    table_.matmul({&linear.weight.layout(), linear.weight.panels(), input}, panels, tokens, bias,
                  out, stride);
  };
  project(*part.gate, part.gate_input, part.gate_out);
  project(*part.up, part.up_input, part.up_out);
  const tensor::InputMap& map = part.down->weight.layout().inputs;
  const Range rows =
      Range{panels.begin * tensor::kPanelRows, panels.end * tensor::kPanelRows}.intersect(
          {0, part.gate->weight.layout().num_rows});
  const Range groups{rows.begin / tensor::kGroupInputs, ceil_div(rows.end, tensor::kGroupInputs)};
  for (int64_t token = tokens.begin; token < tokens.end; ++token) {
    float* gate = part.gate_out + token * stride;
    part.activate(gate + rows.begin, part.up_out + token * stride + rows.begin, rows.size());
    table_.prepare(map, gate, part.down_input, token, groups);
  }
}

}  // namespace weft::parallel
