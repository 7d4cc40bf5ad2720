#include "serve/chat_tools.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "serve/json_source.h"
#include "serve/request_fields.h"
#include "text/call_object.h"

namespace weft::serve {
namespace {

using json = nlohmann::ordered_json;

constexpr size_t kMostNameBytes = 128;
constexpr size_t kMostBytesWritten = 8;  // for one that is kept

[[noreturn]] void refuse(std::string_view field, std::string_view what) {
  throw Error(ErrorKind::kUsage, fmt::format("{}: {}", field, what));
}

// The value of a key; null where there is none.
const json* find(const json& object, const char* key) {
  const auto at = object.find(key);
  return at == object.end() || at->is_null() ? nullptr : &*at;
}

bool is_name(const std::string& name) {
  return !name.empty() && name.size() <= kMostNameBytes && std::ranges::all_of(name, [](char c) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return letter || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.' || c == ':' ||
           c == '/';
  });
}

// Behind this depth nothing is written out again, which is recursive.
bool is_deeper(const json& value, int depth) {
  if (!value.is_structured()) return false;
  if (depth == 0) return true;
  return std::ranges::any_of(value, [&](const json& part) { return is_deeper(part, depth - 1); });
}

// What every format reads of a schema; the rest is for who compiles it.
void check_members(const json& schema, const std::string& place) {
  const json* properties = find(schema, "properties");
  if (properties != nullptr && !properties->is_object())
    refuse(place + ".properties", "an object is expected");
  const json* required = find(schema, "required");
  if (required == nullptr) return;
  if (!required->is_array() || !std::ranges::all_of(*required, &json::is_string))
    refuse(place + ".required", "a list of texts is expected");
}

json schema_of(const json& function, const std::string& field) {
  const json* parameters = find(function, "parameters");
  if (parameters == nullptr) return {{"type", "object"}, {"properties", json::object()}};
  const std::string place = field + ".parameters";
  if (!parameters->is_object()) refuse(place, "a JSON schema is expected");
  json schema = *parameters;
  const json* type = find(schema, "type");
  if (type != nullptr && *type != "object") refuse(place, "its type has to be \"object\"");
  if (type == nullptr) schema["type"] = "object";
  check_members(schema, place);
  return schema;
}

Tool read_tool(const json& entry, const std::string& field, const ToolLimits& limits) {
  if (!entry.is_object()) refuse(field, "a tool is expected");
  const json* type = find(entry, "type");
  if (type == nullptr || *type != "function")
    refuse(field + ".type", "tools of the type \"function\" are all there is");
  const json* nested = find(entry, "function");
  const json& function = nested != nullptr ? *nested : entry;
  const std::string place = nested != nullptr ? field + ".function" : field;
  if (!function.is_object()) refuse(place, "an object is expected");
  if (is_deeper(entry, limits.depth))
    refuse(field, fmt::format("it is nested more than {} deep", limits.depth));
  const json* name = find(function, "name");
  if (name == nullptr || !name->is_string() || !is_name(name->get_ref<const std::string&>()))
    refuse(place + ".name",
           fmt::format("1 to {} letters, digits and _-.:/ are expected", kMostNameBytes));
  const json* description = find(function, "description");
  if (description != nullptr && !description->is_string())
    refuse(place + ".description", "a text is expected");
  const json* strict = find(function, "strict");
  if (strict != nullptr && !strict->is_boolean())
    refuse(place + ".strict", "true or false is expected");

  json shown = function;
  if (nested == nullptr) shown.erase("type");
  shown.erase("strict");
  return {.name = *name,
          .json = json{{"type", "function"}, {"function", shown}}.dump(),
          .schema = schema_of(function, place).dump(),
          .strict = strict != nullptr && strict->get<bool>()};
}

void read_list(const json& list, const ToolLimits& limits, ChatTools& tools) {
  if (!list.is_array()) refuse("tools", "a list is expected");
  if (list.size() > limits.tools)
    refuse("tools", fmt::format("{} are given, above {}", list.size(), limits.tools));
  size_t bytes = 0;
  for (const json& entry : list) {
    const std::string field = fmt::format("tools[{}]", tools.tools.size());
    Tool tool = read_tool(entry, field, limits);
    bytes += tool.json.size();
    if (bytes > limits.schema_bytes)
      refuse("tools", fmt::format("they have more than {} bytes", limits.schema_bytes));
    const auto same = [&](const Tool& other) { return other.name == tool.name; };
    if (std::ranges::any_of(tools.tools, same))
      refuse(field, fmt::format("there are two tools '{}'", tool.name));
    tools.tools.push_back(std::move(tool));
  }
}

// {"type": "function", "function": {"name"}}, or {"type": "function", "name"} in /v1/responses.
std::string chosen_name(const json& choice, const std::string& field) {
  const json* function = find(choice, "function");
  const json* name =
      find(function != nullptr && function->is_object() ? *function : choice, "name");
  if (name == nullptr || !name->is_string()) refuse(field, "it names no tool");
  return *name;
}

void set_choice(const std::string& word, ChatTools& tools) {
  using Choice = ChatTools::Choice;
  if (word == "none") {
    tools.choice = Choice::kNone;
  } else if (word == "auto") {
    tools.choice = Choice::kAuto;
  } else if (word == "required") {
    tools.choice = Choice::kRequired;
  } else {
    refuse("tool_choice", "none, auto, required or a tool is expected");
  }
  if (tools.tools.empty() && tools.choice == Choice::kRequired)
    refuse("tool_choice", "a call is required, and there are no tools");
}

// {"type": "allowed_tools", "allowed_tools": {"mode", "tools"}}, the inner fields directly in
// /v1/responses: the others are not to be called.
void read_allowed(const json& choice, ChatTools& tools) {
  const json* nested = find(choice, "allowed_tools");
  const json& allowed = nested != nullptr && nested->is_object() ? *nested : choice;
  const json* mode = find(allowed, "mode");
  const json* list = find(allowed, "tools");
  if (list == nullptr || !list->is_array() || list->empty())
    refuse("tool_choice.tools", "a list of tools is expected");
  std::vector<std::string> names;
  for (const json& entry : *list) {
    if (!entry.is_object()) refuse("tool_choice.tools", "a list of tools is expected");
    names.push_back(chosen_name(entry, "tool_choice.tools"));
  }
  std::erase_if(tools.tools, [&](const Tool& tool) {
    return std::ranges::find(names, tool.name) == names.end();
  });
  if (tools.tools.empty()) refuse("tool_choice.tools", "none of them is among tools");
  set_choice(mode != nullptr && mode->is_string() ? mode->get<std::string>() : "auto", tools);
}

void read_choice(const json& choice, ChatTools& tools) {
  if (choice.is_string()) return set_choice(choice.get<std::string>(), tools);
  const json* type = choice.is_object() ? find(choice, "type") : nullptr;
  if (type != nullptr && *type == "allowed_tools") return read_allowed(choice, tools);
  if (type == nullptr || *type != "function")
    refuse("tool_choice", "none, auto, required or a tool is expected");
  tools.choice = ChatTools::Choice::kNamed;
  tools.named = chosen_name(choice, "tool_choice");
  const std::vector<std::string> names = tools.names();
  if (std::ranges::find(names, tools.named) == names.end())
    refuse("tool_choice", fmt::format("'{}' is none of tools", tools.named.substr(0, 64)));
}

// One field of the body, its keys in order; null where it is not given. The rest of the body, which
// may be large, is not parsed again.
json field_of(std::string_view body_json, const char* name, const ToolLimits& limits) {
  const std::string_view source = json_source(body_json, name);
  if (source.empty()) return nullptr;
  // Blanks and escapes may be most of what is written; what is kept is bounded apart.
  if (source.size() > kMostBytesWritten * limits.schema_bytes)
    refuse(name, fmt::format("it has more than {} bytes", kMostBytesWritten * limits.schema_bytes));
  return parse_ordered_json(source, name);
}

}  // namespace

