#include "serve/response_body.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "serve/request_body.h"
#include "serve/request_error.h"
#include "serve/request_fields.h"

namespace weft::serve {
namespace {

using json = nlohmann::ordered_json;

[[noreturn]] void refuse(const std::string& field, const std::string& what) {
  throw RequestError(fmt::format("{}: {}", field, what), {.param = field});
}

const json* find(const json& object, const char* key) {
  const auto at = object.find(key);
  return at == object.end() || at->is_null() ? nullptr : &*at;
}

std::string text_of(const json& object, const char* key, const std::string& field) {
  const json* text = find(object, key);
  if (text == nullptr || !text->is_string())
    refuse(fmt::format("{}.{}", field, key), "a text is expected");
  return *text;
}

// A text, or parts of which texts alone can be read.
std::string content_of(const json& content, const std::string& field) {
  if (content.is_string()) return content;
  if (!content.is_array()) refuse(field, "a text or a list of parts is expected");
  std::string text;
  for (const json& part : content) {
    const json* type = part.is_object() ? find(part, "type") : nullptr;
    const std::string kind = type != nullptr && type->is_string() ? type->get<std::string>() : "";
    if (kind != "input_text" && kind != "output_text" && kind != "text")
      refuse(field, fmt::format("a part of type '{}' cannot be read, text is all there is",
                                kind.substr(0, 64)));
    text += text_of(part, "text", field);
  }
  return text;
}

// Calls belong to the assistant's message before them. One that was cut is none, as where the
// conversation goes on from a response that was kept.
void add_call(const json& item, const std::string& field, json& messages) {
  const json call = {
      {"id", text_of(item, "call_id", field)},
      {"type", "function"},
      {"function",
       {{"name", text_of(item, "name", field)}, {"arguments", text_of(item, "arguments", field)}}}};
  if (messages.empty() || messages.back()["role"] != "assistant")
    messages.push_back({{"role", "assistant"}, {"content", ""}});
  const json* status = find(item, "status");
  if (status == nullptr || *status != "incomplete") messages.back()["tool_calls"].push_back(call);
}

void add_item(const json& item, const std::string& field, json& messages) {
  if (!item.is_object()) refuse(field, "an item is expected");
  const json* type = find(item, "type");
  const std::string kind = type == nullptr     ? "message"
                           : type->is_string() ? type->get<std::string>()
                                               : "";
  if (kind == "message") {
    const json* content = find(item, "content");
    if (content == nullptr) refuse(field + ".content", "a text is expected");
    messages.push_back({{"role", text_of(item, "role", field)},
                        {"content", content_of(*content, field + ".content")}});
  } else if (kind == "function_call") {
    add_call(item, field, messages);
  } else if (kind == "function_call_output") {
    const json* output = find(item, "output");
    if (output == nullptr) refuse(field + ".output", "a text is expected");
    messages.push_back({{"role", "tool"},
                        {"tool_call_id", text_of(item, "call_id", field)},
                        {"content", content_of(*output, field + ".output")}});
  } else if (kind != "reasoning") {  // templates leave out what was thought in earlier turns
    refuse(field + ".type", fmt::format("items of type '{}' cannot be read", kind.substr(0, 64)));
  }
}

void add_input(const json& body, ResponseRequest& request) {
  const json* input = find(body, "input");
  if (input == nullptr) refuse("input", "a text or a list of items is expected");
  if (input->is_string()) {
    request.input =
        json::array({{{"type", "message"},
                      {"role", "user"},
                      {"content", json::array({{{"type", "input_text"}, {"text", *input}}})}}});
  } else if (input->is_array() && !input->empty()) {
    request.input = *input;
  } else {
    refuse("input", "a text or a list of items is expected");
  }
  for (size_t i = 0; i < request.input.size(); ++i)
    add_item(request.input[i], fmt::format("input[{}]", i), request.messages);
}

void add_history(const json& body, const FindConversation& find_conversation,
                 ResponseRequest& request) {
  request.messages = json::array();
  const json* previous = find(body, "previous_response_id");
  if (previous == nullptr) return;
  if (!previous->is_string()) refuse("previous_response_id", "a text is expected");
  const std::optional<std::string> found = find_conversation(*previous);
  if (!found)
    throw RequestError(
        fmt::format("there is no response '{}'", previous->get<std::string>().substr(0, 64)),
        {.param = "previous_response_id",
         .code = "previous_response_not_found",
         .status = 404,
         .why = "it was not stored, was deleted, or had to make room for newer ones"});
  request.messages = json::parse(*found);  // what was kept was bounded before
}

// text.format as a chat's response_format.
json response_format(const json& body) {
  const json* text = find(body, "text");
  if (text == nullptr) return nullptr;
  if (!text->is_object()) refuse("text", "an object is expected");
  const json* format = find(*text, "format");
  if (format == nullptr) return nullptr;
  const std::string type = format->is_object() ? text_of(*format, "type", "text.format") : "";
  if (type == "text") return nullptr;
  if (type == "json_object") return {{"type", "json_object"}};
  if (type != "json_schema")
    refuse("text.format", "the type has to be text, json_object or json_schema");
  json schema = *format;
  schema.erase("type");
  return {{"type", "json_schema"}, {"json_schema", std::move(schema)}};
}

void refuse_what_is_missing(const json& body) {
  const json* background = find(body, "background");
  if (background != nullptr && *background != false)
    refuse("background", "responses are made while their client waits");
  for (const char* key : {"conversation", "prompt"})
    if (find(body, key) != nullptr)
      refuse(key, "it cannot be honoured; previous_response_id and input can");
  const json* truncation = find(body, "truncation");
  if (truncation != nullptr && *truncation != "disabled")
    refuse("truncation", "only \"disabled\" is known: nothing is left out of a conversation");
}

constexpr std::string_view kIncludedLogprobs = "message.output_text.logprobs";
constexpr int kMostTopLogprobs = 20;
constexpr int64_t kMostToolCalls = INT32_MAX;

// What is said otherwise in a chat, or not at all.
constexpr std::array<const char*, 19> kOfResponses = {"input",
                                                      "instructions",
                                                      "previous_response_id",
                                                      "text",
                                                      "max_output_tokens",
                                                      "store",
                                                      "background",
                                                      "include",
                                                      "reasoning",
                                                      "truncation",
                                                      "metadata",
                                                      "user",
                                                      "n",
                                                      "max_tool_calls",
                                                      "messages",
                                                      "response_format",
                                                      "max_tokens",
                                                      "max_completion_tokens",
                                                      "stream_options"};

// Asked for by include; top_logprobs alone says only how many there would be.
void ask_for_logprobs(const json& body, json* chat) {
  const json* include = find(body, "include");
  bool wants = false;
  if (include != nullptr) {
    const bool are_texts = include->is_array() && std::ranges::all_of(*include, &json::is_string);
    if (!are_texts) refuse("include", "a list of texts is expected");
    wants = std::ranges::any_of(*include, [](const json& each) {
      return each.get_ref<const std::string&>() == kIncludedLogprobs;
    });
  }
  const json* top = find(body, "top_logprobs");
  if (top != nullptr && (!top->is_number_integer() || *top < 0 || *top > kMostTopLogprobs))
    refuse("top_logprobs",
           fmt::format("a whole number from 0 to {} is expected", kMostTopLogprobs));
  if (wants)
    (*chat)["logprobs"] = true;
  else if (find(body, "logprobs") == nullptr)
    chat->erase("top_logprobs");
}

json chat_body(const json& body, const ResponseRequest& request) {
  json chat = body;
  for (const char* key : kOfResponses) chat.erase(key);
  json messages = json::array();
  if (const json* instructions = find(body, "instructions")) {
    if (!instructions->is_string()) refuse("instructions", "a text is expected");
    messages.push_back({{"role", "system"}, {"content", *instructions}});
  }
  for (const json& message : request.messages) messages.push_back(message);
  chat["messages"] = std::move(messages);
  if (const json* most = find(body, "max_output_tokens")) {
    const int64_t highest = BodyLimits{}.max_tokens;
    if (!most->is_number_integer() || *most < 1 || *most > highest)
      refuse("max_output_tokens", fmt::format("1 to {} is expected", highest));
    chat["max_completion_tokens"] = *most;
  }
  if (json format = response_format(body); !format.is_null())
    chat["response_format"] = std::move(format);
  ask_for_logprobs(body, &chat);
  return chat;
}

// Tools as responses show them, whichever form they came in.
json shown_tools(const json& body) {
  json shown = json::array();
  const json* tools = find(body, "tools");
  if (tools == nullptr || !tools->is_array()) return shown;
  for (const json& tool : *tools) {
    json flat = {{"type", "function"}};
    const json* nested = tool.is_object() ? find(tool, "function") : nullptr;
    const json& function = nested != nullptr && nested->is_object() ? *nested : tool;
    if (!function.is_object()) continue;  // the chat's reader refuses it
    flat.update(function);
    for (const char* key : {"parameters", "strict"})
      if (!flat.contains(key)) flat[key] = nullptr;
    shown.push_back(std::move(flat));
  }
  return shown;
}

// Of what is repeated and means nothing here: what a client sends is what its library reads again.
void check_terms(const json& body) {
  const auto expect = [&](const char* key, bool (json::*is_kind)() const noexcept,
                          const char* expected) {
    const json* value = find(body, key);
    if (value != nullptr && !(value->*is_kind)()) refuse(key, expected);
  };
  expect("reasoning", &json::is_object, "an object is expected");
  expect("metadata", &json::is_object, "an object is expected");
  expect("user", &json::is_string, "a text is expected");
  expect("parallel_tool_calls", &json::is_boolean, "true or false is expected");
  const json* calls = find(body, "max_tool_calls");
  if (calls != nullptr && (!calls->is_number_integer() || *calls < 1 || *calls > kMostToolCalls))
    refuse("max_tool_calls",
           fmt::format("a whole number from 1 to {} is expected", kMostToolCalls));
}

json terms_of(const json& body) {
  const auto given = [&](const char* key, json otherwise) {
    const json* value = find(body, key);
    return value != nullptr ? *value : otherwise;
  };
  json terms = {{"background", false}, {"truncation", "disabled"}};
  terms["top_logprobs"] = given("top_logprobs", 0);
  for (const char* key :
       {"instructions", "max_output_tokens", "max_tool_calls", "previous_response_id", "user"})
    terms[key] = given(key, nullptr);
  terms["metadata"] = given("metadata", json::object());
  terms["parallel_tool_calls"] = given("parallel_tool_calls", true);
  terms["reasoning"] = given("reasoning", {{"effort", nullptr}, {"summary", nullptr}});
  terms["text"] = given("text", json::object());
  if (terms["text"].is_object() && find(terms["text"], "format") == nullptr)
    terms["text"]["format"] = {{"type", "text"}};
  terms["tool_choice"] = given("tool_choice", "auto");
  terms["tools"] = shown_tools(body);
  return terms;
}

struct Renamed {
  std::string_view of_chat, of_response;
};
// The longer ones first.
constexpr std::array<Renamed, 6> kRenamed{{{"response_format.json_schema", "text.format"},
                                           {"response_format", "text.format"},
                                           {"max_completion_tokens", "max_output_tokens"},
                                           {"max_tokens", "max_output_tokens"},
                                           {"messages", "input"},
                                           {"logprobs", "include"}}};

void replace_all(std::string_view from, std::string_view to, std::string* text) {
  for (size_t at = text->find(from); at != std::string::npos; at = text->find(from, at + to.size()))
    text->replace(at, from.size(), to);
}

}  // namespace

void retell_of_response(ErrorObject* error) {
  for (const auto& [of_chat, of_response] : kRenamed) {
    if (!error->param.starts_with(of_chat)) continue;
    replace_all(of_chat, of_response, &error->message);
    // Instructions and earlier turns stand before the input: numbers of messages are not its own.
    error->param = of_chat == "messages"
                       ? std::string(of_response)
                       : std::string(of_response) + error->param.substr(of_chat.size());
    return;
  }
}

ResponseRequest read_response(std::string_view body_json,
                              const FindConversation& find_conversation) {
  const json body = parse_ordered_json(body_json, "the body");
  if (!body.is_object()) refuse("input", "the body is no JSON object");
  refuse_what_is_missing(body);
  ResponseRequest request;
  add_history(body, find_conversation, request);
  add_input(body, request);
  if (const json* store = find(body, "store")) {
    if (!store->is_boolean()) refuse("store", "true or false is expected");
    request.store = *store;
  }
  check_terms(body);
  request.chat_body = chat_body(body, request).dump();
  request.terms = terms_of(body);
  request.terms["store"] = request.store;
  return request;
}

}  // namespace weft::serve
