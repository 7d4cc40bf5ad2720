#include "cli/sampling_fields.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/option_values.h"
#include "cli/digest.h"

namespace weft::cli {
namespace {

using nlohmann::json;

constexpr size_t kMostStops = 256;       // each is matched against every token's text
constexpr size_t kMostBiases = 1 << 20;  // beyond any vocabulary
constexpr size_t kMostBadWords = 1 << 16;

// null, false, "", [] and {} ask for nothing.
bool asks(const json* value) {
  if (value == nullptr) return false;
  if (value->is_boolean()) return value->get<bool>();
  if (value->is_string()) return !value->get_ref<const std::string&>().empty();
  return !value->is_structured() || !value->empty();
}

bool is_text(const json* value, std::string_view text) {
  return value != nullptr && value->is_string() && value->get_ref<const std::string&>() == text;
}

template <typename T>
void take(std::optional<T> value, T* target) {
  if (value) *target = std::move(*value);
}

void read_counts(const Fields& body, RequestLine* line) {
  engine::SamplingParams& p = line->sampling;
  take(body.integer("n", INT64_MIN, INT64_MAX), &p.n);
  take(body.integer("best_of", INT64_MIN, INT64_MAX), &p.best_of);
  const char* const most =
      line->is_chat && body.has("max_completion_tokens") ? "max_completion_tokens" : "max_tokens";
  take(body.integer(most, 0, INT64_MAX), &p.max_tokens);
  take(body.integer("min_tokens", 0, INT64_MAX), &p.min_tokens);
  if (p.max_tokens != 0) return;
  // A prompt that is only to be judged: nothing is shown of the token that has to be generated.
  if (!line->echo) body.refuse(most, "1 or more is expected (0 only with echo)");
  line->only_echo = true;
  p.max_tokens = 1;
}

void read_filters(const Fields& body, engine::SamplingParams* p) {
  take(body.number("temperature"), &p->temperature);
  take(body.number("top_p"), &p->top_p);
  take(body.number("min_p"), &p->min_p);
  take(body.number("typical_p"), &p->typical_p);
  take(body.number("repetition_penalty"), &p->repetition_penalty);
  take(body.number("presence_penalty"), &p->presence_penalty);
  take(body.number("frequency_penalty"), &p->frequency_penalty);
  if (const auto top_k = body.integer("top_k", -1, INT32_MAX))
    p->top_k = static_cast<int32_t>(*top_k);
}

void read_bias(const Fields& body, engine::SamplingParams* p) {
  const json* bias = body.find("logit_bias");
  if (bias == nullptr) return;
  constexpr const char* kExpected = "an object of token ids and numbers is expected";
  if (!bias->is_object() || bias->size() > kMostBiases) body.refuse("logit_bias", kExpected);
  p->logit_bias.clear();
  for (const auto& [key, value] : bias->items()) {
    const std::optional<int64_t> id = parse_whole_number(key);
    if (!id || *id < 0 || *id > INT32_MAX || !value.is_number())
      body.refuse("logit_bias", kExpected);
    p->logit_bias.push_back({static_cast<int32_t>(*id), value.get<float>()});
  }
}

void read_ends(const Fields& body, RequestLine* line) {
  engine::SamplingParams& p = line->sampling;
  take(body.text_or_texts("stop"), &p.stop);
  if (p.stop.size() > kMostStops)
    body.fail(fmt::format("{} stop strings are given, above {}", p.stop.size(), kMostStops));
  take(body.ids("stop_token_ids"), &p.stop_token_ids);
  take(body.flag("ignore_eos"), &p.ignore_eos);
  take(body.flag("include_stop_str_in_output"), &p.include_stop_str_in_output);
  take(body.flag("skip_special_tokens"), &p.skip_special_tokens);
  if (auto ids = body.ids("allowed_token_ids")) p.allowed_token_ids = std::move(ids);
  take(body.texts("bad_words"), &line->bad_words);
  if (line->bad_words.size() > kMostBadWords)
    body.fail(
        fmt::format("{} bad_words are given, above {}", line->bad_words.size(), kMostBadWords));
}

// A chat asks with a switch and a number beside it, a completion with the number alone; a prompt
// alone may do either.
void read_logprobs(const Fields& body, RequestLine* line) {
  engine::SamplingParams& p = line->sampling;
  const json* value = body.find("logprobs");
  const std::optional<int64_t> top = body.integer("top_logprobs", -1, INT32_MAX);
  if (value != nullptr && value->is_boolean()) {
    p.logprobs.reset();
    if (value->get<bool>()) p.logprobs = static_cast<int32_t>(top.value_or(0));
  } else if (const auto count = body.integer("logprobs", -1, INT32_MAX)) {
    p.logprobs = static_cast<int32_t>(*count);
  }
  if (top && *top != 0 && !p.logprobs)
    body.fail("top_logprobs is given without logprobs", "logprobs: true asks for them");
  if (const auto count = body.integer("prompt_logprobs", -1, INT32_MAX))
    p.prompt_logprobs = static_cast<int32_t>(*count);
  if (line->echo && p.logprobs) p.prompt_logprobs = p.logprobs;
}

void read_identity(const Fields& body, RequestLine* line) {
  // vLLM's -1 stands for none.
  const auto seed = body.integer("seed", INT64_MIN, INT64_MAX);
  if (seed && *seed != -1) line->sampling.seed = static_cast<uint64_t>(*seed);
  if (const auto priority = body.integer("priority", INT32_MIN, INT32_MAX))
    line->priority = static_cast<int32_t>(*priority);
  if (const auto salt = body.text("cache_salt")) {
    if (salt->empty()) body.refuse("cache_salt", "a text that is not empty is expected");
    line->cache_salt = digest_of(*salt).number();
  }
}

}  // namespace

void refuse_what_is_missing(const Fields& body) {
  constexpr const char* kLater = "the grammar that would hold the answer to it does not exist yet";
  for (const char* name : {"tools", "functions"}) {
    if (asks(body.find(name)))
      body.fail(fmt::format("{} cannot be honoured", name), "calls of tools come with the server");
  }
  const json* format = body.find("response_format");
  const bool plain =
      format != nullptr && format->is_object() && is_text(Fields(*format, "").find("type"), "text");
  if (asks(format) && !plain) body.fail("response_format cannot be honoured", kLater);
  for (const char* name : {"structured_outputs", "guided_json", "guided_regex", "guided_choice",
                           "guided_grammar", "guided_decoding"}) {
    if (asks(body.find(name))) body.fail(fmt::format("{} cannot be honoured", name), kLater);
  }
  for (const char* name :
       {"suffix", "audio", "continue_final_message", "documents", "chat_template",
        "truncate_prompt_tokens", "use_beam_search", "prompt_embeds", "logits_processors",
        "web_search_options", "logprob_token_ids"}) {
    if (asks(body.find(name))) body.fail(fmt::format("{} cannot be honoured", name));
  }
}

void read_sampling(const Fields& body, RequestLine* line) {
  take(body.flag("echo"), &line->echo);
  if (line->echo && line->is_chat) body.fail("echo is a field of /v1/completions");
  read_counts(body, line);
  read_filters(body, &line->sampling);
  read_bias(body, &line->sampling);
  read_ends(body, line);
  read_logprobs(body, line);
  read_identity(body, line);
  take(body.flag("return_token_ids"), &line->return_token_ids);
  line->streams = body.flag("stream").value_or(false);
  try {
    engine::check_sampling(line->sampling, INT32_MAX);
  } catch (const Error& error) {
    throw Error(error.kind(), fmt::format("{}: {}", body.place(), error.summary()), error.why(),
                error.mend());
  }
}

}  // namespace weft::cli
