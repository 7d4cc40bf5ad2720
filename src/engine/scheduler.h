// Decides what the next micro-batch computes: a function of the sequences that wait and run, the
// cache and the table of step times, and of nothing else (no clock, no model), so that it is tested
// and replayed without either. Nothing that it decides changes a bit of any answer.
//
// A micro-batch, in the order in which it is filled:
//   1. decodes: sequences whose next token is all that is missing, evenly over the micro-batches
//      that are worth having in flight;
//   2. chunks of prompts that have begun, then of those let in from the waiting ones. Where
//      sequences decode beside them, chunks are so short that the step takes no more than
//      `max_slowdown` times what it would if all who run or wait, as many as may run, decoded;
//      half as much again while others wait for a place.
//
//   add          let in                   last prompt token planned          remove
//    |   waiting --------> running: prompt ------------------------> decoding --------> (gone)
//    +-----^                  |                                          |
//          +----- pre-empted: its blocks go, its tokens are computed again later
//
// A running sequence owns its block tables. That of full attention has room for all its tokens but
// the newest; those of groups with a window (cache/sequence_blocks.h) for the tokens planned, and
// give back at every plan what no later one sees. A chunk that finds too few window blocks is cut,
// and where hardly any are left, the youngest after it are sent back.
//
// Full blocks are published to the prefix tree as soon as the step that computes them is planned:
// workers run plans in order, so a follower of the same prefix may read them in the same step. A
// waiting sequence whose next tokens a running one of its priority, or of a higher one, is about to
// compute waits for them.
//
// Order: priority (the smaller first), then the policy's, then arrival. Prompts overtaken
// kMostOvertakings times go first, so no policy starves one.
//
// Thread rule: the planner's thread. Sequences belong to the caller and outlive their stay.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "base/range.h"
#include "cache/prefix_cache.h"
#include "cache/sequence_blocks.h"
#include "engine/draft_policy.h"
#include "engine/engine.h"
#include "engine/speculation.h"
#include "engine/step_times.h"

namespace weft::engine {

struct SchedulerOptions {
  int64_t max_num_batched_tokens = 512;
  int64_t max_num_seqs = 64;     // running, over all micro-batches
  int64_t micro_batch_size = 0;  // decodes of one micro-batch; 0: by the table of step times
  int64_t num_stages = 1;
  int64_t max_in_flight = 1;  // micro-batches
  SchedulePolicy policy = SchedulePolicy::kFcfs;
  bool chunked_prefill = true;  // false: a prompt that has begun goes before all decodes
  double max_slowdown = 2.0;    // 0: no limit; why 2: docs/performance.md, Many requests
  bool shares_prefixes = true;  // as PrefixCacheOptions::enabled
};

class Answering;

// One choice of a request, as the scheduler sees it.
struct Sequence {
  // max_tokens: as SequenceBlocks'.
  explicit Sequence(cache::BlockPools& pools, int64_t max_tokens = 0) : blocks(pools, max_tokens) {}

  // Whose it is; the scheduler never looks.
  Answering* answering = nullptr;
  size_t choice = 0;

  // Set before `add`.
  uint64_t number = 0;  // order of arrival
  int32_t priority = 0;
  uint64_t salt = 0;
  std::vector<int32_t> tokens;  // prompt, then what was generated
  int64_t num_prompt = 0;
  // Of the prompt, how many tokens may be taken over from the cache.
  int64_t reuse_limit = std::numeric_limits<int64_t>::max();

  // The caller's, between plans: what may come next (engine/speculation.h). A plan that takes some
  // of them computes them after the newest token, and clears them.
  std::vector<int32_t> guesses;
  GuessRecord record;
  // With a draft model: tokens that the answer may still take, and whether it is of use here. The
  // plan then has room for guesses that the caller fills in before it is run.
  int64_t num_left = 0;
  bool may_draft = true;
  // The caller's, for the log of steps: the answers taken when its newest token came, before that
  // when there was room for it.
  uint64_t num_answers_needed = 0;

