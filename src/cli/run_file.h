// `weft run MODEL --file prompts.jsonl`: answers every line of a file, many at a time, as they end.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "cli/commands.h"
#include "cli/request_line.h"

namespace weft::cli {

// Exit code where every line was answered but some failed.
inline constexpr int kSomeFailedExit = 1;

struct FileRunOptions {
  std::string file;
  std::optional<std::string> out;  // none: standard output
  bool overwrite = false;
  bool quiet = false, stats = false;
  int64_t window = 1;  // requests that are submitted and not ended, at most
  LineDefaults defaults;
  std::string model;  // as answers name it
  // Names the model's files and the numerics (fleet/fingerprint.h); asked before weights are read.
  std::function<std::string()> fingerprint;
  std::function<void(const engine::Engine& engine)> on_end = {};  // after the last answer
};

// Loads the model; on_open as of engine::Engine::load.
using LoadEngine = std::function<std::unique_ptr<engine::Engine>(const engine::OnOpen& on_open)>;

// Returns the exit code: 0, kSomeFailedExit (counting lines that had failed before, in --out), or
// kInterruptedExit. Error(kUsage) before anything is loaded where the file or --out is wrong.
int run_file(const FileRunOptions& options, const LoadEngine& load, Console& console);

}  // namespace weft::cli
