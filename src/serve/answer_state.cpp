#include "serve/answer_state.h"

#include <algorithm>

#include "base/error.h"

namespace weft::serve {

AnsweredPart make_part(std::vector<int32_t> prompt_ids, int64_t num_choices) {
  AnsweredPart part;
  part.prompt_ids = std::move(prompt_ids);
  part.state.choices.resize(static_cast<size_t>(num_choices));
  part.state.num_prompt_tokens = static_cast<int64_t>(part.prompt_ids.size());
  return part;
}

void apply_event(const fleet::Event& event, AnsweredPart* part) {
  engine::RequestState& state = part->state;
  WEFT_CHECK_LT(event.choice, state.choices.size());
  engine::Choice& choice = state.choices[event.choice];
  choice.token_ids.insert(choice.token_ids.end(), event.token_ids.begin(), event.token_ids.end());
  choice.text += event.text;
  choice.logprobs.insert(choice.logprobs.end(), event.logprobs.begin(), event.logprobs.end());
  if (event.cumulative_logprob != 0) choice.cumulative_logprob = event.cumulative_logprob;
  if (event.finish) {
    choice.finish = event.finish;
    choice.stop_reason = event.stop_reason;
  }
  if (!event.prompt_logprobs.empty()) state.prompt_logprobs = event.prompt_logprobs;
  state.num_cached_tokens = std::max(state.num_cached_tokens, event.num_cached_tokens);
  state.num_preemptions = std::max(state.num_preemptions, event.num_preemptions);
  if (event.error) state.error = event.error;
  state.ended = state.ended || event.ended;
}

}  // namespace weft::serve
