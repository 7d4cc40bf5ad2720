// The options that say what an answer may look like (text/grammar.h).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/options.h"
#include "text/grammar.h"

namespace weft::cli {

class GrammarOptions {
 public:
  // Adds to the group at hand.
  void declare(OptionSet* options);
  bool is_given() const { return schema_ || regex_ || grammar_ || !choices_.empty(); }
  // Reads the files that were named. Error(kUsage) where one cannot be read.
  std::optional<text::GrammarSpec> spec() const;

 private:
  std::optional<std::string> schema_, regex_, grammar_;
  std::vector<std::string> choices_;
};

}  // namespace weft::cli
