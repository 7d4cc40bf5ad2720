#include "cli/generation_options.h"

#include <fmt/format.h>

#include <limits>

#include "base/error.h"
#include "cli/prompt.h"

namespace weft::cli {
namespace {

// Numbers below it the engine flushes to zero.
constexpr float kAboveZero = std::numeric_limits<float>::min();

}  // namespace

void GenerationOptions::declare(OptionSet* options) {
  options_ = options;
  options->group("Generation");
  options->add("--max-tokens,--n-predict,-n", &max_tokens_,
               {"TOKENS", "longest answer; the context's end comes first"}, 1, INT32_MAX);
  options->add("--min-tokens", &min_tokens_, {"TOKENS", "before so many nothing ends an answer"}, 0,
               INT32_MAX);
  options->add("--temperature,--temp", &temperature_, {"T", "0 always takes the likeliest token"},
               0.0f, 100.0f);
  options->add("--top-k", &top_k_, {"K", "choose among the K likeliest tokens; 0 or -1: all"}, -1,
               INT32_MAX);
  options->add("--top-p", &top_p_,
               {"P", "choose among the likeliest tokens of this probability together; above 0"},
               kAboveZero, 1.0f);
  options->add("--min-p", &min_p_,
               {"P", "leave out tokens below this share of the likeliest one's probability"}, 0.0f,
               1.0f);
  options->add("--typical-p,--typical", &typical_p_,
               {"P", "choose among the most typical tokens of this probability together; above 0"},
               kAboveZero, 1.0f);
  options->add("--repetition-penalty,--repeat-penalty", &repetition_penalty_,
               {"X", "divides the logits of tokens of prompt and answer; above 0, 1: off"},
               kAboveZero, std::numeric_limits<float>::max());
  options->add("--presence-penalty", &presence_penalty_,
               {"X", "taken from the logits of tokens of the answer"}, -2.0f, 2.0f);
  options->add("--frequency-penalty", &frequency_penalty_,
               {"X", "taken from them for each time that a token came"}, -2.0f, 2.0f);
  options->add("--seed", &seed_, {"N", "of the sampling"});
  options->add("--stop", &stop_,
               {.unit = "TEXT",
                .help = "end before this text; may be given several times",
                .may_be_empty = false});
  options->add("--stop-token-ids", &stop_token_ids_,
               {.unit = "LIST", .help = "end with one of these: 1,2,3", .may_be_empty = false});
  options->add("--ignore-eos", &ignore_eos_, {"", "go on to --max-tokens, for measuring"});
  options->add("--logprobs", &logprobs_,
               {"N", "logprobs of the N likeliest tokens and the chosen one", "none"}, 0, 100);
  options->add("--prompt-logprobs", &prompt_logprobs_,
               {"N", "the same for the prompt's tokens", "none"}, 0, 100);
}

void GenerationOptions::check() const {
  if (min_tokens_ > max_tokens_)
    throw Error(ErrorKind::kUsage,
                fmt::format("--min-tokens {} is above --max-tokens {}", min_tokens_, max_tokens_),
                "", "raise --max-tokens, or lower --min-tokens");
  static_cast<void>(sampling());  // whether the lists are lists
}

void GenerationOptions::apply_shared(engine::SamplingParams* p) const {
  const auto given = [&](const char* option) {
    return options_->origin(option) != Origin::kDefault;
  };
  if (given("--min-tokens")) p->min_tokens = min_tokens_;
  if (given("--top-k")) p->top_k = top_k_;
  if (given("--top-p")) p->top_p = top_p_;
  if (given("--min-p")) p->min_p = min_p_;
  if (given("--typical-p")) p->typical_p = typical_p_;
  if (given("--repetition-penalty")) p->repetition_penalty = repetition_penalty_;
  if (given("--presence-penalty")) p->presence_penalty = presence_penalty_;
  if (given("--frequency-penalty")) p->frequency_penalty = frequency_penalty_;
  if (stop_token_ids_)
    p->stop_token_ids = parse_ids("--stop-token-ids", *stop_token_ids_, INT32_MAX);
  p->stop = stop_;
  p->ignore_eos = ignore_eos_;
  if (logprobs_ >= 0) p->logprobs = logprobs_;
  if (prompt_logprobs_ >= 0) p->prompt_logprobs = prompt_logprobs_;
}

engine::SamplingParams GenerationOptions::sampling() const {
  engine::SamplingParams params;
  params.max_tokens = max_tokens_;
  params.temperature = temperature_;
  params.seed = seed_;
  apply_shared(&params);
  return params;
}

ChatParameters GenerationOptions::parameters(bool only_given) const {
  ChatParameters fields;
  const auto add = [&](const char* option, const char* field, const auto& value, bool always) {
    if (always || options_->origin(option) != Origin::kDefault) fields.set(field, value);
  };
  const bool all = !only_given;
  add("--temperature", "temperature", temperature_, all);
  add("--top-p", "top_p", top_p_, false);
  add("--top-k", "top_k", int64_t{top_k_}, false);
  add("--min-p", "min_p", min_p_, false);
  add("--typical-p", "typical_p", typical_p_, false);
  add("--seed", "seed", static_cast<int64_t>(seed_), all);
  add("--max-tokens", "max_tokens", max_tokens_, all);
  add("--min-tokens", "min_tokens", min_tokens_, false);
  add("--repetition-penalty", "repetition_penalty", repetition_penalty_, false);
  add("--presence-penalty", "presence_penalty", presence_penalty_, false);
  add("--frequency-penalty", "frequency_penalty", frequency_penalty_, false);
  if (!stop_.empty()) fields.set("stop", std::span<const std::string>(stop_));
  if (stop_token_ids_)
    fields.set("stop_token_ids", std::span<const int32_t>(
                                     parse_ids("--stop-token-ids", *stop_token_ids_, INT32_MAX)));
  if (ignore_eos_) fields.set("ignore_eos", true);
  if (logprobs_ >= 0) fields.set("logprobs", true);
  if (logprobs_ > 0) fields.set("top_logprobs", int64_t{logprobs_});
  if (prompt_logprobs_ >= 0) fields.set("prompt_logprobs", int64_t{prompt_logprobs_});
  return fields;
}

void GenerationOptions::apply_given(engine::SamplingParams* params) const {
  if (options_->origin("--max-tokens") != Origin::kDefault) params->max_tokens = max_tokens_;
  if (options_->origin("--temperature") != Origin::kDefault) params->temperature = temperature_;
  apply_shared(params);
}

}  // namespace weft::cli
