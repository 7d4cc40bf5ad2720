#include "cli/request_line.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "base/digest.h"
#include "base/random.h"
#include "serve/prompt_fields.h"

namespace weft::cli {
namespace {

using nlohmann::json;
using serve::Fields;

// A file is its owner's: what the engine can do it may ask for.
constexpr serve::BodyLimits kLimits = [] {
  serve::BodyLimits limits;
  limits.choices = 16'384;
  limits.stops = 256;
  limits.stop_bytes = 1 << 20;
  limits.bad_words = 1 << 16;
  limits.logprobs = engine::kMostLogprobs;
  limits.whole_vocabulary = true;
  return limits;
}();

constexpr size_t kMaxCustomId = 1024;  // bytes
constexpr const char* kChatUrl = "/v1/chat/completions";
constexpr const char* kCompletionUrl = "/v1/completions";

std::string place_of(int64_t number) { return fmt::format("line {}", number); }

// A prompt alone becomes what `weft run -p` makes of it.
void read_prompt_alone(const Fields& body, const LineDefaults& defaults, RequestLine* line) {
  const json* prompt = body.find("prompt");
  line->is_chat = prompt != nullptr && prompt->is_string() && defaults.chat_template;
  line->sampling = defaults.prompt;
  if (!line->is_chat) return serve::read_prompts(body, kLimits, line);
  json messages = json::array();
  if (!defaults.system.empty())
    messages.push_back({{"role", "system"}, {"content", defaults.system}});
  line->is_question = messages.empty();
  line->last_content = prompt->get<std::string>();
  messages.push_back({{"role", "user"}, {"content", line->last_content}});
  line->messages = messages.dump();
}

// Answers of a file come from the engine alone, which knows no tools.
void refuse_tools(const Fields& fields) {
  const json* tools = fields.find("tools");
  if (tools != nullptr && !tools->empty())
    fields.refuse_as_missing("tools", "calls of tools come with `weft serve`");
}

void read_chat(const Fields& fields, const LineDefaults& defaults, RequestLine* line) {
  line->sampling = defaults.chat;
  serve::read_chat(fields, kLimits, line);
  refuse_tools(fields);
}

void read_completion(const Fields& fields, const LineDefaults& defaults, RequestLine* line) {
  line->sampling = defaults.completion;
  serve::read_completion(fields, kLimits, line);
  refuse_tools(fields);
}

void read_batch_request(const Fields& fields, const LineDefaults& defaults, RequestLine* line) {
  const std::string method = fields.text("method").value_or("POST");
  if (method != "POST") fields.refuse("method", "POST is expected");
  const std::string url = fields.text("url").value_or(kChatUrl);
  const std::string source = fields.source("body");  // a schema keeps its author's order
  const Fields body(*fields.find("body"), fields.place() + ", body", "", source);
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
    fields.fail("prompt", "messages and prompt are both given", "each is the whole prompt");
  if (fields.has("messages")) return read_chat(fields, defaults, line);
  if (!fields.has("prompt"))
    fields.fail("prompt", "neither body, nor messages, nor prompt is given",
                R"(lines are OpenAI batch requests, or {"prompt": "..."})");
  read_prompt_alone(fields, defaults, line);
  serve::read_terms(fields, kLimits, line);
  if (!line->grammar) line->grammar = defaults.grammar;
  refuse_tools(fields);
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
  const std::string numerics = reduce == "int64" ? kv_cache_dtype : kv_cache_dtype + "/" + reduce;
  const std::string said =
      digest_of({text_of(prompt), text_of(chat), text_of(completion), std::to_string(seed), system,
                 chat_template ? "template" : "plain", hash_logits ? "hash" : "", numerics})
          .hex;
  if (!grammar) return said;
  return digest_of({said, std::to_string(static_cast<int>(grammar->kind)), grammar->source}).hex;
}

RequestLine parse_request_line(std::string_view text, int64_t number,
                               const LineDefaults& defaults) {
  RequestLine line;
  line.number = number;
  line.hash_logits = defaults.hash_logits;
  line.custom_id = fmt::format("line-{}", number);
  json value = serve::parse_json(text, place_of(number));
  if (value.is_string()) value = json{{"prompt", std::move(value)}};
  read_fields(Fields(value, place_of(number), "", text), defaults, &line);
  line.request_id =
      "weft-" + digest_of({text, line.custom_id, defaults.fingerprint()}).hex.substr(0, 24);
  if (!line.sampling.seed)
    line.sampling.seed = uniform_bits(defaults.seed, digest_of(line.custom_id).number(), 0);
  return line;
}

}  // namespace weft::cli
