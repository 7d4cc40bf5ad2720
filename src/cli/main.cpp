#include <unistd.h>

#include <iostream>

#include "base/error.h"
#include "cli/commands.h"
#include "engine/engine.h"
#include "kernels/kernels.h"

int main(int argc, char** argv) {
  using namespace weft;
  std::ios::sync_with_stdio(false);
  cli::Console console{std::cin,
                       std::cout,
                       std::cerr,
                       isatty(STDIN_FILENO) != 0,
                       isatty(STDOUT_FILENO) != 0,
                       isatty(STDERR_FILENO) != 0};
  const Environment environment = process_environment();
  const cli::EngineDoor door{
      [](const engine::EngineOptions& options, const engine::OnLoad& on_load) {
        return engine::Engine::load(options, on_load);
      },
      [](const engine::EngineOptions& options) { return engine::inspect(options); },
      [] { return kernels::choose_table().name; }};
  const int code = cli::run_program({argv + 1, argv + argc}, {console, environment, door});
  std::cout.flush();
  if (!std::cout && code == 0) {
    std::cerr << "weft: standard output could not be written" << std::endl;
    return static_cast<int>(ErrorKind::kInternal);
  }
  return code;
}
