// An answer as it comes from a model, split into reasoning, content and calls: the splitter of
// reasoning with the parser of calls behind it, whichever of the two there are.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/reasoning.h"
#include "text/tool_calls.h"

namespace weft::text {

struct AnswerFormat {
  std::optional<ReasoningFormat> reasoning;
  bool reasoning_opened = false;  // what opens_reasoning says of the prompt
  std::optional<ToolFormat> tools;
  std::vector<std::string> tool_names;
};

// One answer's; not thread-safe.
class AnswerParser {
 public:
  explicit AnswerParser(const AnswerFormat& format);

  // What became certain with this text.
  AnswerParts push(std::string_view text);
  // What was still held back at the end of the answer.
  AnswerParts finish();

  // Calls that were complete so far. An answer with any that ends by itself has the finish reason
  // "tool_calls".
  size_t num_calls() const { return num_calls_; }

 private:
  void pass_on(AnswerParts split, AnswerParts& parts);
  void count_calls(const AnswerParts& parts);

  std::optional<ReasoningSplitter> reasoning_;
  std::unique_ptr<ToolCallParser> tools_;
  size_t num_calls_ = 0;
};

}  // namespace weft::text
