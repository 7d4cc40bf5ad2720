#include "engine/packing.h"

#include <filesystem>
#include <unordered_set>
#include <utility>

#include "base/cpu.h"
#include "base/error.h"
#include "checkpoint/packed_checkpoint.h"
#include "checkpoint/packed_writer.h"
#include "engine/model_source.h"
#include "engine/split_report.h"
#include "model/weights.h"

namespace weft::engine {
namespace {

namespace fs = std::filesystem;

// Panels are made in pieces of about this size by all threads, then written by one.
constexpr int64_t kPieceBytes = int64_t{16} << 20;

parallel::TopologyRequest request_of(const checkpoint::PackedSplit& split) {
  parallel::TopologyRequest request;
  request.tensor_parallel_size = static_cast<int>(split.tensor_parallel_size);
  request.pipeline_parallel = split.pipeline_parallel;
  request.tp_weights = split.tp_weights;
  request.stages = split.stages;
  return request;
}

// Layers that were balanced are written as they came out: what costs a balance weighs, in this
// version or a later one, does not move them.
checkpoint::PackedSplit split_of(const parallel::TopologyRequest& request,
                                 const parallel::Topology& topology) {
  std::string layers;
  if (request.stages.empty() && topology.num_stages() > 1) {
    for (const parallel::Stage& stage : topology.stages())
      layers += fmt::format("{}{}", layers.empty() ? "" : ",", stage.layers.size());
  }
  return {request.tensor_parallel_size, layers, request.tp_weights, request.stages};
}

bool is_empty(const parallel::TopologyRequest& request) {
  return request.tensor_parallel_size == 0 && request.pipeline_parallel.empty() &&
         request.tp_weights.empty() && request.stages.empty() && !request.balance;
}

// A balance alone is asked of the ranks and the number of stages that the packed model has.
parallel::TopologyRequest completed(parallel::TopologyRequest asked,
                                    const checkpoint::PackedSplit& split,
                                    const parallel::Topology& own) {
  const std::optional<parallel::PipelineBalance> balance = std::exchange(asked.balance, {});
  if (is_empty(asked) && split.stages.empty()) {
    asked = request_of(split);
    asked.pipeline_parallel = std::to_string(own.num_stages());
  }
  asked.balance = balance;
  return asked;
}

bool same_cut(const parallel::Topology& a, const parallel::Topology& b) {
  if (a.num_stages() != b.num_stages()) return false;
  for (size_t s = 0; s < a.stages().size(); ++s) {
    if (a.stages()[s].layers != b.stages()[s].layers) return false;
    if (a.stages()[s].weights != b.stages()[s].weights) return false;
  }
  return true;
}

// "tp=3 pp=2" → "--tp 3 --pp 2".
std::string as_options(const std::string& description) {
  std::string text = "--" + description;
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '=')
      text[at] = ' ';
    else if (text[at] == ' ')
      text.replace(at, 1, " --"), at += 2;
  }
  return text;
}

// "models/Qwen2.5.Q4_0.gguf" and "tp=3 pp=2" → "Qwen2.5.Q4_0.tp3-pp2.packed".
fs::path default_folder(const fs::path& model, const std::string& description) {
  const fs::path whole = fs::absolute(model).lexically_normal();
  const fs::path named = whole.has_filename() ? whole : whole.parent_path();
  std::string split;
  for (const char c : description) {
    if (c == ' ')
      split += '-';
    else if (c != '=')
      split += c;
  }
  const bool is_file = named.extension() == ".gguf" || named.extension() == ".safetensors";
  return (is_file ? named.stem() : named.filename()).string() + "." + split + ".packed";
}

// What is written: the weights of every rank as planned, before any of it is touched.
struct Plan {
  std::vector<model::StageWeights> stages;
  checkpoint::Manifest manifest;
  std::vector<const tensor::RawTensor*> vectors;
  int64_t num_bytes = 0;  // of all panels
};

// Every tensor of one row goes into the vectors' file; of the others, those that a rank computes
// with. What no rank needs is left out.
void sort_tensors(const checkpoint::Checkpoint& file,
                  const std::unordered_set<std::string_view>& packed, Plan& plan) {
  for (const tensor::RawTensor& tensor : file.tensors()) {
    if (packed.contains(tensor.name)) {
      plan.manifest.matrices.push_back(tensor);
    } else if (tensor.num_rows() == 1) {
      plan.vectors.push_back(&tensor);
    }
  }
}

Plan plan_packing(const ModelSource& source, const std::vector<model::StageSplit>& splits) {
  Plan plan;
  std::unordered_set<std::string_view> packed;
  for (const model::StageSplit& split : splits) {
    plan.stages.emplace_back(*source.checkpoint, source.config, split,
                             Range{0, static_cast<int64_t>(split.shards.size())});
    for (const model::ShardWeights& shard : plan.stages.back().shards()) {
      plan.num_bytes += shard.num_bytes();
      for (const parallel::PackedLinear* linear : shard.linears())
        packed.insert(linear->source().name);
    }
  }
  sort_tensors(*source.checkpoint, packed, plan);
  plan.manifest.model = source.config.name;
  plan.manifest.source = source.checkpoint->path().filename().string();
  plan.manifest.container = source.checkpoint->format();
  return plan;
}