std::vector<std::string> ChatTools::names() const {
  std::vector<std::string> names;
  for (const Tool& tool : tools) names.push_back(tool.name);
  return names;
}

ChatTools read_tools(std::string_view body_json, const ToolLimits& limits) {
  ChatTools tools;
  if (const json list = field_of(body_json, "tools", limits); !list.is_null())
    read_list(list, limits, tools);
  if (!tools.tools.empty()) tools.choice = ChatTools::Choice::kAuto;
  if (const json choice = field_of(body_json, "tool_choice", limits); !choice.is_null())
    read_choice(choice, tools);
  const json parallel = field_of(body_json, "parallel_tool_calls", limits);
  if (parallel.is_null()) return tools;
  if (!parallel.is_boolean()) refuse("parallel_tool_calls", "true or false is expected");
  tools.parallel = parallel.get<bool>();
  return tools;
}

std::string tool_call_id(uint64_t high, uint64_t low) {
  constexpr std::string_view kLetters =
      "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  std::string id = "call_";
  for (int i = 0; i < 24; ++i) {
    uint64_t& word = i < 12 ? high : low;  // 62^10 < 2^64: the last two of each are weaker
    id += kLetters[word % kLetters.size()];
    word = word / kLetters.size() + (word << 60);
  }
  return id;
}

}  // namespace weft::serve
