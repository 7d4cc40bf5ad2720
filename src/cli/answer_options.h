// How conversations are rendered and answers are read, by the names of vLLM: options of whatever
// answers through the server's routes, `weft serve` and `weft verify`. The two have to be given the
// same ones, or they say other words to the model.
#pragma once

#include <string>

#include "base/options.h"
#include "serve/openai_routes.h"

namespace weft::cli {

struct AnswerOptions {
  std::string chat_template_file, tool_parser, reasoning_parser;

  // Adds to the group that was begun.
  void declare(OptionSet* options);
  bool any() const {
    return !(chat_template_file.empty() && tool_parser.empty() && reasoning_parser.empty());
  }
  serve::ParserNames parsers() const;
  // Its source; empty: the model's own. Error(kUsage) for a file that cannot be read
  // or holds no template.
  std::string chat_template() const;
};

}  // namespace weft::cli
