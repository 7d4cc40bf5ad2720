#include "cli/load_engine.h"

#include <optional>
#include <ostream>

#include "base/progress.h"
#include "cli/banner.h"

namespace weft::cli {

std::unique_ptr<engine::Engine> load_engine(const Context& context,
                                            const engine::EngineOptions& options,
                                            const engine::OnOpen& on_open, bool quiet) {
  Console& console = context.console;
  std::ostream says(quiet ? nullptr : console.err.rdbuf());
  std::unique_ptr<engine::Engine> engine;
  {
    std::optional<Progress> progress;  // begins when the engine knows how much there is
    int64_t seen = 0;
    const engine::OnLoad show = [&](int64_t done, int64_t total) {
      if (!progress) {
        progress.emplace(says, Progress::Options{"loading", total, Progress::Unit::kBytes,
                                                 console.err_is_terminal});
      }
      progress->add(done - seen);
      seen = done;
    };
    engine = context.engine.load(options, show, on_open);
  }
  for (const std::string& line : banner_lines(*engine, options)) says << line << "\n";
  says.flush();
  return engine;
}

}  // namespace weft::cli
