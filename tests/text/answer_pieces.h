// Feeds text to the parsers of answers in pieces, and puts what comes out together again.
#pragma once

#include <functional>
#include <ostream>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "text/answer_part.h"

namespace weft::text {

struct ReadCall {
  std::string name, arguments;
  bool complete = false;
  bool operator==(const ReadCall&) const = default;
};

struct ReadAnswer {
  std::string reasoning, content;
  std::vector<ReadCall> calls;
  bool operator==(const ReadAnswer&) const = default;
};

inline std::ostream& operator<<(std::ostream& out, const ReadAnswer& answer) {
  out << "reasoning [" << answer.reasoning << "] content [" << answer.content << "]";
  for (const ReadCall& call : answer.calls)
    out << " " << call.name << "(" << call.arguments << ")" << (call.complete ? "" : " broken");
  return out;
}

// Checks the order that clients depend on: calls counted from 0, each begun, then arguments, then
// ended, none within another. Empty where all is well.
inline std::string gather(const AnswerParts& parts, ReadAnswer& answer) {
  using Kind = AnswerPart::Kind;
  bool open = false;
  for (const AnswerPart& part : parts) {
    const size_t last = answer.calls.size() - 1;
    switch (part.kind) {
      case Kind::kReasoning:
        answer.reasoning += part.text;
        break;
      case Kind::kContent:
        answer.content += part.text;
        if (open) return "content within a call";
        break;
      case Kind::kCallBegin:
        if (open || part.call != answer.calls.size()) return "a call begins out of order";
        answer.calls.push_back({part.text, {}, false});
        open = true;
        break;
      case Kind::kCallArguments:
        if (!open || part.call != last || part.text.empty()) return "arguments of no call";
        answer.calls.back().arguments += part.text;
        break;
      case Kind::kCallEnd:
        if (!open || part.call != last) return "no call ends";
        answer.calls.back().complete = part.complete;
        open = false;
    }
  }
  return open ? "a call that never ends" : "";
}

using Push = std::function<void(std::string_view text, AnswerParts& parts)>;

// Cuts text into pieces of 0 to `longest` bytes.
inline void push_in_pieces(std::string_view text, std::mt19937_64& random, size_t longest,
                           const Push& push, AnswerParts& parts) {
  while (!text.empty()) {
    const size_t size = std::min<size_t>(random() % (longest + 1), text.size());
    push(text.substr(0, size), parts);
    text.remove_prefix(size);
  }
}

}  // namespace weft::text
