#include "text/answer_parser.h"

#include <algorithm>
#include <utility>

namespace weft::text {

using Kind = AnswerPart::Kind;

AnswerParser::AnswerParser(const AnswerFormat& format) {
  if (format.reasoning) reasoning_.emplace(*format.reasoning, format.reasoning_opened);
  if (format.tools) tools_ = ToolCallParser::make(*format.tools, format.tool_names);
}

AnswerParts AnswerParser::push(std::string_view text) {
  AnswerParts split, parts;
  if (reasoning_) {
    reasoning_->push(text, split);
  } else {
    append_text(split, Kind::kContent, text);
  }
  pass_on(std::move(split), parts);
  count_calls(parts);
  return parts;
}

AnswerParts AnswerParser::finish() {
  AnswerParts split, parts;
  if (reasoning_) reasoning_->finish(split);
  pass_on(std::move(split), parts);
  if (tools_) tools_->finish(parts);
  count_calls(parts);
  return parts;
}

void AnswerParser::pass_on(AnswerParts split, AnswerParts& parts) {
  for (AnswerPart& part : split) {
    if (tools_ && part.kind == Kind::kContent) {
      tools_->push(part.text, parts);
    } else {
      parts.push_back(std::move(part));
    }
  }
}

void AnswerParser::count_calls(const AnswerParts& parts) {
  num_calls_ += static_cast<size_t>(std::ranges::count_if(
      parts, [](const AnswerPart& part) { return part.kind == Kind::kCallEnd && part.complete; }));
}

}  // namespace weft::text
