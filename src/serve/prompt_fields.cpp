#include "serve/prompt_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

namespace weft::serve {
namespace {

using nlohmann::json;

constexpr size_t kMostVariables = 32;
constexpr size_t kMaxVariableBytes = 4096;
// What the renderer itself sets; a request that could would be another template's input.
constexpr std::array<std::string_view, 8> kReserved = {
    "messages",  "tools",     "documents", "add_generation_prompt",
    "bos_token", "eos_token", "tokenize",  "chat_template"};

// The text of a message: as it is, or as parts of which only texts can be read.
std::string content_of(const Fields& message) {
  const json* content = message.find("content");
  if (content == nullptr) return "";
  if (content->is_string()) return content->get<std::string>();
  if (!content->is_array()) message.refuse("content", "a text or a list of parts is expected");
  std::string text;
  for (const json& entry : *content) {
    const Fields part = message.inside(entry, "content");
    const std::string type = part.text("type").value_or("");
    if (type != "text")
      part.fail("type", fmt::format("parts of type '{}' cannot be read", type),
                "text is all there is");
    const std::optional<std::string> words = part.text("text");
    if (!words) part.refuse("text", "a text is expected");
    text += *words;
  }
  return text;
}

bool is_name(const std::string& text) {
  return !text.empty() && text.size() <= 64 &&
         std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return std::isalnum(c) || c == '_'; });
}

// Switches and words that templates read ("enable_thinking"): scalars under names that are not the
// renderer's own, so that nothing of a request is run or replaces the conversation.
json template_variables(const Fields& fields) {
  const json* variables = fields.find("chat_template_kwargs");
  if (variables == nullptr) return json::object();
  const Fields inner = fields.inside(*variables, "chat_template_kwargs");
  if (variables->size() > kMostVariables)
    fields.fail("chat_template_kwargs", fmt::format("{} chat_template_kwargs are given, above {}",
                                                    variables->size(), kMostVariables));
  for (const auto& [name, value] : variables->items()) {
    const bool reserved = std::find(kReserved.begin(), kReserved.end(), name) != kReserved.end();
    if (reserved || !is_name(name))
      inner.fail(name, fmt::format("chat_template_kwargs cannot set '{}'", name.substr(0, 64)));
    const bool fits =
        !value.is_string() || value.get_ref<const std::string&>().size() <= kMaxVariableBytes;
    if (value.is_structured() || !fits)
      inner.refuse(name, "true, false, a number or a short text is expected");
  }
  return *variables;
}

// What a template may read of a message; the rest stays outside.
json read_message(const Fields& message, RequestBody* body) {
  std::string role = message.text("role").value_or("");
  if (role.empty()) message.refuse("role", "a text is expected");
  // OpenAI's later name of a system message, which templates do not know.
  if (role == "developer") role = "system";
  body->last_content = content_of(message);
  json rendered = {{"role", std::move(role)}, {"content", body->last_content}};
  for (const char* name : {"name", "tool_call_id", "reasoning_content"})
    if (std::optional<std::string> text = message.text(name)) rendered[name] = std::move(*text);
  if (const json* calls = message.find("tool_calls")) {
    if (!calls->is_array()) message.refuse("tool_calls", "a list is expected");
    if (!calls->empty()) rendered["tool_calls"] = *calls;
  }
  return rendered;
}

// Texts to answer from, as some templates show them: bounded like all that is rendered.
json read_documents(const Fields& fields, const BodyLimits& limits) {
  const json& documents = *fields.find("documents");
  if (!documents.is_array()) fields.refuse("documents", "a list is expected");
  if (static_cast<int64_t>(documents.size()) > limits.documents)
    fields.fail("documents", fmt::format("{} documents are given, above {}", documents.size(),
                                         limits.documents));
  int64_t bytes = 0;
  for (const json& document : documents) {
    const Fields inner = fields.inside(document, "documents");
    for (const auto& [name, value] : document.items()) {
      if (value.is_structured()) inner.fail(name, "a document's fields are texts and numbers");
      bytes += static_cast<int64_t>(name.size());
      if (value.is_string())
        bytes += static_cast<int64_t>(value.get_ref<const std::string&>().size());
    }
  }
  if (bytes > limits.document_bytes)
    fields.fail("documents",
                fmt::format("the documents have {} bytes, above {}", bytes, limits.document_bytes));
  return documents;
}

