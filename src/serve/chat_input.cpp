// The conversation as a template gets it, with its calls and results of tools.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <span>

#include "base/error.h"
#include "base/sha256.h"
#include "serve/chat_tools.h"
#include "serve/request_fields.h"

namespace weft::serve {
namespace {

using json = nlohmann::ordered_json;
using text::ToolFormat;

[[noreturn]] void refuse(std::string_view field, std::string_view what) {
  throw Error(ErrorKind::kUsage, fmt::format("{}: {}", field, what));
}

const json* find(const json& object, const char* key) {
  const auto at = object.find(key);
  return at == object.end() || at->is_null() ? nullptr : &*at;
}

// Mistral's templates take ids of 9 letters and digits alone: others are replaced by what they
// hash to, the same for a call and its result.
std::string short_id(const std::string& id) {
  const auto plain = [](unsigned char c) { return std::isalnum(c) != 0; };
  if (id.size() == 9 && std::ranges::all_of(id, plain)) return id;
  Sha256 hash;
  hash.add(std::as_bytes(std::span(id)));
  return hash.finish().substr(0, 9);
}

// A call's arguments come as a text with JSON in it (OpenAI), or as the object itself; templates
// want the object.
json arguments_of(const json& function, const std::string& field, JsonCount* count) {
  const json* given = find(function, "arguments");
  if (given == nullptr) return json::object();
  if (given->is_object()) return *given;
  if (!given->is_string()) refuse(field, "a text with a JSON object is expected");
  const auto& text = given->get_ref<const std::string&>();
  if (text.empty()) return json::object();
  try {
    json object = parse_ordered_json(text, "the text", count);
    if (object.is_object()) return object;
  } catch (const Error& error) {
    refuse(field, fmt::format("a text with a JSON object is expected; {}", error.summary()));
  }
  refuse(field, "a text with a JSON object is expected");
}

json read_call(const json& call, const std::string& field, bool short_ids, JsonCount* count) {
  const json* function = call.is_object() ? find(call, "function") : nullptr;
  if (function == nullptr || !function->is_object())
    refuse(field + ".function", "an object is expected");
  const json* name = find(*function, "name");
  if (name == nullptr || !name->is_string()) refuse(field + ".function.name", "a text is expected");
  const json* id = find(call, "id");
  if (id != nullptr && !id->is_string()) refuse(field + ".id", "a text is expected");
  json read = {{"type", "function"},
               {"function",
                {{"name", *name},
                 {"arguments", arguments_of(*function, field + ".function.arguments", count)}}}};
  if (id != nullptr)
    read["id"] = short_ids ? short_id(id->get<std::string>()) : id->get<std::string>();
  return read;
}

// A message's text: as it is, or in parts, of which texts alone can be read.
std::string content_of(const json& message, const std::string& field) {
  const json* content = find(message, "content");
  if (content == nullptr) return {};
  if (content->is_string()) return *content;
  if (!content->is_array()) refuse(field, "a text or a list of parts is expected");
  std::string text;
  for (const json& part : *content) {
    const json* type = part.is_object() ? find(part, "type") : nullptr;
    const std::string kind = type != nullptr && type->is_string() ? type->get<std::string>() : "";
    const json* words = kind.ends_with("text") ? find(part, "text") : nullptr;
    if (words == nullptr || !words->is_string())
      refuse(field, fmt::format("a part of type '{}' cannot be read, text is all there is",
                                kind.substr(0, 64)));
    text += words->get_ref<const std::string&>();
  }
  return text;
}

// Checks one message, and makes its calls and ids what templates expect.
void read_message(json& message, const std::string& field, bool short_ids, JsonCount* count) {
  if (!message.is_object()) refuse(field, "a message is expected");
  const json* given = find(message, "role");
  if (given == nullptr || !given->is_string()) refuse(field + ".role", "a text is expected");
  const std::string role = *given;
  message["content"] = content_of(message, field + ".content");
  if (role == "tool") {
    const json* id = find(message, "tool_call_id");
    if (id != nullptr && !id->is_string()) refuse(field + ".tool_call_id", "a text is expected");
    if (id != nullptr && short_ids) message["tool_call_id"] = short_id(id->get<std::string>());
  }
  const json* calls = find(message, "tool_calls");
  if (calls == nullptr) {
    message.erase("tool_calls");
    return;
  }
  if (role != "assistant" || !calls->is_array())
    refuse(field + ".tool_calls", "a list is expected, of an assistant's message");
  json read = json::array();
  for (const json& call : *calls)
    read.push_back(
        read_call(call, fmt::format("{}.tool_calls[{}]", field, read.size()), short_ids, count));
  if (read.empty()) {
    message.erase("tool_calls");
  } else {
    message["tool_calls"] = std::move(read);
  }
}

// How a system message tells a model of tools where its template does not.
std::string instructions(ToolFormat format, const ChatTools& tools) {
  std::string list;
  for (const Tool& tool : tools.tools) list += tool.json + "\n";
  switch (format) {
    case ToolFormat::kHermes:
      return "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou "
             "are provided with function signatures within <tools></tools> XML tags:\n<tools>\n" +
             list +
             "</tools>\n\nFor each function call, return a json object with function name and "
             "arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": "
             "<function-name>, \"arguments\": <args-json-object>}\n</tool_call>";
    case ToolFormat::kLlama3Json:
      return "You have access to the following functions. To call a function, respond with nothing "
             "but JSON in the format {\"name\": function name, \"parameters\": dictionary of "
             "argument name and its value}.\n\n" +
             list;
    case ToolFormat::kPythonic:
      return "You have access to functions. If you decide to invoke any of the function(s), you "
             "MUST put it in the format of [func_name1(params_name1=params_value1, "
             "params_name2=params_value2...), func_name2(params)]\n\nYou SHOULD NOT include any "
             "other text in the response if you call a function\n" +
             list;
    default:
      break;
  }
  refuse("tools", fmt::format("this model's template knows no tools, and calls in the format '{}' "
                              "cannot be explained to it; --tool-call-parser hermes can be",
                              name(format)));
}

std::string calls_as_text(ToolFormat format, const json& calls) {
  std::string text;
  for (const json& call : calls) {
    const json& function = call["function"];
    const std::string name = function["name"].dump(), arguments = function["arguments"].dump();
    if (!text.empty()) text += format == ToolFormat::kLlama3Json ? "; " : "\n";
    text += format == ToolFormat::kLlama3Json
                ? fmt::format(R"({{"name": {}, "parameters": {}}})", name, arguments)
                : fmt::format("<tool_call>\n{{\"name\": {}, \"arguments\": {}}}\n</tool_call>",
                              name, arguments);
  }
  return text;
}

// For templates without tools: calls and results as text, results in messages of the user, several
// together in one, since many templates want roles to alternate.
json without_tools(const json& messages, ToolFormat format) {
  json plain = json::array();
  bool joins = false;
  for (const json& message : messages) {
    const bool result = message.value("role", "") == "tool";
    json shown = {{"role", result ? "user" : message.value("role", "user")},
                  {"content", message.value("content", "")}};
    if (result) {
      shown["content"] =
          fmt::format("<tool_response>\n{}\n</tool_response>", shown["content"].get<std::string>());
    } else if (message.contains("tool_calls")) {
      const std::string said = shown["content"];
      shown["content"] =
          said + (said.empty() ? "" : "\n") + calls_as_text(format, message["tool_calls"]);
    }
    if (result && joins) {
      plain.back()["content"] =
          plain.back()["content"].get<std::string>() + "\n" + shown["content"].get<std::string>();
    } else {
      plain.push_back(std::move(shown));
    }
    joins = result;
  }
  return plain;
}

void add_instructions(json& messages, const std::string& words, bool takes_system) {
  const bool has_system = !messages.empty() && messages[0].value("role", "") == "system";
  if (has_system) {
    messages[0]["content"] = messages[0].value("content", "") + "\n\n" + words;
  } else if (takes_system) {
    messages.insert(messages.begin(), json{{"role", "system"}, {"content", words}});
  } else {
    for (json& message : messages) {
      if (message.value("role", "") != "user") continue;
      message["content"] = words + "\n\n" + message.value("content", "");
      return;
    }
    refuse("messages", "there is no message of the user to put the tools in");
  }
}

}  // namespace

ChatInput chat_input(const ChatTools& tools, const text::ChatProfile& profile,
                     std::string_view messages_json, std::string_view variables_json) {
  JsonCount count;  // texts within the messages count with them
  json messages = parse_ordered_json(messages_json, "messages", &count);
  json variables = variables_json.empty()
                       ? json::object()
                       : parse_ordered_json(variables_json, "chat_template_kwargs");
  if (!messages.is_array()) refuse("messages", "a list is expected");
  if (!variables.is_object()) refuse("chat_template_kwargs", "an object is expected");
  if (tools.may_call() && !profile.tools)
    refuse("tools",
           "this model writes calls in a format that is not known here; "
           "--tool-call-parser names another one to read");
  bool holds_calls = false;
  for (size_t i = 0; i < messages.size(); ++i) {
    read_message(messages[i], fmt::format("messages[{}]", i), profile.wants_short_ids, &count);
    holds_calls = holds_calls || messages[i].contains("tool_calls") ||
                  messages[i].value("role", "") == "tool";
  }
  const ToolFormat format = profile.tools.value_or(ToolFormat::kHermes);
  if (holds_calls && !profile.takes_calls) messages = without_tools(messages, format);
  // With tool_choice "none" the model is not told of tools (vLLM does the same).
  if (tools.may_call() && profile.takes_tools) {
    json list = json::array();
    for (const Tool& tool : tools.tools) list.push_back(json::parse(tool.json));
    variables["tools"] = std::move(list);
  } else if (tools.may_call()) {
    add_instructions(messages, instructions(format, tools), profile.takes_system);
  }
  return {messages.dump(), variables.dump()};
}

std::string render_chat(const text::ChatTemplate& chat, const ChatInput& input,
                        bool add_generation_prompt, bool continue_final) {
  if (!continue_final)
    return chat.render_json(input.messages, add_generation_prompt, input.variables);
  const json messages = json::parse(input.messages, nullptr, /*allow_exceptions=*/false);
  const std::string last =
      messages.is_array() && !messages.empty() ? messages.back().value("content", "") : "";
  const auto is_blank = [](char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; };
  size_t begin = 0, end = last.size();  // templates trim what they render
  while (begin < end && is_blank(last[begin])) ++begin;
  while (end > begin && is_blank(last[end - 1])) --end;
  const std::string words = last.substr(begin, end - begin);
  std::string prompt = chat.render_json(input.messages, false, input.variables);
  const size_t at = words.empty() ? std::string::npos : prompt.rfind(words);
  if (at == std::string::npos)
    refuse("continue_final_message",
           "the last message has no text that its template renders as it is");
  // As much of the blanks behind it as the template kept.
  size_t stop = at + words.size();
  for (size_t i = end; i < last.size() && stop < prompt.size() && prompt[stop] == last[i]; ++i)
    ++stop;
  return prompt.substr(0, stop);
}

}  // namespace weft::serve
