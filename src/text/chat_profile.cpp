#include "text/chat_profile.h"

#include <string>
#include <string_view>

#include "base/error.h"

namespace weft::text {
namespace {

constexpr std::string_view kQuestion = R"({"role":"user","content":"weft_question"})";
constexpr std::string_view kTools =
    R"({"tools":[{"type":"function","function":{"name":"weft_tool","description":"weft_use",)"
    R"("parameters":{"type":"object","properties":{"weft_key":{"type":"string",)"
    R"("description":"weft_word"}},"required":["weft_key"]}}}]})";
constexpr std::string_view kCall =
    R"({"role":"assistant","content":"","tool_calls":[{"id":"abcdefgh1","type":"function",)"
    R"("function":{"name":"weft_tool","arguments":{"weft_key":"weft_value"}}}]})";
constexpr std::string_view kResult =
    R"({"role":"tool","tool_call_id":"abcdefgh1","name":"weft_tool","content":"weft_result"})";

// Empty where the template refuses.
std::string render(const ChatTemplate& chat, const std::string& messages, std::string_view extra) {
  try {
    return chat.render_json("[" + messages + "]", true, extra);
  } catch (const Error&) {
    return {};
  }
}

bool has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// calls: a rendered conversation with a call, or what the template tells of tools.
std::optional<ToolFormat> format_of(std::string_view text) {
  if (has(text, "<start_function_call>")) return ToolFormat::kFunctionGemma;
  if (has(text, "[TOOL_CALLS]weft_tool")) return ToolFormat::kMistralNamed;
  if (has(text, "[TOOL_CALLS]")) return ToolFormat::kMistral;
  // Qwen3-Coder's calls stand between the same marks, and are no JSON.
  if (has(text, "<tool_call>") && !has(text, "<function=")) return ToolFormat::kHermes;
  if (has(text, "\"weft_tool\", \"parameters\"") || has(text, "<|python_tag|>"))
    return ToolFormat::kLlama3Json;
  if (has(text, "[weft_tool(weft_key=") || has(text, "```tool_code")) return ToolFormat::kPythonic;
  return {};
}

void probe_tools(const ChatTemplate& chat, ChatProfile& profile) {
  const std::string question(kQuestion), call(kCall), result(kResult);
  const std::string told = render(chat, question, kTools);
  profile.takes_tools = has(told, "weft_tool");
  const std::string conversation = question + "," + call + "," + result;
  const std::string called = render(chat, conversation, kTools);
  profile.takes_calls = has(called, "weft_value") && has(called, "weft_result");
  profile.tools = format_of(profile.takes_calls ? called : told);
  if (!profile.tools && !profile.takes_tools && !profile.takes_calls)
    profile.tools = ToolFormat::kHermes;
  std::string long_id = conversation;
  for (size_t at = long_id.find("abcdefgh1"); at != long_id.npos;
       at = long_id.find("abcdefgh1", at + 14))
    long_id.replace(at, 9, "call_abcdefgh1");
  profile.wants_short_ids = profile.takes_calls && render(chat, long_id, kTools).empty();
}

}  // namespace

ChatProfile probe_chat(const ChatTemplate* chat, const Tokenizer& tokenizer) {
  ChatProfile profile{.tools = ToolFormat::kHermes};
  if (tokenizer.find_token("</think>")) {
    profile.reasoning = ReasoningFormat::kQwen3;
  } else if (tokenizer.find_token("[/THINK]")) {
    profile.reasoning = ReasoningFormat::kMistral;
  }
  if (chat == nullptr) return profile;
  const std::string question(kQuestion);
  const std::string system = R"({"role":"system","content":"weft_system"},)" + question;
  profile.takes_system = has(render(*chat, system, {}), "weft_system");
  probe_tools(*chat, profile);
  return profile;
}

bool needs_special_tokens(const ChatProfile& profile, const Tokenizer& tokenizer) {
  const auto special = [&](std::string_view mark) {
    const std::optional<int32_t> id = tokenizer.find_token(mark);
    return id && tokenizer.is_special(*id);
  };
  return (profile.tools && special(tool_marker(*profile.tools))) ||
         (profile.reasoning && (special(reasoning_marks(*profile.reasoning).begin) ||
                                special(reasoning_marks(*profile.reasoning).end)));
}

}  // namespace weft::text
