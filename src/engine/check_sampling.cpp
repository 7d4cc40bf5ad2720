#include <fmt/format.h>

#include <limits>

#include "base/error.h"
#include "engine/sampling.h"

// check_sampling() alone: parsers of requests need no more of what samples.
namespace weft::engine {
namespace {

constexpr int64_t kMostChoices = 16'384;
constexpr float kHighestTemperature = 100.0f;
constexpr float kMostBias = 100.0f;

[[noreturn]] void refuse(std::string_view field, const std::string& what, std::string_view range) {
  throw Error(ErrorKind::kUsage, fmt::format("{} is {}", field, what), "",
              fmt::format("give {}", range));
}

// Comparisons with NaN are false, so a NaN is refused.
void check_closed(std::string_view field, float value, float low, float high) {
  if (!(value >= low && value <= high))
    refuse(field, fmt::format("{}", value), fmt::format("{} to {}", low, high));
}

// Numbers that the engine's floating-point state flushes to zero are zero.
void check_positive(std::string_view field, float value, float high) {
  if (!(value >= std::numeric_limits<float>::min() && value <= high))
    refuse(field, fmt::format("{}", value),
           fmt::format("more than 0 ({0} at least), at most {1}: the range is (0, {1}]",
                       std::numeric_limits<float>::min(), high));
}

void check_ids(std::string_view field, std::span<const int32_t> ids, int64_t vocab_size) {
  for (const int32_t id : ids) {
    if (id < 0 || id >= vocab_size)
      throw Error(
          ErrorKind::kUsage,
          fmt::format("{} names token id {}, outside the vocabulary of {}", field, id, vocab_size));
  }
}

void check_logprobs(std::string_view field, const std::optional<int32_t>& count) {
  if (!count || *count == kWholeVocabulary) return;
  if (*count < 0 || *count > kMostLogprobs)
    refuse(field, fmt::format("{}", *count),
           fmt::format("0 to {}, or -1 for the whole vocabulary", kMostLogprobs));
}

void check_counts(const SamplingParams& p) {
  constexpr int64_t kMostTokens = int64_t{1} << 40;
  if (p.n < 1 || p.n > kMostChoices)
    refuse("n", fmt::format("{}", p.n), fmt::format("1 to {}", kMostChoices));
  if (p.best_of != 0 && (p.best_of < p.n || p.best_of > kMostChoices))
    refuse("best_of", fmt::format("{}", p.best_of),
           fmt::format("n, which is {}, to {}", p.n, kMostChoices));
  if (p.num_choices() > 1 && p.greedy())
    throw Error(ErrorKind::kUsage,
                fmt::format("{} answers are asked for at temperature 0", p.num_choices()),
                "greedy answers are all the same", "raise temperature, or leave n and best_of out");
  if (p.max_tokens < 1 || p.max_tokens > kMostTokens)
    refuse("max_tokens", fmt::format("{}", p.max_tokens), fmt::format("1 to {}", kMostTokens));
  if (p.min_tokens < 0 || p.min_tokens > p.max_tokens)
    refuse("min_tokens", fmt::format("{}", p.min_tokens),
           fmt::format("0 to max_tokens, which is {}", p.max_tokens));
}

void check_filters(const SamplingParams& p) {
  check_closed("temperature", p.temperature, 0, kHighestTemperature);
  if (p.top_k < -1) refuse("top_k", fmt::format("{}", p.top_k), "1 or more, or 0 or -1 for all");
  check_positive("top_p", p.top_p, 1.0f);
  check_closed("min_p", p.min_p, 0, 1);
  check_positive("typical_p", p.typical_p, 1.0f);
  check_positive("repetition_penalty", p.repetition_penalty, std::numeric_limits<float>::max());
  check_closed("presence_penalty", p.presence_penalty, -2, 2);
  check_closed("frequency_penalty", p.frequency_penalty, -2, 2);
}

void check_lists(const SamplingParams& p, int64_t vocab_size) {
  for (const LogitBias& entry : p.logit_bias) {
    check_ids("logit_bias", {&entry.id, 1}, vocab_size);
    check_closed(fmt::format("logit_bias of token id {}", entry.id), entry.bias, -kMostBias,
                 kMostBias);
  }
  for (const std::vector<int32_t>& word : p.bad_words) {
    if (word.empty()) refuse("a bad_words entry", "empty", "one token at least, or leave it out");
    check_ids("bad_words", word, vocab_size);
  }
  if (p.allowed_token_ids) {
    if (p.allowed_token_ids->empty())
      refuse("allowed_token_ids", "empty", "one id at least, or leave it out");
    check_ids("allowed_token_ids", *p.allowed_token_ids, vocab_size);
  }
  check_ids("stop_token_ids", p.stop_token_ids, vocab_size);
  for (const std::string& stop : p.stop)
    if (stop.empty()) refuse("a stop string", "empty", "one character at least, or leave it out");
}

}  // namespace

void check_sampling(const SamplingParams& params, int64_t vocab_size) {
  check_counts(params);
  check_filters(params);
  check_lists(params, vocab_size);
  check_logprobs("logprobs", params.logprobs);
  check_logprobs("prompt_logprobs", params.prompt_logprobs);
}

}  // namespace weft::engine
