// What an engine is asked and what it answers: plain values.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/sampling.h"
#include "text/grammar.h"

namespace weft::engine {

// How the hidden states of a prompt become its vector.
enum class Pooling {
  kMean,  // of all of them
  kLast   // of the last token
};

// A prompt, and how its answers are to be sampled.
struct Request {
  std::vector<int32_t> prompt_ids;
  SamplingParams sampling;
  std::shared_ptr<const text::Grammar> grammar;  // what its answers may look like; null: anything
  int32_t priority = 0;                          // the smaller goes first
  uint64_t cache_salt = 0;                       // cached prefixes are shared within one salt only
  // The prompt's vector is wanted, and no answer: the request ends when its prompt is computed.
  // Of the sampling parameters none counts then, and prompt_logprobs are refused.
  std::optional<Pooling> pooling;
  bool hash_logits = false;
  bool full_prompt_logits = false;  // raw logits of every prompt position (tests, research)
};

struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0;
  // Its place among all tokens by raw logits, from 1, ties by id. 0: not counted, which is so for
  // the token of an answer that is none of the best.
  int32_t rank = 0;
};

enum class FinishReason { kStop, kLength, kCancelled, kError };
const char* name(FinishReason reason);

// One of a request's answers, as far as it has come.
struct Choice {
  std::vector<int32_t> token_ids;  // generated; an end-of-text token is included
  std::string text;
  // [generated], where asked for: the best, best first, and last the token's own where it is none
  // of them.
  std::vector<std::vector<TokenLogprob>> logprobs;
  double cumulative_logprob = 0;  // where logprobs or best_of asked for it
  uint64_t logits_hash = 0;       // where hash_logits asked for it
  std::optional<FinishReason> finish;
  std::string stop_reason;  // the stop string or the stop token's id that ended it; else empty
};

// A request's answers, and what they took. Times are those of base/clock.h, 0 until they are known.
struct RequestState {
  uint64_t id = 0;
  // [n]; with best_of > n all of them until the end, then the best n, best first.
  std::vector<Choice> choices;
  std::vector<std::vector<TokenLogprob>> prompt_logprobs;  // [prompt]; entry 0 is empty
  std::vector<std::vector<float>> prompt_logits;           // [prompt][vocab], where asked for
  // [hidden_size] where pooling asked for it: final-normed, pooled, not normalised. The same bits
  // for any split, chunks and batch: the sum of a mean is taken in double, in order of positions.
  std::vector<float> embedding;
  uint64_t prompt_hash =
      0;  // of the prompt's logits, where their logprobs and hashes are asked for
  int64_t num_prompt_tokens = 0;
  int64_t num_cached_tokens = 0;  // of the prompt, taken over from the cache
  int64_t num_preemptions = 0;
  int64_t arrived_ns = 0, scheduled_ns = 0, first_token_ns = 0, ended_ns = 0;
  std::optional<Error> error;  // where a choice's finish is kError
  bool ended = false;
};

// What a step brought one choice. With best_of > n nothing comes before the end.
struct RequestEvent {
  const RequestState& request;  // valid during the call; `ended` in its last event
  size_t choice = 0;
  size_t first_new_token = 0, first_new_text = 0;  // in the choice's token_ids and text
};
using OnEvent = std::function<void(const RequestEvent& event)>;

// Tokens guessed ahead (engine/speculation.h), since the start.
struct SpeculationStats {
  int64_t num_verifications = 0;  // steps of a sequence that verified guesses
  int64_t guessed_tokens = 0, accepted_tokens = 0;
  // What steps with guesses took, and an estimate, by the table of step times, of what the tokens
  // that they gave would have taken one after another.
  double with_s = 0, without_s = 0;
  // Of the draft model: time of the planner in it, its steps and their tokens, sequences that it
  // was of no use to.
  double draft_s = 0;
  int64_t num_draft_steps = 0, draft_tokens = 0, num_draft_failures = 0;

  double acceptance_rate() const {
    return guessed_tokens == 0
               ? 0.0
               : static_cast<double>(accepted_tokens) / static_cast<double>(guessed_tokens);
  }
  // Tokens of a sequence's step, the one that is chosen anyway included.
  double mean_accepted_length() const {
    return num_verifications == 0 ? 1.0
                                  : 1.0 + static_cast<double>(accepted_tokens) /
                                              static_cast<double>(num_verifications);
  }
  double gain() const { return with_s > 0 ? without_s / with_s : 1.0; }
  // What came after `before`, which is an earlier state of these.
  SpeculationStats since(const SpeculationStats& before) const;
};

// Since the start, and now.
struct EngineStats {
  int64_t num_waiting = 0, num_running = 0;
  int64_t prompt_tokens = 0;            // of requests whose prompt was let in
  int64_t looked_up_prompt_tokens = 0;  // of which looked for in the cache: none where it is off
  int64_t cached_prompt_tokens = 0;     // of which taken over from it
  int64_t generated_tokens = 0;
  SpeculationStats speculation;
  int64_t num_steps = 0, num_preemptions = 0;
  int64_t step_tokens = 0;  // of all steps, guesses included
  // Steps of at most 2^i tokens and more than half of that; the last: of more than 8192.
  std::array<int64_t, 15> steps_by_tokens{};
  int64_t num_blocks = 0, num_free_blocks = 0;
  int64_t num_idle_blocks = 0;  // held by the prefix cache alone
  // The same of all groups with a window together; those above are of full attention.
  int64_t num_window_blocks = 0, num_free_window_blocks = 0, num_idle_window_blocks = 0;
  double scheduler_s = 0;  // planning: deciding and filling plans
  double schedule_s = 0;   // deciding alone (engine/scheduler.h)
  double mask_s = 0;       // making masks of grammars, all threads together
};

}  // namespace weft::engine
