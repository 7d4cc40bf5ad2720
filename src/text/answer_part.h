// What a model's answer is made of, once its markup is read: text, reasoning, calls of tools.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace weft::text {

struct AnswerPart {
  enum class Kind {
    kReasoning,      // text: more of the reasoning
    kContent,        // text: more of the answer
    kCallBegin,      // text: the tool's name
    kCallArguments,  // text: more of the arguments, which are JSON
    kCallEnd
  };
  Kind kind = Kind::kContent;
  size_t call = 0;  // of the three kinds of calls: counted from 0
  std::string text;
  bool complete = true;  // kCallEnd: false where the answer broke off, or went on as no call does
  // kCallBegin, kCallEnd: where in the answer's content (in bytes, all pieces together) the call's
  // own text begins or ends.
  uint64_t offset = 0;

  bool operator==(const AnswerPart&) const = default;
};
using AnswerParts = std::vector<AnswerPart>;

// Adds text; parts of one kind that follow each other become one.
inline void append_text(AnswerParts& parts, AnswerPart::Kind kind, std::string_view text,
                        size_t call = 0) {
  if (text.empty()) return;
  if (parts.empty() || parts.back().kind != kind || parts.back().call != call)
    parts.push_back({.kind = kind, .call = call});
  parts.back().text += text;
}

}  // namespace weft::text
