// Chat templates, which come with a model file: a template, a zero byte, and the messages (JSON)
// that it is to show; without them, a conversation with a call of a tool. It compiles, or is
// refused; it renders valid UTF-8, or ends with an error of the model's.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/error.h"
#include "text/text.h"
#include "text/utf8.h"

namespace weft::fuzz {

enum class TemplateVerdict { kRendered, kFailed, kRefused };

inline constexpr std::string_view kConversation =
    R"([{"role":"system","content":"Be \"brief\"."},{"role":"user","content":"Hi\u00e9 <b>"},)"
    R"({"role":"assistant","content":"","tool_calls":[{"id":"abcdefgh1","type":"function",)"
    R"("function":{"name":"f","arguments":{"a":[1,2.5,null,true]}}}]},)"
    R"({"role":"tool","tool_call_id":"abcdefgh1","content":"3"}])";
inline constexpr std::string_view kVariables =
    R"({"enable_thinking":true,"tools":[{"type":"function","function":{"name":"f",)"
    R"("description":"d","parameters":{"type":"object","properties":{"a":{"type":"array"}}}}}]})";

inline void require_of_template(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "a template must %s\n", what);
  std::abort();
}

inline TemplateVerdict run_template(std::string_view input) {
  const size_t zero = input.find('\0');
  const std::string_view source = input.substr(0, zero);
  const std::string_view messages =
      zero == std::string_view::npos ? kConversation : input.substr(zero + 1);
  bool compiled = false;
  try {
    const auto chat = text::ChatTemplate::compile(source, "<s>", "</s>");
    compiled = true;
    const std::string text = chat->render_json(messages, true, kVariables);
    require_of_template(text::to_valid_utf8(text) == text, "write UTF-8");
    return TemplateVerdict::kRendered;
  } catch (const Error& error) {
    require_of_template(error.kind() == ErrorKind::kModel, "fail as a model's fault");
    require_of_template(!error.summary().empty(), "say what is wrong");
    return compiled ? TemplateVerdict::kFailed : TemplateVerdict::kRefused;
  }
}

}  // namespace weft::fuzz
