// The program as its commands: one file a command, each with its options declared once
// (base/options.h). Nothing here knows the terminal or the engine directly: a command sees them
// through `Context`, so that tests put their own in their place.
//
// Exit codes: 0, 1 some lines of a file failed or some answers of a server were cut, 2 usage,
// 3 model, 4 memory, 5 communication, 70 internal, 75 busy, 130 after Ctrl-C.
#pragma once

#include <functional>
#include <iosfwd>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/options.h"
#include "cli/standard_input.h"
#include "engine/engine.h"
#include "engine/packing.h"

namespace weft::comm {
class Job;
}

namespace weft::cli {

inline constexpr int kInterruptedExit = 130;

// Standard output carries the answer and nothing else; all that is said about it goes to `err`.
struct Console {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
  bool in_is_terminal = false, out_is_terminal = false, err_is_terminal = false;
  // What `in` holds, asked before any of it is read; may wait for a moment. None: nothing.
  std::function<InputState()> look_at_in = {};
};

// The doors of the engine that commands walk through.
struct EngineDoor {
  std::function<std::unique_ptr<engine::Engine>(const engine::EngineOptions&, const engine::OnLoad&,
                                                const engine::OnOpen&)>
      load;
  std::function<engine::Inspection(const engine::EngineOptions&)> inspect;
  std::function<std::string_view()> isa;  // name of the kernel table, for --version
  std::function<engine::PackReport(const engine::PackRequest&, const engine::OnPack&)> pack = {};
  std::function<engine::VerifyReport(const std::string& path, int num_threads,
                                     const engine::OnPack&)>
      verify = {};
  comm::Job* job = nullptr;  // whose processes `load` shares the ranks out over; null: none
};

struct Context {
  Console& console;
  const Environment& environment;
  const EngineDoor& engine;
};

class Command {
 public:
  virtual ~Command() = default;
  virtual OptionSet& options() = 0;
  // Called once, after the options were parsed. Returns the exit code; throws Error.
  virtual int execute(const Context& context) = 0;
};

std::unique_ptr<Command> make_run_command();
std::unique_ptr<Command> make_serve_command();
std::unique_ptr<Command> make_inspect_command();
std::unique_ptr<Command> make_verify_command();
std::unique_ptr<Command> make_pull_command();
std::unique_ptr<Command> make_pack_command();
std::unique_ptr<Command> make_bench_batch_command();
std::unique_ptr<Command> make_bench_throughput_command();
std::unique_ptr<Command> make_bench_latency_command();
std::unique_ptr<Command> make_bench_kernels_command();
std::unique_ptr<Command> make_bench_serve_command();
std::unique_ptr<Command> make_bench_comm_command();

// The whole program behind main(): `arguments` are those after the program's name. Never throws.
int run_program(const std::vector<std::string>& arguments, const Context& context);

}  // namespace weft::cli
