// Where a bench ran, what that machine can do at most, and how much of it was reached.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/kernel_bench.h"
#include "engine/engine.h"

namespace weft::cli {

// Products that a workload needed. Embeddings are looked up, not multiplied; the head's rows are
// multiplied for generated tokens alone.
struct Products {
  double layer_parameters = 0, head_parameters = 0;
  // 2 x parameters x tokens, in 1e9.
  double giga_operations(int64_t layer_tokens, int64_t head_tokens) const;
};
Products products_of(const engine::ModelReport& model);

// The peak that a model's weights stand against: that of the type which most of them have.
struct Peak {
  std::string name;  // "int8", "bf16" or "f32"
  double gops = 0;
};
Peak peak_of(const engine::ModelReport& model, const Bounds& bounds);

class MachineReport {
 public:
  // Probes the machine, with as many threads as the engine has (which must be idle), at most one a
  // CPU. cpus: usable_cpus() before anything was pinned.
  MachineReport(const engine::Engine& engine, const std::vector<int>& cpus);

  // machine, version, commit, isa, bounds.
  void add_to(nlohmann::ordered_json* object) const;
  // peak, parameters, gops, share_of_peak of so many tokens in so many seconds.
  void add_share(const engine::ModelReport& model, int64_t layer_tokens, int64_t head_tokens,
                 double seconds, nlohmann::ordered_json* object) const;
  // The bounds, and below them what add_share found, for people.
  std::string bounds_line() const;
  std::vector<std::string> lines(const nlohmann::ordered_json& object) const;

 private:
  int num_cpus_ = 0, num_threads_ = 0;
  std::string isa_;
  Bounds bounds_;
};

}  // namespace weft::cli