  // The draft policy's, for the next plan: guesses, and tokens that the draft model may compute
  // for them first.
  struct DraftWish {
    int64_t num_guesses = 0, num_tokens = 0;
  } draft_wish;

  // The scheduler's.
  enum class State { kNone, kWaiting, kRunning } state = State::kNone;
  cache::SequenceBlocks blocks;
  int64_t num_planned = 0;    // tokens whose keys and values are cached, or will be by plans made
  int64_t num_published = 0;  // blocks of full attention in the prefix tree
  bool sampling = false;      // a token of it is being chosen by a step in flight
  int64_t num_reused = 0;     // tokens taken over from the cache when it was let in last
  int64_t num_preemptions = 0;
  int64_t num_overtaken = 0;
  uint64_t last_plan = 0;    // the schedule that it was in last
  uint64_t first_valid = 0;  // answers to schedules before this one are to be ignored

  int64_t num_generated() const { return static_cast<int64_t>(tokens.size()) - num_prompt; }
  int64_t num_unplanned() const { return static_cast<int64_t>(tokens.size()) - num_planned; }
  bool decodes() const { return state == State::kRunning && num_unplanned() <= 1; }
};

// What a micro-batch computes.
struct Schedule {
  struct Chunk {
    Sequence* sequence = nullptr;
    Range positions;       // of the sequence's tokens
    bool samples = false;  // the chunk ends with the last known token, so the next one is chosen
    Range guesses;         // of `guesses`, computed after the positions; mostly none
    int64_t num_to_draft = 0;  // as DraftWish::num_tokens
    // The tables of all groups as of this plan.
    struct Table {
      Range blocks;  // of block_ids
      int64_t first_block = 0;
    };
    std::array<Table, cache::kMostGroups> tables;
  };
  uint64_t number = 0;
  int64_t cache_plan = 0;  // as the prefix cache counts plans
  std::vector<Chunk> chunks;
  std::vector<int32_t> block_ids;
  std::vector<int32_t> guesses;          // -1: for the draft model to fill in
  std::vector<cache::BlockCopy> copies;  // to be made before anything is computed
  std::vector<Sequence*> preempted;      // by this plan
  StepLoad load;

  bool empty() const { return chunks.empty(); }
};

class Scheduler {
 public:
  // draft: null without a draft model.
  Scheduler(const SchedulerOptions& options, cache::BlockPools& pools, cache::PrefixCache& cache,
            const StepTimes& times, DraftPolicy* draft = nullptr);

  // Whether a sequence that grows to `num_tokens` can ever run.
  bool can_ever_fit(int64_t num_tokens) const;
  // Whether its prompt is looked for among cached prefixes.
  bool looks_up(const Sequence& sequence) const {
    return options_.shares_prefixes && sequence.reuse_limit > 0;
  }
  // Queues a sequence.
  void add(Sequence& sequence);
  // A further choice of a request whose prompt was computed and whose first token was chosen: it
  // shares the parent's blocks and runs at once, where there is room; otherwise it waits like any
  // other. `parent` has nothing planned past the prompt.
  void add_fork(Sequence& sequence, const Sequence& parent);
  // Takes a sequence out, in any state. What it computed stays in the cache.
  void remove(Sequence& sequence);
  // A step has chosen the sequence's next token, which the caller has appended.
  void sampled(Sequence& sequence) { sequence.sampling = false; }
  // Of the guesses of a plan, the first `accepted` were right; the caller has appended them, and
  // the token after them, to the sequence.
  void verified(Sequence& sequence, int64_t guessed, int64_t accepted);
  // A step has failed for this sequence (running, waiting or gone) at `first_token` or after. All
  // that was published of tokens [0, first_token] and what follows them leaves the cache, and every
  // sequence that begins with them, this one too, computes everything again: what is in flight of
  // it is to be ignored. Whoever has the token that failed fails by itself then.
  void distrust(const Sequence& sequence, int64_t first_token);

