// A chat with the engine of this process. The whole conversation is rendered again for every
// answer.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "cli/chat_partner.h"

namespace weft::cli {

struct EnginePartnerOptions {
  std::string model;  // as a request names it
  bool hash_logits = false;
  int terminal = -1;  // descriptor of the terminal whose Ctrl-C is to reach this process alone
  // A grammar that was compiled before, and what it was compiled from.
  std::optional<text::GrammarSpec> grammar_spec = {};
  std::shared_ptr<const text::Grammar> grammar = {};
};

// engine: outlives the partner. A request that fails (too long, say) is an Error(kUsage) or
// Error(kModel); a lost rank or a bug any other.
std::unique_ptr<ChatPartner> make_engine_partner(engine::Engine& engine,
                                                 EnginePartnerOptions options);

}  // namespace weft::cli
