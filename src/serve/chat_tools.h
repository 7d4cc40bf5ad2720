// Tools in a chat: what a request says of them, checked; the conversation and the variables that
// its template gets. Refusals are Error(kUsage) whose text begins with the field.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/chat_profile.h"

namespace weft::serve {

struct ToolLimits {
  size_t tools = 512;
  size_t schema_bytes = 256 * 1024;  // of all tools together
  int depth = 64;                    // of brackets in tools and arguments
};

struct Tool {
  std::string name;
  std::string json;    // as the template gets it: {"type": "function", "function": {...}}, in order
  std::string schema;  // of its arguments: a JSON object
  bool strict = false;
};

struct ChatTools {
  enum class Choice { kNone, kAuto, kRequired, kNamed };
  std::vector<Tool> tools;
  Choice choice = Choice::kNone;
  std::string named;     // kNamed
  bool parallel = true;  // several calls in one answer are welcome

  // Whether the answer may hold calls, so that it has to be parsed.
  bool may_call() const { return !tools.empty() && choice != Choice::kNone; }
  std::vector<std::string> names() const;
};

// body_json: the whole body as it came (an object that was parsed before), since the order of keys
// in a tool is the order in which the model reads them. Reads tools, tool_choice (also
// allowed_tools) and parallel_tool_calls. A list of tools may have the form of /v1/responses too,
// {"type": "function", "name": ...}.
ChatTools read_tools(std::string_view body_json, const ToolLimits& limits = {});

struct ChatInput {
  std::string messages;   // a JSON array
  std::string variables;  // a JSON object
};

// What the template is given: calls with their arguments as objects, ids as it wants them, tools
// among the variables. A template that knows no tools gets them in its system message, and calls
// and results as text in the same format. messages_json: contents are texts already. Needed
// wherever messages hold calls or results, also where the request has no tools.
ChatInput chat_input(const ChatTools& tools, const text::ChatProfile& profile,
                     std::string_view messages_json, std::string_view variables_json);

// The prompt. continue_final: it ends behind the last message's content, for the model to go on.
std::string render_chat(const text::ChatTemplate& chat, const ChatInput& input,
                        bool add_generation_prompt, bool continue_final);

// "call_" and 24 letters and digits; as random as its words.
std::string tool_call_id(uint64_t high, uint64_t low);

}  // namespace weft::serve
