// Linears cut over ranks (Megatron-LM, arXiv 1909.08053): a ColumnLinear holds some rows of the
// weight matrix and needs no communication; a RowLinear holds some units of its input and leaves
// partial sums that ExactReduce adds over the ranks (parallel/sequence.h). Plain sizes: nothing
// here knows a model.
//
// Thread rule: loading and calls are made by the leader of a team; the tiles run on all of it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/range.h"
#include "base/thread_team.h"
#include "kernels/kernels.h"
#include "tensor/buffer.h"
#include "tensor/panel.h"
#include "tensor/raw_tensor.h"

namespace weft::parallel {

// One rank's part of one weight matrix as panels: in memory that the loader fills from the file's
// rows, or in a mapped panel file as they are. Empty (no rows or no units) for an idle rank: a call
// is then no work.
class PackedLinear {
 public:
  PackedLinear() = default;
  PackedLinear(const tensor::RawTensor& weight, Range rows, tensor::InputMap inputs);

  const tensor::PanelLayout& layout() const { return layout_; }
  bool empty() const { return layout_.num_rows == 0 || layout_.inputs.num_groups() == 0; }
  kernels::ActivationType activation_type() const {
    return kernels::activation_type(layout_.format);
  }
  int64_t num_bytes() const { return empty() ? 0 : layout_.num_bytes(); }
  // 0 before the panels have a place.
  int64_t loaded_bytes() const { return panels_ == nullptr ? 0 : num_bytes(); }
  const std::byte* panels() const { return panels_; }
  // Stride of a FP32 output row: whole panels.
  int64_t padded_rows() const { return layout_.num_panels() * tensor::kPanelRows; }

  // Where the panels are, num_bytes() long, until the linear is gone: memory to be filled by a
  // WeightLoader, or panels that are there already.
  void place(std::byte* memory) { panels_ = unpacked_ = memory; }
  void map(const std::byte* panels) { panels_ = panels; }
  bool is_mapped() const { return panels_ != nullptr && unpacked_ == nullptr; }
  // Places them in memory of its own.
  void allocate();
  std::byte* mutable_panels() { return unpacked_; }
  const tensor::RawTensor& source() const { return source_; }
  Range rows() const { return rows_; }

 private:
  tensor::RawTensor source_;
  Range rows_;
  tensor::PanelLayout layout_;
  const std::byte* panels_ = nullptr;
  std::byte* unpacked_ = nullptr;  // the same, where this process fills them
  tensor::Buffer memory_;
};

// Rows of the matrix: Q, K, V, gate, up, LM head. Bias is added by the kernel.
struct ColumnLinear {
  PackedLinear weight;
  std::vector<float> bias;  // [padded rows] or empty
};

// Units of the input: attention output, FFN down. A bias is added after the reduction.
struct RowLinear {
  PackedLinear weight;
};

// Bytes of the file that a linear is made from: of its rows, or of its mapped panels.
int64_t source_bytes(const PackedLinear& linear);
// Fills panels [panels.begin, panels.end) at out + p * panel_bytes() from the source's rows.
void pack(const PackedLinear& linear, Range panels, std::byte* out);

// Makes the panels of many linears ready with all threads of a team: repacks them, or has the pages
// of mapped ones entered into this process's page table, so that the first token does not fault.
class WeightLoader {
 public:
  // The linear has its place and stays where it is until `run` returns.
  void add(PackedLinear& linear);
  // on_bytes: called from any thread with the file bytes that a tile has read.
  void run(ThreadTeam& team, const std::function<void(int64_t)>& on_bytes);

 private:
  // Tiles [first, next linear's first) are this linear's.
  struct Job {
    PackedLinear* linear = nullptr;
    int64_t first_tile = 0, num_tiles = 0, panels_per_tile = 1;
  };
  static void run_tile(const Job& job, int64_t tile);

  std::vector<Job> jobs_;
  int64_t num_tiles_ = 0;
};

// Sets some tokens' sums and counts to zero.
void clear(const kernels::PartialSums& sums, Range tokens);

// A one-dimensional tensor (norm weight, bias), or a range of it, as FP32 padded with zeros to a
// multiple of 16. Checks its length; throws Error(kModel) naming the tensor.
std::vector<float> load_vector(const tensor::RawTensor& tensor, int64_t expected_size, Range range);

// A shard's gate and up projections and what follows them row by row: gate = act(gate) * up, laid
// out as the input of the down projection.
struct GatedPart {
  const ColumnLinear* gate = nullptr;
  const ColumnLinear* up = nullptr;
  kernels::Activations gate_input, up_input;
  float *gate_out = nullptr, *up_out = nullptr;  // [num_tokens, gate's padded_rows()]
  void (*activate)(float* gate, const float* up, int64_t n) = nullptr;
  const RowLinear* down = nullptr;
  kernels::Activations down_input;
};

// One phase of matrix work: the tiles of several linears (of several shards) in one parallel_for.
class MatmulPhase {
 public:
  explicit MatmulPhase(const kernels::KernelTable& table) : table_(table) { jobs_.reserve(64); }
  // out: [num_tokens, weight.padded_rows()] FP32.
  void add(const ColumnLinear& linear, const kernels::Activations& input, float* out);
  // Overwrites `out`; several in a row with the same one are added up there, tile by tile.
  void add(const RowLinear& linear, const kernels::Activations& input,
           const kernels::PartialSums& out);
  // The down projection's units must be whole groups, as ffn_units makes them.
  void add(const GatedPart& part);
  bool empty() const { return jobs_.empty(); }
  // Runs the jobs for all tokens and forgets them.
  void run(ThreadTeam& team);
  // Runs them for some tokens.
  void run(ThreadTeam& team, Range tokens);
  void forget() { jobs_.clear(); }

 private:
  struct Job {
    kernels::Matmul op;
    const float* bias = nullptr;
    float* out = nullptr;  // column-parallel
    int64_t out_stride = 0;
    kernels::PartialSums sums;  // row-parallel
    GatedPart gated;            // where it has a gate
    kernels::Tiling tiling;     // of the phase: tiles from first_tile on; none where it goes with
    int64_t first_tile = 0;     // the job before it
    bool goes_with_last = false;
  };
  void run_tile(int64_t tile) const;
  void run_gated(const GatedPart& part, Range panels, Range tokens) const;

  const kernels::KernelTable& table_;
  std::vector<Job> jobs_;
  int64_t first_token_ = 0;  // of the run
};

}  // namespace weft::parallel
