// A model loaded for a command, with what its user sees meanwhile.
#pragma once

#include <memory>

#include "cli/commands.h"

namespace weft::cli {

// A progress bar and then the banner, on standard error; quiet: neither.
std::unique_ptr<engine::Engine> load_engine(const Context& context,
                                            const engine::EngineOptions& options,
                                            const engine::OnOpen& on_open, bool quiet);

}  // namespace weft::cli
