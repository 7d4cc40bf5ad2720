// Splits what a model thinks from what it answers: text between <think> and </think>, or another
// pair of marks. Streaming, as text/tool_calls.h: any pieces, no text lost but the marks and the
// line breaks at either end of the reasoning.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/answer_part.h"
#include "text/marker.h"

namespace weft::text {

enum class ReasoningFormat {
  kQwen3,       // <think>...</think>, where the answer or the prompt opens it
  kDeepSeekR1,  // the same, and an answer always begins with it, opened or not
  kMistral,     // [THINK]...[/THINK]
};

// "qwen3", "deepseek_r1", "mistral".
std::string_view name(ReasoningFormat format);
std::optional<ReasoningFormat> find_reasoning_format(std::string_view name);
std::vector<std::string> reasoning_format_names();

struct ReasoningMarks {
  std::string_view begin, end;
};
ReasoningMarks reasoning_marks(ReasoningFormat format);

// Whether a rendered prompt ends within reasoning: its template opened it for the model.
bool opens_reasoning(ReasoningFormat format, std::string_view prompt);

// One answer's; not thread-safe.
class ReasoningSplitter {
 public:
  // opened: what opens_reasoning said of the prompt.
  ReasoningSplitter(ReasoningFormat format, bool opened);

  // Appends what became certain: kReasoning and kContent.
  void push(std::string_view text, AnswerParts& parts);
  void finish(AnswerParts& parts);
  // Whether the answer itself has begun.
  bool in_content() const { return state_ == State::kContent; }

 private:
  enum class State {
    kStart,      // blanks, and perhaps the beginning of the first mark
    kReasoning,  // up to the second mark
    kBehind,     // line breaks behind it
    kContent,
  };
  bool at_start(char c, AnswerParts& parts);
  void in_reasoning(char c, AnswerParts& parts);

  std::string_view begin_;
  Marker end_;
  State state_ = State::kStart;
  bool always_;        // no mark is needed to begin
  bool told_ = false;  // some of the reasoning was passed on
  std::string held_;
  size_t begin_matched_ = 0;
};

}  // namespace weft::text