// Makes panels piece by piece and hands them to the writer.
class Packer {
 public:
  Packer(checkpoint::PackedWriter& writer, int num_threads, int64_t total_bytes,
         const OnPack& on_pack)
      : writer_(writer), team_(num_threads), total_bytes_(total_bytes), on_pack_(on_pack) {}

  // False where the work was stopped.
  bool write(const model::ShardWeights& shard) {
    std::vector<checkpoint::PanelEntry> entries;
    for (const parallel::PackedLinear* linear : shard.linears())
      entries.push_back(model::panel_entry(*linear));
    writer_.begin_rank(std::move(entries));
    for (const parallel::PackedLinear* linear : shard.linears()) {
      if (!write(*linear)) return false;
    }
    writer_.end_rank();
    return true;
  }

 private:
  bool write(const parallel::PackedLinear& linear) {
    const int64_t stride = linear.layout().panel_bytes(), count = linear.layout().num_panels();
    const int64_t step = std::max<int64_t>(1, kPieceBytes / stride);
    for (int64_t begin = 0; begin < count; begin += step) {
      const Range piece{begin, std::min(count, begin + step)};
      if (piece_.size() < piece.size() * stride)
        piece_ = tensor::Buffer(piece.size() * stride, "panels that are packed");
      team_.parallel_for(piece.size(), [&](int64_t panel, int) {
        const int64_t p = piece.begin + panel;
        parallel::pack(linear, {p, p + 1}, piece_.data() - piece.begin * stride);
      });
      writer_.append({piece_.data(), static_cast<size_t>(piece.size() * stride)});
      done_bytes_ += piece.size() * stride;
      if (on_pack_ && !on_pack_(done_bytes_, total_bytes_)) return false;
    }
    return true;
  }

  checkpoint::PackedWriter& writer_;
  ThreadTeam team_;
  int64_t total_bytes_, done_bytes_ = 0;
  const OnPack& on_pack_;
  tensor::Buffer piece_;
};

}  // namespace

parallel::Topology packed_topology(const ModelSource& source, const EngineOptions& options) {
  const checkpoint::PackedModel& packed = *source.checkpoint->packed();
  const std::string file = source.checkpoint->path().string();
  parallel::Topology own;
  try {
    own = model::resolve_topology(source.config, request_of(packed.manifest.split));
  } catch (const Error& error) {
    throw Error(ErrorKind::kModel,
                fmt::format("{}: the split cannot be: {}", file, error.summary()),
                "the file is damaged", "pack the model again: weft pack MODEL");
  }
  if (own.num_ranks() != static_cast<int>(packed.ranks.size()))
    throw Error(ErrorKind::kModel,
                fmt::format("{}: lists {} ranks, its split {} has {}", file, packed.ranks.size(),
                            own.description(), own.num_ranks()),
                "the file is damaged", "pack the model again: weft pack MODEL");
  if (is_empty(options.topology)) return own;
  const parallel::Topology asked = model::resolve_topology(
      source.config, completed(options.topology, packed.manifest.split, own));
  if (!same_cut(own, asked))
    throw Error(ErrorKind::kUsage,
                fmt::format("{} was packed for {}, not for {}", options.model_path,
                            own.description(), asked.description()),
                "panels that are mapped as they are serve one split",
                fmt::format("leave the split out, or pack {} again: weft pack MODEL {}",
                            packed.manifest.source.empty() ? "it" : packed.manifest.source,
                            as_options(asked.description())));
  return asked;
}

PackReport pack(const PackRequest& request, const OnPack& on_pack) {
  const ModelSource source = open_model(request.engine.model_path);
  if (source.checkpoint->packed() != nullptr)
    throw Error(ErrorKind::kUsage, fmt::format("{} is packed already", request.engine.model_path),
                "panels of one split cannot be cut for another",
                "pack the model that it came from");
  const parallel::Topology topology = resolve_topology(source, request.engine);
  const std::vector<model::StageSplit> splits = model::split_model(source.config, topology);
  Plan plan = plan_packing(source, splits);
  plan.manifest.split = split_of(request.engine.topology, topology);

  PackReport report;
  report.topology = topology.description();
  report.num_ranks = topology.num_ranks();
  report.model_bytes = source.checkpoint->file_bytes();
  report.packed_bytes = plan.num_bytes;
  const fs::path folder = request.folder.empty()
                              ? default_folder(request.engine.model_path, report.topology)
                              : fs::path(request.folder);
  report.folder = folder.string();
  checkpoint::PackedWriter writer(folder, request.replace, plan.num_bytes);
  writer.write_rest(*source.checkpoint, plan.vectors);
  const int threads = request.engine.threads_per_rank;
  Packer packer(writer, threads > 0 ? threads : static_cast<int>(usable_cpus().size()),
                plan.num_bytes, on_pack);
  for (const model::StageWeights& stage : plan.stages) {
    for (const model::ShardWeights& shard : stage.shards()) {
      report.stopped = report.stopped || !packer.write(shard);
      if (report.stopped) return report;
    }
  }
  writer.finish(std::move(plan.manifest));
  return report;
}

}  // namespace weft::engine
