#include "cli/machine_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/counted.h"
#include "base/cpu.h"
#include "cli/quantity.h"
#include "cli/version.h"

namespace weft::cli {
namespace {

using Json = nlohmann::ordered_json;

int num_threads(const engine::Engine& engine, size_t num_cpus) {
  const auto ranks = static_cast<int>(engine.split().ranks.size());
  return std::clamp(ranks * engine.threads_per_rank(), 1, static_cast<int>(num_cpus));
}

}  // namespace

double Products::giga_operations(int64_t layer_tokens, int64_t head_tokens) const {
  return 2e-9 * (layer_parameters * static_cast<double>(layer_tokens) +
                 head_parameters * static_cast<double>(head_tokens));
}

Products products_of(const engine::ModelReport& model) {
  const auto table = static_cast<double>(model.vocab_size) * static_cast<double>(model.hidden_size);
  const double tables = model.tied_embeddings ? table : 2 * table;
  return {std::max(0.0, static_cast<double>(model.num_parameters) - tables), table};
}

Peak peak_of(const engine::ModelReport& model, const Bounds& bounds) {
  const auto most =
      std::max_element(model.types.begin(), model.types.end(),
                       [](const auto& a, const auto& b) { return a.num_bytes < b.num_bytes; });
  const std::string dtype = most == model.types.end() ? "" : most->dtype;
  switch (kernels::activation_type(tensor::panel_format(dtype_named(dtype)))) {
    case kernels::ActivationType::kInt8:
      return {"int8", bounds.int8_gops};
    case kernels::ActivationType::kBF16:
      return {"bf16", bounds.bf16_gflops};
    case kernels::ActivationType::kF32:
      break;
  }
  return {"f32", bounds.f32_gflops};
}

MachineReport::MachineReport(const engine::Engine& engine, const std::vector<int>& cpus)
    : num_cpus_(static_cast<int>(cpus.size())),
      num_threads_(num_threads(engine, cpus.size())),
      isa_(engine.isa()) {
  prepare_this_thread();
  ThreadTeam team(num_threads_, {cpus.begin(), cpus.begin() + num_threads_});
  team.pin_leader();
  bounds_ = measure_bounds(kernels::choose_table(), team);
}

void MachineReport::add_to(Json* object) const {
  (*object)["machine"] = {{"processor", describe_cpu().model}, {"cpus", num_cpus_}};
  (*object)["version"] = version();
  (*object)["commit"] = commit();
  (*object)["isa"] = isa_;
  (*object)["bounds"] = {{"threads", num_threads_},
                         {"read_gb_per_s", bounds_.read_gb_per_s},
                         {"int8_gops", bounds_.int8_gops},
                         {"bf16_gflops", bounds_.bf16_gflops},
                         {"f32_gflops", bounds_.f32_gflops}};
}

void MachineReport::add_share(const engine::ModelReport& model, int64_t layer_tokens,
                              int64_t head_tokens, double seconds, Json* object) const {
  const Products products = products_of(model);
  const Peak peak = peak_of(model, bounds_);
  const double gops = per_second(products.giga_operations(layer_tokens, head_tokens), seconds);
  (*object)["layer_parameters"] = products.layer_parameters;
  (*object)["head_parameters"] = products.head_parameters;
  (*object)["gops"] = gops;
  (*object)["peak"] = peak.name;
  (*object)["share_of_peak"] = peak.gops > 0 ? Json(gops / peak.gops) : Json(nullptr);
}

std::string MachineReport::bounds_line() const {
  return fmt::format(
      "{}, {}: int8 {:.0f} GOP/s, BF16 {:.0f}, FP32 {:.0f} GFLOP/s, reads {:.1f} GB/s",
      describe_cpu().model, counted(num_threads_, "thread"), bounds_.int8_gops, bounds_.bf16_gflops,
      bounds_.f32_gflops, bounds_.read_gb_per_s);
}

std::vector<std::string> MachineReport::lines(const Json& object) const {
  const std::string share =
      object["share_of_peak"].is_null()
          ? "-"
          : fmt::format("{:.1f} %", 100.0 * object["share_of_peak"].get<double>());
  return {bounds_line(),
          fmt::format("{:.1f} GOP/s of the model's products: {} of the {} peak",
                      object["gops"].get<double>(), share, object["peak"].get<std::string>())};
}

}  // namespace weft::cli
