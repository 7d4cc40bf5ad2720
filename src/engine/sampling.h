// How the tokens of an answer are chosen: what a request may ask for, in the names, ranges and
// defaults of vLLM's SamplingParams, and what of it one row of a step carries.
//
// The choice itself is the head's (model/head.h), which keeps nothing between steps: a ChoiceTokens
// writes into every row all that the row's choice depends on. So an answer that was pre-empted,
// recomputed or speculated on goes on with the same bits: tell a ChoiceTokens the same ids, and it
// writes the same row.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/grammar_place.h"
#include "engine/step.h"
#include "text/grammar.h"

namespace weft::engine {

inline constexpr int32_t kMostLogprobs = 128;  // servers allow fewer
// logprobs and prompt_logprobs for the whole vocabulary.
inline constexpr int32_t kWholeVocabulary = -1;
// Below this a temperature is greedy; below the next it is raised to it (vLLM's limits).
inline constexpr float kGreedyTemperature = 1e-5f;
inline constexpr float kLowestTemperature = 1e-2f;

struct LogitBias {
  int32_t id = 0;
  float bias = 0.0f;
};

struct SamplingParams {
  int64_t n = 1;        // answers that are returned
  int64_t best_of = 0;  // answers that are made, the best by cumulative logprob returned; 0: n
  int64_t max_tokens = 16;
  int64_t min_tokens = 0;  // before these, nothing that ends an answer can be chosen

  float temperature = 1.0f;  // 0: greedy
  int32_t top_k = 0;         // 0 and -1: off
  float top_p = 1.0f;
  float min_p = 0.0f;
  float typical_p = 1.0f;
  std::optional<uint64_t> seed;  // none: the engine draws one

  float repetition_penalty = 1.0f;  // counts the prompt's tokens too
  float presence_penalty = 0.0f;    // these two count generated tokens alone
  float frequency_penalty = 0.0f;
  std::vector<LogitBias> logit_bias;
  std::vector<std::vector<int32_t>> bad_words;  // sequences of ids that never appear in the answer
  std::optional<std::vector<int32_t>> allowed_token_ids;

  std::vector<std::string> stop;
  std::vector<int32_t> stop_token_ids;
  bool ignore_eos = false;
  bool include_stop_str_in_output = false;
  bool skip_special_tokens = true;

  // None, or so many of the best (0: of the chosen token alone), or kWholeVocabulary.
  std::optional<int32_t> logprobs, prompt_logprobs;

  int64_t num_choices() const { return best_of > n ? best_of : n; }
  bool greedy() const { return temperature < kGreedyTemperature; }
};

// Error(kUsage) naming the field.
void check_sampling(const SamplingParams& params, int64_t vocab_size);

// num_logprobs of a LogitRow.
int32_t row_logprobs(const std::optional<int32_t>& logprobs);

// What all choices of one request share. Immutable.
class SamplingRules {
 public:
  // params: checked. end_ids: those of the model that end an answer.
  // has_grammar: end_ids end an answer whatever ignore_eos says, where its grammar is complete.
  SamplingRules(SamplingParams params, std::span<const int32_t> end_ids, int64_t vocab_size,
                bool has_grammar = false);

  const SamplingParams& params() const { return params_; }
  // Whether this id ends an answer: a stop_token_id, or of end_ids unless ignore_eos.
  bool ends_answer(int32_t id) const;
  std::span<const int32_t> ending_ids() const { return ending_ids_; }
  int64_t num_mask_words() const { return num_mask_words_; }
  std::span<const LogitBias> biases() const { return biases_; }   // one an id
  std::span<const uint32_t> allowed() const { return allowed_; }  // of LogitRow::mask; maybe empty
  bool penalises() const;  // repetition, presence or frequency

 private:
  SamplingParams params_;
  std::vector<int32_t> ending_ids_;  // ascending
  std::vector<LogitBias> biases_;    // ascending by id
  std::vector<uint32_t> allowed_;
  int64_t num_mask_words_ = 0;
};

// The tokens of one choice, as its rows depend on them, and its place in the request's grammar. A
// copy is a choice of its own.
class ChoiceTokens {
 public:
  // seed: the request's. choice: 0 .. num_choices() - 1. grammar: null for none.
  ChoiceTokens(std::shared_ptr<const SamplingRules> rules, std::span<const int32_t> prompt_ids,
               uint64_t seed, uint32_t choice,
               std::shared_ptr<const text::Grammar> grammar = nullptr);

  // The next generated token, or a guess of it. Ids are of the vocabulary.
  void add(int32_t id);
  // Forgets the last `count` of them: draft tokens that were not accepted.
  void take_back(int64_t count);
  // The same for guesses that the place in the grammar is not told of: the step that verifies them
  // lets it follow them (engine/mask_work.h).
  void assume(int32_t guess);
  void drop_assumed(int64_t count);
  std::span<const int32_t> generated() const { return generated_; }
  // How many of these may come next, one after another, as far as the grammar says.
  size_t num_allowed(std::span<const int32_t> guesses);
  // Why nothing can come next, where the grammar says so: its masks then forbid every id.
  std::optional<Error> failure() const { return place_ ? place_->failure() : std::nullopt; }

  // Fills what the choice of the token after generated() depends on, and appends its adjustments
  // and, without a grammar, its mask to the plan: nothing for a row that needs none. Leaves token,
  // position, target, hash and full_logits, and the mask of a choice that has a place in a grammar,
  // which says it (MaskWork::add). Allocates nothing once the plan's memory has grown.
  void fill(model::LogitRow& row, StepPlan& plan) const;
  // Null without a grammar.
  const std::shared_ptr<GrammarPlace>& place() const { return place_; }

 private:
  struct Entry {
    int32_t id = 0;
    float bias = 0.0f;
    int32_t num_generated = 0;
    uint32_t in_prompt = 0;
  };

  struct Place : std::shared_ptr<GrammarPlace> {
    using shared_ptr::shared_ptr, shared_ptr::operator=;
    Place(Place&&) = default;
    Place& operator=(Place&&) = default;
    Place(const Place& other)
        : shared_ptr(other ? std::make_shared<GrammarPlace>(*other) : nullptr) {}
    Place& operator=(const Place& other) { return *this = Place(other); }
  };

  Entry& entry_of(int32_t id);
  void rehash(size_t num_slots);
  void forbid(StepPlan& plan) const;

  std::shared_ptr<const SamplingRules> rules_;
  uint64_t seed_;
  uint32_t choice_;
  std::vector<int32_t> generated_;
  std::vector<Entry> entries_;  // biases first, then ids in order of their first appearance
  std::vector<int32_t> slots_;  // hash table into entries_, -1: free; a power of two
  Place place_;
};

}  // namespace weft::engine
