#include <charconv>

#include "comm/job.h"

namespace weft::comm {
namespace {

// A variable's number, nothing where it is not set or no number of processes.
std::optional<int> number(const Environment& environment, std::string_view name) {
  const auto found = environment.find(name);
  if (found == environment.end()) return {};
  const std::string& text = found->second;
  int value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return {};
  return value;
}

std::optional<Launch> unless_alone(Launch launch) {
  if (launch.num_processes == 1) return {};
  return launch;
}

}  // namespace

// Open MPI sets its own variables under every launcher of its own; srun sets the number of tasks of
// a step in the step alone (SLURM_NTASKS is also set in a batch script, which runs once).
std::optional<Launch> find_launch(const Environment& environment) {
  const std::optional<int> step_tasks = number(environment, "SLURM_STEP_NUM_TASKS");
  const bool has_pmix = environment.contains("PMIX_RANK") && environment.contains("PMIX_NAMESPACE");
  if (const std::optional<int> size = number(environment, "OMPI_COMM_WORLD_SIZE"))
    return unless_alone({"mpirun", *size});
  if (step_tasks && environment.contains("SLURM_PROCID"))
    return unless_alone({"srun", *step_tasks, has_pmix});
  if (has_pmix) return Launch{"a PMIx launcher"};
  if (const std::optional<int> size = number(environment, "PMI_SIZE"))
    return unless_alone({"the mpirun of another MPI", *size, false});
  return {};
}

}  // namespace weft::comm
