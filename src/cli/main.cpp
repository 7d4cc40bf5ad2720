#include <unistd.h>

#include <chrono>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/in_job.h"
#include "comm/job.h"
#include "engine/engine.h"
#include "kernels/kernels.h"

namespace {

// How long a pipe that holds nothing is waited for. Whoever writes a prompt into a pipe is there at
// once; a pipe that was merely inherited, and would never end, must not hold up `make run`.
constexpr std::chrono::milliseconds kInputPatience{2000};

}  // namespace

int main(int argc, char** argv) {
  using namespace weft;
  std::ios::sync_with_stdio(false);
  cli::Console console{std::cin,
                       std::cout,
                       std::cerr,
                       isatty(STDIN_FILENO) != 0,
                       isatty(STDOUT_FILENO) != 0,
                       isatty(STDERR_FILENO) != 0,
                       [] { return cli::look_at_input(STDIN_FILENO, kInputPatience); }};
  const Environment environment = process_environment();
  const cli::EngineDoor door{
      [](const engine::EngineOptions& options, const engine::OnLoad& on_load,
         const engine::OnOpen& on_open) { return engine::Engine::load(options, on_load, on_open); },
      [](const engine::EngineOptions& options) { return engine::inspect(options); },
      [] { return kernels::choose_table().name; },
      [](const engine::PackRequest& request, const engine::OnPack& on_pack) {
        return engine::pack(request, on_pack);
      },
      [](const std::string& path, int num_threads, const engine::OnPack& on_bytes) {
        return engine::verify_packed(path, num_threads, on_bytes);
      }};
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const cli::Context context{console, environment, door};
  const std::optional<comm::Launch> launch = comm::find_launch(environment);
  const int code =
      launch ? cli::run_in_job(*launch, arguments, context) : cli::run_program(arguments, context);
  std::cout.flush();
  // A rank that stood still or loads on may have been left behind: nothing is torn down under it.
  if (code != 0) _exit(code);
  if (!std::cout) {
    std::cerr << "weft: standard output could not be written" << std::endl;
    return static_cast<int>(ErrorKind::kUsage);
  }
  return code;
}
