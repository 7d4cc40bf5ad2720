#include "cli/request_line.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "base/random.h"
#include "cli/digest.h"
#include "cli/request_fields.h"
#include "cli/sampling_fields.h"

namespace weft::cli {
namespace {

using nlohmann::json;

constexpr size_t kMostPrompts = 1024;  // of one line
constexpr size_t kMaxCustomId = 1024;  // bytes
constexpr const char* kChatUrl = "/v1/chat/completions";
constexpr const char* kCompletionUrl = "/v1/completions";

std::string place_of(int64_t number) { return fmt::format("line {}", number); }

// The text of a message: as it is, or as parts of which only texts can be read.
std::string content_of(const Fields& message) {
  const json* content = message.find("content");
  if (content == nullptr) return "";
  if (content->is_string()) return content->get<std::string>();
  if (!content->is_array()) message.refuse("content", "a text or a list of parts is expected");
  std::string text;
  for (const json& entry : *content) {
    const Fields part(entry, message.place() + ", content");
    const std::string type = part.text("type").value_or("");
    if (type != "text")
      part.fail(fmt::format("parts of type '{}' cannot be read", type), "text is all there is");
    text += part.text("text").value_or("");
  }
  return text;
}

// What the template is given: the messages as they are, their contents as texts.
void read_messages(const Fields& body, RequestLine* line) {
  const json* messages = body.find("messages");
  if (messages == nullptr || !messages->is_array() || messages->empty())
    body.refuse("messages", "a list of messages is expected");
  json rendered = json::array();
  for (const json& entry : *messages) {
    const Fields message(entry, fmt::format("{}: messages[{}]", body.place(), rendered.size()));
    if (message.text("role").value_or("").empty()) message.refuse("role", "a text is expected");
    line->last_content = content_of(message);
    rendered.push_back(entry);
    rendered.back()["content"] = line->last_content;
  }
  line->messages = rendered.dump();
  line->add_generation_prompt = body.flag("add_generation_prompt").value_or(true);
  line->add_special_tokens = body.flag("add_special_tokens").value_or(false);
  if (const json* variables = body.find("chat_template_kwargs")) {
    if (!variables->is_object()) body.refuse("chat_template_kwargs", "an object is expected");
    line->template_variables = variables->dump();
  }
}

// A text, a list of texts, token ids, or a list of those.
void read_prompts(const Fields& body, RequestLine* line) {
  constexpr const char* kExpected = "a text, token ids, or a list of those is expected";
  const json* prompt = body.find("prompt");
  if (prompt == nullptr) body.refuse("prompt", kExpected);
  const auto ids_of = [&](const json& list) {
    std::vector<int32_t> ids;
    for (const json& entry : list) {
      const std::optional<int32_t> id = token_id(entry);
      if (!id) body.refuse("prompt", kExpected);
      ids.push_back(*id);
    }
    return ids;
  };
  const auto add = [&](const json& one) {
    if (one.is_string()) return line->prompts.emplace_back(one.get<std::string>());
    if (!one.is_array() || one.empty()) body.refuse("prompt", kExpected);
    return line->prompts.emplace_back(ids_of(one));
  };
  const bool is_list = prompt->is_array() && !prompt->empty() && !prompt->front().is_number();
  if (!is_list) {
    add(*prompt);
  } else {
    if (prompt->size() > kMostPrompts)
      body.fail(fmt::format("{} prompts are given, above {}", prompt->size(), kMostPrompts));
    for (const json& one : *prompt) add(one);
  }
  line->add_special_tokens = body.flag("add_special_tokens").value_or(true);
}

// A prompt alone becomes what `weft run -p` makes of it.
void read_prompt_alone(const Fields& body, const LineDefaults& defaults, RequestLine* line) {
  const json* prompt = body.find("prompt");
  line->is_chat = prompt != nullptr && prompt->is_string() && defaults.chat_template;
  line->sampling = defaults.prompt;
  if (!line->is_chat) return read_prompts(body, line);
  json messages = json::array();
  if (!defaults.system.empty())
    messages.push_back({{"role", "system"}, {"content", defaults.system}});
  line->last_content = prompt->get<std::string>();
  messages.push_back({{"role", "user"}, {"content", line->last_content}});
  line->messages = messages.dump();
}

void read_body(const Fields& body, RequestLine* line) {
  refuse_what_is_missing(body);
  read_sampling(body, line);
}

void read_chat(const Fields& body, const LineDefaults& defaults, RequestLine* line) {
  line->is_chat = true;
  line->sampling = defaults.chat;
  read_messages(body, line);
  read_body(body, line);
}

void read_completion(const Fields& body, const LineDefaults& defaults, RequestLine* line) {
  line->is_chat = false;
  line->sampling = defaults.completion;
  read_prompts(body, line);
  read_body(body, line);
}

void read_batch_request(const Fields& fields, const LineDefaults& defaults, RequestLine* line) {
  const std::string method = fields.text("method").value_or("POST");
  if (method != "POST") fields.refuse("method", "POST is expected");
  const std::string url = fields.text("url").value_or(kChatUrl);
  const Fields body(*fields.find("body"), fields.place() + ", body");
  if (url == kChatUrl) return read_chat(body, defaults, line);
  if (url == kCompletionUrl) return read_completion(body, defaults, line);
  fields.refuse("url", fmt::format("{} or {} is expected", kChatUrl, kCompletionUrl));
}

void read_fields(const Fields& fields, const LineDefaults& defaults, RequestLine* line) {
  if (auto id = fields.text("custom_id")) line->custom_id = std::move(*id);
  if (line->custom_id.empty() || line->custom_id.size() > kMaxCustomId)
    fields.refuse("custom_id", fmt::format("a text of 1 to {} bytes is expected", kMaxCustomId));
  if (fields.has("body")) return read_batch_request(fields, defaults, line);
  if (fields.has("messages") && fields.has("prompt"))
    fields.fail("messages and prompt are both given", "each is the whole prompt");
  if (fields.has("messages")) return read_chat(fields, defaults, line);
  if (!fields.has("prompt"))
    fields.fail("neither body, nor messages, nor prompt is given",
                R"(lines are OpenAI batch requests, or {"prompt": "..."})");
  read_prompt_alone(fields, defaults, line);
  read_body(fields, line);
}

std::string text_of(const engine::SamplingParams& p) {
  return fmt::format("{} {} {} {} {} {} {} {} {} {} {} {} {} {} {}", p.max_tokens, p.min_tokens,
                     p.temperature, p.top_k, p.top_p, p.min_p, p.typical_p, p.repetition_penalty,
                     p.presence_penalty, p.frequency_penalty, fmt::join(p.stop_token_ids, ","),
                     p.ignore_eos, p.logprobs.value_or(-2), p.prompt_logprobs.value_or(-2),
                     fmt::join(p.stop, "\x1f"));
}

}  // namespace

std::string LineDefaults::fingerprint() const {
  return digest_of({text_of(prompt), text_of(chat), text_of(completion), std::to_string(seed),
                    system, chat_template ? "template" : "plain", hash_logits ? "hash" : "",
                    kv_cache_dtype})
      .hex;
}

RequestLine parse_request_line(std::string_view text, int64_t number,
                               const LineDefaults& defaults) {
  RequestLine line;
  line.number = number;
  line.hash_logits = defaults.hash_logits;
  line.custom_id = fmt::format("line-{}", number);
  json value = parse_json(text, place_of(number));
  if (value.is_string()) value = json{{"prompt", std::move(value)}};
  read_fields(Fields(value, place_of(number)), defaults, &line);
  line.request_id =
      "weft-" + digest_of({text, line.custom_id, defaults.fingerprint()}).hex.substr(0, 24);
  if (!line.sampling.seed)
    line.sampling.seed = uniform_bits(defaults.seed, digest_of(line.custom_id).number(), 0);
  return line;
}

}  // namespace weft::cli