  // Fills the next micro-batch; empty where nothing can be computed before an answer comes.
  void schedule(Schedule& out);
  // Micro-batches worth having in flight for the sequences that run.
  int64_t wanted_in_flight() const;

  const SchedulerOptions& options() const { return options_; }
  int64_t num_waiting() const { return static_cast<int64_t>(waiting_.size()); }
  int64_t num_running() const { return static_cast<int64_t>(running_.size()); }
  int64_t num_preemptions() const { return num_preemptions_; }

  static constexpr int64_t kMostOvertakings = 64;

 private:
  // A chunk beside decodes is never shorter, whatever it costs: prompts must end, and a step of
  // fewer tokens takes hardly less (six are one register tile).
  static constexpr int64_t kLeastChunk = 8;

  // What the micro-batch being filled may hold of prompts.
  struct PromptRoom {
    int64_t tokens = 0;
    StepLoad decodes;  // what its chunks are measured against; none: nothing decodes
    bool is_empty = true;
  };
  struct Candidate {
    Sequence* sequence = nullptr;
    int64_t cost = 0;
  };

  void plan_decodes(Schedule& out);
  void plan_some_decodes(Schedule& out);
  int64_t num_decoding() const;
  int64_t decodes_at_once(uint64_t turn) const;
  StepLoad typical_decodes() const;
  StepLoad with_those_who_wait(const StepLoad& decodes) const;
  void wish_for_guesses(const StepLoad& load);
  int64_t wanted_guesses(const Sequence& sequence, const StepLoad& load) const;
  int64_t num_guesses(Sequence& sequence, const StepLoad& load, int64_t room);
  PromptRoom prompt_room(const Schedule& out) const;
  int64_t chunk_of(const Schedule& out, const Sequence& sequence, const PromptRoom& room) const;
  bool plan_chunk(Schedule& out, Sequence& sequence, PromptRoom& room);
  void plan_begun_prompts(Schedule& out, PromptRoom& room);
  void let_in(Schedule& out, PromptRoom& room);
  void list_candidates();
  bool is_being_computed(const Sequence& waiting) const;
  bool begin(Sequence& sequence, Schedule& out);
  bool match_and_find_blocks(const Sequence& sequence, int64_t limit);
  void start(Sequence& sequence);
  void plan(Schedule& out, Sequence& sequence, int64_t count, int64_t num_guesses = 0);
  // Whether so many blocks of each group are free, perhaps after cached ones were given up.
  using BlockCounts = std::array<int64_t, cache::kMostGroups>;
  bool find_blocks(const BlockCounts& counts);
  BlockCounts missing(const Sequence& sequence, int64_t num_tokens) const;
  // What letting a sequence in takes, with what is left for those that run.
  BlockCounts wanted_to_begin(int64_t length) const;
  int64_t most_window_blocks(int group, int64_t length) const;
  // Room in groups with a window for a chunk of `count` tokens, or for as many as there is.
  int64_t make_room_in_windows(Sequence& sequence, int64_t count, Schedule& out);
  bool make_room(Sequence& sequence, Schedule& out);
  Sequence* victim(const Schedule& out, const Sequence* after = nullptr) const;
  void preempt(Sequence& sequence, Schedule& out);
  void send_back(Sequence& sequence);

  SchedulerOptions options_;
  cache::BlockPools& pools_;
  cache::PrefixCache& cache_;
  const StepTimes& times_;
  DraftPolicy* draft_;
  std::vector<Sequence*> waiting_, running_;   // by priority and arrival
  std::vector<Sequence*> ready_;               // of the plan being made
  std::vector<Candidate> candidates_;          // the same
  std::vector<cache::BlockCopy> fork_copies_;  // for the next plan
  std::vector<int32_t> withdrawn_;
  cache::PrefixMatch match_;
  uint64_t next_number_ = 1;
  int64_t num_preemptions_ = 0;
};

}  // namespace weft::engine
