// Calls of tools in the text of an answer, as each family of models writes them. Text goes in as it
// comes, in any pieces; content and calls come out, the arguments of a call while they are being
// written.
//
// No text is lost: a byte is content, or part of a call's arguments, or markup of a call that was
// begun. What may become markup is held back (at most kMostHeldBytes, beyond that it is content);
// what turns out to be none becomes content. A call begins once its name is known and its arguments
// have begun; where what follows is no call after all, its end says so (`complete`), and the rest
// is content. Time is linear in the text, and no format evaluates anything.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/answer_part.h"

namespace weft::text {

enum class ToolFormat {
  kHermes,         // <tool_call>{"name": "f", "arguments": {}}</tool_call>  (Qwen, Hermes, SmolLM)
  kLlama3Json,     // {"name": "f", "parameters": {}}, with or without <|python_tag|> before it
  kMistral,        // [TOOL_CALLS][{"name": "f", "arguments": {}}]
  kMistralNamed,   // [TOOL_CALLS]f[ARGS]{}  (tokenizers of version 11 and later)
  kPythonic,       // [f(a=1), g()], or the same in a ```tool_code fence (Gemma, Llama 3.2 and 4)
  kFunctionGemma,  // <start_function_call>call:f{a:<escape>text<escape>}<end_function_call>
};

// "hermes", "llama3_json", "mistral", "mistral_named", "pythonic", "functiongemma".
std::string_view name(ToolFormat format);
// These, and what vLLM calls the same: "llama4_json", "llama4_pythonic".
std::optional<ToolFormat> find_tool_format(std::string_view name);
std::vector<std::string> tool_format_names();

// What calls begin with; a special token of most vocabularies that have it: then answers have to be
// detokenised with their special tokens (SamplingParams::skip_special_tokens = false).
std::string_view tool_marker(ToolFormat format);

inline constexpr size_t kMostHeldBytes = 64 * 1024;

// One answer's; not thread-safe.
class ToolCallParser {
 public:
  // names: of the tools that there are. The formats that mark no call (kLlama3Json, kPythonic) take
  // for calls what names one of these; with none, any name will do.
  static std::unique_ptr<ToolCallParser> make(ToolFormat format, std::vector<std::string> names);
  virtual ~ToolCallParser() = default;

  // Appends what became certain.
  virtual void push(std::string_view text, AnswerParts& parts) = 0;
  // The answer ends here.
  virtual void finish(AnswerParts& parts) = 0;
};

struct ToolCall {
  std::string name, arguments;
  bool operator==(const ToolCall&) const = default;
};
struct ToolAnswer {
  std::string content;
  std::vector<ToolCall> calls;
};
// Of a whole answer. Calls that are not complete are content, as they were written.
ToolAnswer parse_tool_calls(ToolFormat format, std::string_view text,
                            std::vector<std::string> names);

}  // namespace weft::text
