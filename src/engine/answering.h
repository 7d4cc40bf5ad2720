// A request while it is being answered: its choices, each a sequence for the scheduler, the tokens
// that sampling depends on, and a stream of text. Turns rows of step answers into what a user sees;
// knows no plan and no cache.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "cache/block_pools.h"
#include "engine/mask_work.h"
#include "engine/ngram_draft.h"
#include "engine/request.h"
#include "engine/sampling.h"
#include "engine/scheduler.h"
#include "model/batch.h"
#include "text/text.h"

namespace weft::engine {

// Whose a row of a step's answer is.
struct RowOwner {
  Sequence* sequence = nullptr;
  const Sequence* computed = nullptr;  // whose chunk it belongs to, which may be another
  bool is_prompt = false;              // a position of the prompt: nothing is chosen
  int64_t position = 0;                // as of the row
  int32_t guess = -1;                  // the guessed token that it follows; -1: a known one
};

// Whose a hidden state of a step's answer is.
struct StateOwner {
  Sequence* sequence = nullptr;
  int64_t position = 0;
};

class Answering {
 public:
  // One of the answers.
  struct Branch {
    Branch(cache::BlockPools& pools, int64_t max_tokens, ChoiceTokens of_choice,
           text::TextStream of_text)
        : sequence(pools, max_tokens), tokens(std::move(of_choice)), stream(std::move(of_text)) {}

    Sequence sequence;
    ChoiceTokens tokens;
    text::TextStream stream;
    std::optional<NgramDraft> draft;  // from the first guess on: a choice that waits has none
    bool begun = false;  // known to the scheduler: the first from the start, the others when the
                         // prompt's end has chosen their first token
    bool ended = false;
  };

  // The request was checked. longest: tokens of prompt and answer that the engine holds.
  Answering(uint64_t id, Request request, std::span<const int32_t> end_ids,
            const text::Tokenizer& tokenizer, cache::BlockPools& pools, int64_t vocab_size,
            int64_t longest);
  Answering(const Answering&) = delete;
  Answering& operator=(const Answering&) = delete;

  const Request& request() const { return request_; }
  const SamplingParams& params() const { return rules_->params(); }
  RequestState& state() { return state_; }
  std::vector<std::unique_ptr<Branch>>& branches() { return branches_; }
  Branch& branch_of(const Sequence& sequence) { return *branches_[sequence.choice]; }

  // Appends to a plan the rows that a chunk of a branch wants: of prompt positions whose logprobs
  // are asked for and not known yet, and, where the chunk samples, of its end. `token` is the
  // chunk's first token in the batch. An owner is appended for each.
  // guesses: the tokens computed after the chunk's, each of which has a row too.
  // masks: the plan's, for rows under a grammar.
  void add_rows(Branch& branch, const Schedule::Chunk& chunk, std::span<const int32_t> guesses,
                int64_t token, StepPlan& plan, MaskWork& masks, std::vector<RowOwner>& owners);
  // The same for a request that pools hidden states.
  void add_states(const Schedule::Chunk& chunk, int64_t token, StepPlan& plan,
                  std::vector<StateOwner>& owners);
  // Tokens that a branch may still take.
  int64_t num_left(const Branch& branch) const;
  // Fills the sequence's guesses of what comes next: at most `most`, none past the answer's end.
  void guess(Branch& branch, int64_t most);

  // Whether the tokens before a row are those of the answer, as far as it has come.
  static bool follows(const RowOwner& owner) {
    const std::vector<int32_t>& tokens = owner.sequence->tokens;
    return owner.guess < 0 || (owner.position + 1 == static_cast<int64_t>(tokens.size()) &&
                               tokens.back() == owner.guess);
  }
  void take_prompt_row(const model::RowResult& row);
  // A hidden state [hidden_size]; that of the prompt's last position ends the request.
  void take_state(std::span<const float> state, int64_t position);
  // The next token of a branch, which may end it.
  void take_token(Branch& branch, const model::RowResult& row);
  // Ends a branch for another reason than its tokens.
  void end(Branch& branch, FinishReason reason);

  bool all_ended() const;
  bool reports_only_the_end() const { return params().num_choices() > params().n; }
  // Keeps the n best of best_of.
  void keep_the_best();

  // Whether a choice has come further than the last event said, and that event.
  bool has_news(size_t choice) const;
  bool has_news() const;  // of any choice
  RequestEvent tell(size_t choice);

  // The loop's: chunks in plans that are under way, and whether it is on the list of news.
  int64_t num_in_flight = 0;
  bool is_touched = false;

 private:
  bool wants_prompt_rows() const {
    return params().prompt_logprobs.has_value() || request_.full_prompt_logits;
  }
  Choice& choice_of(const Branch& branch) { return state_.choices[branch.sequence.choice]; }
  // What was planned before and is to be ignored is planned again.
  void forget_ignored_rows(const Sequence& sequence);
  void add_row(const Branch& branch, RowOwner owner, int64_t token, Range mask, StepPlan& plan,
               std::vector<RowOwner>& owners);
  void add_prompt_rows(Sequence& sequence, Range positions, int64_t token, StepPlan& plan,
                       std::vector<RowOwner>& owners);
  // What events have told of a choice.
  struct Told {
    size_t tokens = 0, text = 0;
    bool end = false;
  };

  Request request_;
  std::shared_ptr<const SamplingRules> rules_;
  RequestState state_;
  std::vector<std::unique_ptr<Branch>> branches_;  // [choices]
  std::vector<Told> told_;                         // [choices]
  int64_t longest_;
  // Rows, or states of a mean.
  int64_t num_prompt_rows_planned_ = 0, num_prompt_rows_taken_ = 0;
  uint64_t prompt_rows_valid_from_ = 0;  // Sequence::first_valid of the rows planned
  std::vector<double> state_sum_;        // [hidden_size] of a mean
};

}  // namespace weft::engine
