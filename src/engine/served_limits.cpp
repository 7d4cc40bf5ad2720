#include "engine/served_limits.h"

#include <fmt/format.h>

#include "base/error.h"

namespace weft::engine {
namespace {

// Of a word that is forbidden: as it begins a text, and as it stands after a space.
constexpr int64_t kSequencesOfWord = 2;

void check_most(std::string_view field, int64_t given, int64_t most) {
  if (given > most)
    throw Error(ErrorKind::kUsage,
                fmt::format("{} asks for {}; a server gives at most {}", field, given, most));
}

template <typename List>
void check_count(std::string_view field, const List& list, int64_t most) {
  check_most(field, static_cast<int64_t>(list.size()), most);
}

void check_logprobs(std::string_view field, const std::optional<int32_t>& count, int64_t most) {
  if (count == kWholeVocabulary)
    throw Error(ErrorKind::kUsage, fmt::format("{} asks for the whole vocabulary; a server gives "
                                               "at most {} of a position",
                                               field, most));
  check_most(field, count.value_or(0), most);
}

}  // namespace

void check_served(const SamplingParams& params, int64_t num_prompt_tokens, int64_t max_tokens,
                  const ServedLimits& limits) {
  check_most("n", params.n, limits.choices);
  check_most("best_of", params.best_of, limits.choices);
  check_count("stop", params.stop, limits.stops);
  for (const std::string& stop : params.stop) check_count("a stop string", stop, limits.stop_bytes);
  check_count("bad_words", params.bad_words, kSequencesOfWord * limits.bad_words);
  int64_t num_bad_ids = 0;  // a token has a byte at least, and the space before a word is one more
  for (const auto& ids : params.bad_words) num_bad_ids += std::ssize(ids);
  check_most("bad_words", num_bad_ids,
             kSequencesOfWord * (limits.bad_word_bytes + limits.bad_words));
  check_count("logit_bias", params.logit_bias, limits.biases);
  check_count("stop_token_ids", params.stop_token_ids, limits.stop_ids);
  check_logprobs("logprobs", params.logprobs, limits.logprobs);
  check_logprobs("prompt_logprobs", params.prompt_logprobs, limits.logprobs);
  const int64_t in_prompt = logprobs_of_position(params.prompt_logprobs) * num_prompt_tokens;
  check_most("prompt_logprobs", in_prompt, limits.logprob_entries);
  check_most("logprobs",
             logprobs_of_position(params.logprobs) * params.num_choices() * max_tokens + in_prompt,
             limits.logprob_entries);
}

int64_t logprobs_of_position(const std::optional<int32_t>& asked) {
  return asked ? 1 + int64_t{*asked} : 0;
}

}  // namespace weft::engine
