// Limits of what only some requests have: tools, grammars of several kinds, tokens, stored answers.
#include <fmt/format.h>

#include <chrono>

#include "fleet/grammar_compilations.h"
#include "serve/chat_tools.h"
#include "serve/grammar_fields.h"
#include "serve/limits_table.h"
#include "serve/openai_routes.h"
#include "serve/prompt_ids.h"
#include "serve/response_store.h"
#include "serve/structural_tag.h"

namespace weft::serve {

void add_limits_of_fields(std::vector<Limit>* table) {
  using fleet::GrammarCompilations;
  const ToolLimits tools;
  const ResponseStoreLimits store;
  const auto count = [](auto value) { return fmt::format("{}", value); };
  const auto bytes = [](size_t value) {
    return value >= 1 << 20 ? fmt::format("{} MiB", value >> 20)
                            : fmt::format("{} KiB", value >> 10);
  };
  table->insert(
      table->end(),
      {{"bytes of a token", count(kMostBytesOfToken), "of a text, by the context's tokens", 400},
       {"ids", count(kMostDetokenizedIds), "of /detokenize", 400},
       {"waiting bodies", count(OpenAiOptions().most_waiting), "to be read", 503},
       {"tools", count(tools.tools), "of one chat", 400},
       {"tool bytes", bytes(tools.schema_bytes), "of all of one chat, and their schemas", 400},
       {"choices of a grammar", count(kMostChoices), "texts of one guided_choice", 400},
       {"tags", count(kMostTags), "of a structural tag, and elements of one of its lists", 400},
       {"tag depth", count(kMostFormatDepth), "formats inside each other", 400},
       {"tag repeats", count(kMostFormatRepeats), "of one format, and characters of a text", 400},
       {"waiting grammars", count(GrammarCompilations::kMostWaiting), "to be compiled", 503},
       {"waiting grammar bytes", bytes(GrammarCompilations::kMostWaitingBytes),
        "of those, as they were sent", 503},
       {"grammar wait",
        fmt::format("{} s", std::chrono::duration_cast<std::chrono::seconds>(
                                GrammarCompilations::kLongestWait)
                                .count()),
        "of one that is to be compiled", 503},
       {"stored responses", count(store.responses), "the oldest makes room", 200},
       {"stored bytes", bytes(store.bytes),
        fmt::format("of them; one of more than {} says that it is not stored",
                    bytes(store.bytes / 8)),
        200}});
}

}  // namespace weft::serve
