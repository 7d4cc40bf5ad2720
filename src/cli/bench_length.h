// The context of a bench: as long as its longest sequence, unless --max-model-len says otherwise.
#pragma once

#include <cstdint>
#include <string_view>

#include "cli/commands.h"

namespace weft::cli {

// Sets options->max_model_len where it is not given. lengths: what makes `num_tokens`, as a
// sentence begins with it: "--input-len and --output-len are". Error(kUsage) that names what is too
// long for which of the two, the model or the option.
void set_bench_length(const Context& context, std::string_view lengths, int64_t num_tokens,
                      engine::EngineOptions* options);

}  // namespace weft::cli
