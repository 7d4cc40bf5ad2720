#include "cli/bench_length.h"

#include <fmt/format.h>

#include "base/error.h"

namespace weft::cli {

void set_bench_length(const Context& context, std::string_view lengths, int64_t num_tokens,
                      engine::EngineOptions* options) {
  if (options->max_model_len > 0) {
    if (options->max_model_len < num_tokens)
      throw Error(ErrorKind::kUsage,
                  fmt::format("{} {} tokens, --max-model-len is {}", lengths, num_tokens,
                              options->max_model_len),
                  "", "raise --max-model-len, or leave it out");
    return;
  }
  // The engine would blame an option that nobody gave.
  const int64_t most = context.engine.inspect(*options).model.context_length;
  if (num_tokens > most)
    throw Error(ErrorKind::kUsage,
                fmt::format("{} {} tokens, the model's context is {}", lengths, num_tokens, most),
                "", "give shorter ones, or take a model of a longer context");
  options->max_model_len = num_tokens;
}

}  // namespace weft::cli
