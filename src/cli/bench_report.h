// What the offline benches say: one JSON object, for programs (--json), files (--output-json), and
// as a few lines for people.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "base/options.h"
#include "cli/commands.h"

namespace weft::cli {

struct BenchOutput {
  bool json = false, quiet = false;
  std::optional<std::string> file;

  void declare(OptionSet* options);
  // lines: for people. Error(kUsage) where the file cannot be written.
  void write(const nlohmann::ordered_json& object, const std::vector<std::string>& lines,
             Console& console) const;
  // Before the work begins: an empty file, or the error that it cannot be written.
  void check() const;
};

// What a bench talks to: with --quiet nobody hears what is said beside its figures.
class BenchConsole {
 public:
  BenchConsole(const Context& given, bool quiet);
  BenchConsole(const BenchConsole&) = delete;
  BenchConsole& operator=(const BenchConsole&) = delete;

  Context context() { return {console_, given_.environment, given_.engine}; }

 private:
  const Context& given_;
  std::ostream unheard_{nullptr};
  Console console_;
};

// model, file_type, topology, threads_per_rank, load_s.
nlohmann::ordered_json model_json(const engine::Engine& engine);

}  // namespace weft::cli
