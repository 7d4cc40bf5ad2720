// Options of Weft as vLLM and llama.cpp call them: who comes from there types what he knows. One
// table for all commands, applied to each option that a command has; docs/serving.md shows it.
#pragma once

#include "base/options.h"

namespace weft::cli {

// Call it once all of the command's own options are declared.
void add_other_names(OptionSet* options);

}  // namespace weft::cli