std::vector<int32_t> ids_of(const Fields& fields, const char* name, const json& list,
                            const char* expected) {
  std::vector<int32_t> ids;
  ids.reserve(list.size());
  for (const json& entry : list) {
    const std::optional<int32_t> id = token_id(entry);
    if (!id) fields.refuse(name, expected);
    ids.push_back(*id);
  }
  return ids;
}

}  // namespace

void read_messages(const Fields& fields, const BodyLimits& limits, RequestBody* body) {
  const json* messages = fields.find("messages");
  if (messages == nullptr || !messages->is_array() || messages->empty())
    fields.refuse("messages", "a list of messages is expected");
  if (static_cast<int64_t>(messages->size()) > limits.messages)
    fields.fail("messages",
                fmt::format("{} messages are given, above {}", messages->size(), limits.messages));
  json rendered = json::array();
  for (const json& entry : *messages)
    rendered.push_back(
        read_message(fields.inside(entry, fmt::format("messages[{}]", rendered.size())), body));
  body->is_question = rendered.size() == 1 && rendered.front()["role"] == "user";
  // Texts come from JSON, so they are UTF-8; surrogates that are none were refused with it.
  body->messages = rendered.dump();
  body->continue_final_message = fields.flag("continue_final_message").value_or(false);
  const std::optional<bool> add = fields.flag("add_generation_prompt");
  if (body->continue_final_message && add.value_or(false))
    fields.fail("continue_final_message",
                "continue_final_message and add_generation_prompt are both given");
  body->add_generation_prompt = add.value_or(!body->continue_final_message);
  body->add_special_tokens = fields.flag("add_special_tokens").value_or(false);
  json variables = template_variables(fields);
  if (fields.has("documents")) variables["documents"] = read_documents(fields, limits);
  body->template_variables = variables.dump();
}

int64_t read_truncation(const Fields& fields) {
  const json* truncated = fields.find("truncate_prompt_tokens");
  // The largest of 64 bits without a sign compares as -1.
  if (truncated != nullptr && !truncated->is_number_unsigned() && *truncated == kTruncateToContext)
    return kTruncateToContext;
  return fields.integer("truncate_prompt_tokens", 1, INT32_MAX, "-1 is what the context holds")
      .value_or(0);
}

std::vector<Prompt> prompts_of(const Fields& fields, const char* name, int64_t most) {
  constexpr const char* kExpected = "a text, token ids, or a list of those is expected";
  const json* prompt = fields.find(name);
  if (prompt == nullptr) fields.refuse(name, kExpected);
  std::vector<Prompt> prompts;
  const auto add = [&](const json& one) {
    if (one.is_string()) return prompts.emplace_back(one.get<std::string>());
    if (!one.is_array() || one.empty()) fields.refuse(name, kExpected);
    return prompts.emplace_back(ids_of(fields, name, one, kExpected));
  };
  const bool is_list = prompt->is_array() && !prompt->empty() && !prompt->front().is_number();
  if (!is_list) {
    add(*prompt);
    return prompts;
  }
  if (static_cast<int64_t>(prompt->size()) > most)
    fields.fail(name, fmt::format("{} prompts are given, above {}", prompt->size(), most));
  for (const json& one : *prompt) add(one);
  return prompts;
}

void read_prompts(const Fields& fields, const BodyLimits& limits, RequestBody* body) {
  body->prompts = prompts_of(fields, "prompt", limits.prompts);
  body->add_special_tokens = fields.flag("add_special_tokens").value_or(true);
}

}  // namespace weft::serve
