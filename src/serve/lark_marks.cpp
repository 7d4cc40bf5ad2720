#include "serve/lark_marks.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>

namespace weft::serve {
namespace {

bool is_special(const text::Tokenizer& tokenizer, std::string_view mark) {
  const std::optional<int32_t> id = tokenizer.find_token(mark);
  return id && tokenizer.is_special(*id);
}

}  // namespace

std::string lark_literal(std::string_view text) {
  std::string quoted = nlohmann::json(text).dump();
  for (size_t at = 0; (at = quoted.find('\x7f', at)) != std::string::npos; at += 6)
    quoted.replace(at, 1, "\\u007f");
  return quoted;
}

std::string lark_mark(const text::Tokenizer& tokenizer, std::string_view mark) {
  return is_special(tokenizer, mark) ? fmt::format("<[{}]>", *tokenizer.find_token(mark))
                                     : lark_literal(mark);
}

std::string lark_text_until(const text::Tokenizer& tokenizer, std::string_view mark,
                            std::string_view name) {
  // Special tokens are no text, so that free text ends where one stands.
  if (is_special(tokenizer, mark))
    return fmt::format("{}: /(?s:.*)/ {}\n", name, lark_mark(tokenizer, mark));
  return fmt::format("{}[suffix={}]: /(?s:.*)/\n", name, lark_literal(mark));
}

std::string reasoning_frame(text::ReasoningFormat format, bool opened,
                            const text::Tokenizer& tokenizer) {
  const text::ReasoningMarks marks = text::reasoning_marks(format);
  // DeepSeek's models reason whether or not anything opens it (text/reasoning.h).
  const bool always = opened || format == text::ReasoningFormat::kDeepSeekR1;
  const std::string start = always ? "start: thought BREAKS @answer\n"
                                   : fmt::format("start: ({} thought BREAKS)? @answer\n",
                                                 lark_mark(tokenizer, marks.begin));
  return start + "BREAKS: /\\n{0,2}/\n" + lark_text_until(tokenizer, marks.end, "thought");
}

}  // namespace weft::serve
