#include "serve/sampling_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/digest.h"
#include "base/option_values.h"
#include "serve/prompt_fields.h"
#include "serve/request_error.h"

namespace weft::serve {
namespace {

using nlohmann::json;

template <typename T>
void take(std::optional<T> value, T* target) {
  if (value) *target = std::move(*value);
}

void check_count(const Fields& fields, const char* name, size_t count, int64_t most) {
  if (static_cast<int64_t>(count) > most)
    fields.fail(name, fmt::format("{} entries of {} are given, above {}", count, name, most));
}

void read_counts(const Fields& fields, const BodyLimits& limits, RequestBody* body) {
  engine::SamplingParams& p = body->sampling;
  take(fields.integer("n", 1, limits.choices), &p.n);
  // 0: as many as are returned.
  if (const json* best = fields.find("best_of"); best != nullptr && *best != 0)
    take(fields.integer("best_of", p.n, limits.choices,
                        p.n > 1 ? fmt::format("n of them, {}, are returned", p.n) : ""),
         &p.best_of);
  const char* const most =
      body->is_chat && fields.has("max_completion_tokens") ? "max_completion_tokens" : "max_tokens";
  body->names_max_tokens = fields.has(most);
  body->max_tokens_name = most;
  take(fields.integer(most, body->echo ? 0 : 1, limits.max_tokens,
                      body->is_chat || body->echo ? "" : "0 only with echo"),
       &p.max_tokens);
  take(fields.integer("min_tokens", 0, std::max<int64_t>(1, p.max_tokens),
                      fmt::format("{} is {}", most, p.max_tokens)),
       &p.min_tokens);
  body->truncate_prompt_tokens = read_truncation(fields);
  if (p.max_tokens != 0) return;
  // A prompt that is only to be judged: nothing is shown of the token that has to be generated.
  body->only_echo = true;
  p.max_tokens = 1;
}

void read_filters(const Fields& fields, engine::SamplingParams* p) {
  take(fields.number("temperature"), &p->temperature);
  take(fields.number("top_p"), &p->top_p);
  take(fields.number("min_p"), &p->min_p);
  take(fields.number("typical_p"), &p->typical_p);
  take(fields.number("repetition_penalty"), &p->repetition_penalty);
  take(fields.number("presence_penalty"), &p->presence_penalty);
  take(fields.number("frequency_penalty"), &p->frequency_penalty);
  if (const auto top_k = fields.integer("top_k", -1, INT32_MAX))
    p->top_k = static_cast<int32_t>(*top_k);
}

void read_bias(const Fields& fields, const BodyLimits& limits, engine::SamplingParams* p) {
  const json* bias = fields.find("logit_bias");
  if (bias == nullptr) return;
  constexpr const char* kExpected = "an object of token ids and numbers is expected";
  if (!bias->is_object()) fields.refuse("logit_bias", kExpected);
  check_count(fields, "logit_bias", bias->size(), limits.biases);
  p->logit_bias.clear();
  for (const auto& [key, value] : bias->items()) {
    const std::optional<int64_t> id = parse_whole_number(key);
    const std::optional<float> weight = value.is_number() ? float_of(value) : std::nullopt;
    if (!id || *id < 0 || *id > INT32_MAX || !weight) fields.refuse("logit_bias", kExpected);
    p->logit_bias.push_back({static_cast<int32_t>(*id), *weight});
  }
}

void read_ends(const Fields& fields, const BodyLimits& limits, RequestBody* body) {
  engine::SamplingParams& p = body->sampling;
  take(fields.text_or_texts("stop"), &p.stop);
  check_count(fields, "stop", p.stop.size(), limits.stops);
  for (const std::string& stop : p.stop)
    if (stop.empty() || static_cast<int64_t>(stop.size()) > limits.stop_bytes)
      fields.fail("stop", fmt::format("a stop string has {} bytes: 1 to {} are expected",
                                      stop.size(), limits.stop_bytes));
  take(fields.ids("stop_token_ids"), &p.stop_token_ids);
  check_count(fields, "stop_token_ids", p.stop_token_ids.size(), limits.stop_ids);
  take(fields.flag("ignore_eos"), &p.ignore_eos);
  take(fields.flag("include_stop_str_in_output"), &p.include_stop_str_in_output);
  take(fields.flag("skip_special_tokens"), &p.skip_special_tokens);
  if (auto ids = fields.ids("allowed_token_ids")) {
    // A set, of which every answer keeps a copy: at most the vocabulary.
    std::sort(ids->begin(), ids->end());
    ids->erase(std::unique(ids->begin(), ids->end()), ids->end());
    ids->shrink_to_fit();
    p.allowed_token_ids = std::move(ids);
  }
  take(fields.texts("bad_words"), &body->bad_words);
  check_count(fields, "bad_words", body->bad_words.size(), limits.bad_words);
  int64_t num_bytes = 0;
  for (const std::string& word : body->bad_words) num_bytes += std::ssize(word);
  if (num_bytes > limits.bad_word_bytes)
    fields.fail("bad_words", fmt::format("bad_words have {} bytes in all, above {}", num_bytes,
                                         limits.bad_word_bytes));
}

std::optional<int32_t> read_logprob_count(const Fields& fields, const char* name,
                                          const BodyLimits& limits) {
  const auto count = fields.integer(name, limits.whole_vocabulary ? -1 : 0, limits.logprobs,
                                    limits.whole_vocabulary ? "-1 is the whole vocabulary" : "");
  if (!count) return std::nullopt;
  return static_cast<int32_t>(*count);
}

// A chat asks with a switch and a number beside it, a completion with the number alone; a prompt
// alone may do either.
void read_logprobs(const Fields& fields, const BodyLimits& limits, RequestBody* body) {
  engine::SamplingParams& p = body->sampling;
  const json* value = fields.find("logprobs");
  const std::optional<int32_t> top = read_logprob_count(fields, "top_logprobs", limits);
  if (value != nullptr && value->is_boolean()) {
    p.logprobs.reset();
    if (value->get<bool>()) p.logprobs = top.value_or(0);
  } else if (const auto count = read_logprob_count(fields, "logprobs", limits)) {
    p.logprobs = count;
  }
  if (top && *top != 0 && !p.logprobs)
    fields.fail("top_logprobs", "top_logprobs is given without logprobs",
                "logprobs: true asks for them");
  if (const auto count = read_logprob_count(fields, "prompt_logprobs", limits))
    p.prompt_logprobs = count;
  if (body->echo && p.logprobs) p.prompt_logprobs = p.logprobs;
}

void read_identity(const Fields& fields, RequestBody* body) {
  // vLLM's -1 stands for none.
  const auto seed = fields.integer("seed", INT64_MIN, INT64_MAX);
  if (seed && *seed != -1) body->sampling.seed = static_cast<uint64_t>(*seed);
  if (const auto priority = fields.integer("priority", INT32_MIN, INT32_MAX))
    body->priority = static_cast<int32_t>(*priority);
  if (const auto salt = fields.text("cache_salt")) {
    if (salt->empty()) fields.refuse("cache_salt", "a text that is not empty is expected");
    body->cache_salt = digest_of(*salt).number();
  }
}

}  // namespace

void read_sampling(const Fields& fields, const BodyLimits& limits, RequestBody* body) {
  take(fields.flag("echo"), &body->echo);
  if (body->echo && body->is_chat) fields.fail("echo", "echo is a field of /v1/completions");
  read_counts(fields, limits, body);
  read_filters(fields, &body->sampling);
  read_bias(fields, limits, &body->sampling);
  read_ends(fields, limits, body);
  read_logprobs(fields, limits, body);
  read_identity(fields, body);
  take(fields.flag("return_token_ids"), &body->return_token_ids);
  take(fields.flag("return_tokens_as_token_ids"), &body->return_tokens_as_token_ids);
  try {
    engine::check_sampling(body->sampling, INT32_MAX);
  } catch (const Error& error) {
    // The field's name is in its words; the cause is worth more than what mends it.
    const ErrorObject answer = error_object(error, &fields.object());
    fields.fail(answer.param, error.summary(), error.why().empty() ? error.mend() : error.why());
  }
}

}  // namespace weft::serve
