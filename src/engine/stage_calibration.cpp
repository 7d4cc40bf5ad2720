#include "engine/stage_calibration.h"

#include <algorithm>
#include <map>

#include "base/clock.h"
#include "base/error.h"
#include "base/random.h"
#include "cache/group_layout.h"
#include "cache/sequence_blocks.h"

namespace weft::engine {
namespace {

// Every size has its turn in each round, so that a slow second of the machine meets a few steps of
// many sizes, and the median of a size's steps, of all rounds, is what counts. Long steps, which
// take most of the time, vary less: half as many.
constexpr int64_t kRounds = 3, kCountedSteps = 6, kCountedLongSteps = 3;
constexpr int64_t kLongStep = 128;  // tokens
// Medians are learned so often in a row: a time far above what was expected is believed then
// (engine/step_times.h). The newest steps count most, so the sizes take turns.
constexpr int kTogether = 3, kTurns = 4;
constexpr int64_t kShortContext = 8;
// Tokens of the contexts in which attention is timed: below a second on most machines.
constexpr int64_t kContextTokens = 2048;

// What every step of a stream holds.
struct StepSize {
  int64_t num_decodes = 0, depth = 0;  // sequences, and the tokens before the first step of each
  int64_t chunk_tokens = 0;            // of one more sequence, from its first position on
};

// Sequences of random ids whose next tokens are asked for whether or not the last ones are known.
// One that has come to the end of its context begins again.
class StepStream {
 public:
  StepStream(Replica& replica, cache::BlockPools& pools, int64_t vocab_size, int64_t context,
             const StepSize& size)
      : replica_(replica), pools_(pools), vocab_size_(vocab_size), context_(context), size_(size) {
    for (int64_t i = 0; i < size.num_decodes; ++i)
      decodes_.push_back({cache::SequenceBlocks(pools)});
    if (size.chunk_tokens > 0) chunk_.push_back({cache::SequenceBlocks(pools)});
  }

  // Room for so many steps. False where a pool is too small.
  bool reserve(int64_t num_steps) {
    const int64_t decoded = std::min(context_, size_.depth + num_steps);
    const int64_t chunked = std::min(context_, size_.chunk_tokens * num_steps);
    const int64_t filled = std::clamp<int64_t>(size_.depth, 1, replica_.shape().max_batch_tokens);
    for (int group = 1; group < pools_.num_groups(); ++group) {
      // A window takes and gives back blocks with every step: what its sequences hold at most.
      const auto held = [&](int64_t num_tokens, int64_t length) {
        return cache::most_blocks(pools_.window(group), num_tokens, length, pools_.block_size());
      };
      const int64_t needed = size_.num_decodes * held(filled, decoded) +
                             (chunk_.empty() ? 0 : held(size_.chunk_tokens, chunked));
      if (needed > pools_.pool(group).num_free()) return false;
    }
    const auto has_room = [](std::vector<Sequence>& sequences, int64_t num_tokens) {
      return std::all_of(sequences.begin(), sequences.end(),
                         [&](Sequence& s) { return s.blocks.grow_full(num_tokens); });
    };
    return has_room(decodes_, decoded) && has_room(chunk_, chunked);
  }

  // The contexts of the decodes; with none the cache's memory may never have been written.
  void fill_contexts() {
    const int64_t most = replica_.shape().max_batch_tokens;
    for (Sequence& s : decodes_) {
      while (s.length < size_.depth) {
        StepPlan& plan = begin_plan();
        add(plan, s, std::min(most, size_.depth - s.length), false);
        replica_.submit();
        replica_.await();
      }
    }
  }

  void submit() {
    StepPlan& plan = begin_plan();
    for (Sequence& s : decodes_) add(plan, s, 1, true);
    for (Sequence& s : chunk_) add(plan, s, size_.chunk_tokens, false);
    load_ = record_of(plan).load;
    replica_.submit();
  }
  // Of the step submitted last.
  const StepLoad& load() const { return load_; }

 private:
  struct Sequence {
    cache::SequenceBlocks blocks;
    int64_t length = 0;  // tokens of plans made
  };

  StepPlan& begin_plan() {
    StepPlan& plan = replica_.next_plan();
    plan.clear();
    return plan;
  }

  // Steps in flight may still read its blocks: stages run steps in order.
  void begin_again(Sequence& s) {
    const int64_t num_tokens = s.blocks.full().capacity();
    s.blocks.release();
    WEFT_CHECK(s.blocks.grow_full(num_tokens), "its own blocks are free");
    s.length = 0;
  }

  void add(StepPlan& plan, Sequence& s, int64_t count, bool chooses) {
    if (s.length + count > context_) begin_again(s);
    s.blocks.slide(s.length);
    WEFT_CHECK(s.blocks.grow(s.length + count), "the pools have room");
    ids_.clear();
    for (int64_t i = 0; i < count; ++i)
      ids_.push_back(static_cast<int32_t>(uniform_bits(0, 0, next_id_++) %
                                          static_cast<uint64_t>(vocab_size_)));
    const int64_t first = plan.add(ids_, s.length, s.blocks.full().ids());
    for (int group = 1; group < s.blocks.num_groups(); ++group) {
      const cache::BlockTable& table = s.blocks.table(group);
      plan.add_table(group, table.first_block(), table.ids());
    }
    s.length += count;
    if (chooses) plan.rows.push_back({.token = first + count - 1, .position = s.length - 1});
  }

  Replica& replica_;
  cache::BlockPools& pools_;
  const int64_t vocab_size_, context_;
  const StepSize size_;
  std::vector<Sequence> decodes_, chunk_;  // of the latter one at most
  std::vector<int32_t> ids_;
  uint64_t next_id_ = 0;
  StepLoad load_;
};

class Calibration {
 public:
  Calibration(Replica& replica, cache::BlockPools& pools, int64_t vocab_size, int64_t context)
      : replica_(replica), pools_(pools), vocab_size_(vocab_size), context_(context) {
    costs_.stages.resize(replica.shape().time_rows().size());
  }

  // With every stage at work.
  void measure_work(const StepSize& size, size_t index) {
    StepStream stream(replica_, pools_, vocab_size_, context_, size);
    // While the ring fills and drains, some stages have the machine for themselves.
    const auto alone = static_cast<int64_t>(costs_.stages.size());
    const bool is_long = size.num_decodes + size.chunk_tokens >= kLongStep;
    const int64_t count = 2 * alone + (is_long ? kCountedLongSteps : kCountedSteps);
    if (!stream.reserve(count)) return;
    stream.fill_contexts();
    loads_.clear();
    std::vector<Sample>& samples = samples_[index];
    int64_t num_taken = 0;
    const auto take = [&] {
      replica_.await();
      const int64_t step = num_taken++;
      if (step < alone || step >= count - alone) return;
      const std::span<const int64_t> work = replica_.work_ns();
      samples.push_back({loads_[static_cast<size_t>(step)], {work.begin(), work.end()}});
    };
    for (int64_t i = 0; i < count; ++i) {
      if (replica_.in_flight() == replica_.max_in_flight()) take();
      stream.submit();
      loads_.push_back(stream.load());
    }
    while (replica_.in_flight() > 0) take();
    replica_.settle();
  }

  // One step after another.
  void measure_hops(const StepSize& size) {
    StepStream stream(replica_, pools_, vocab_size_, context_, size);
    constexpr int64_t kSteps = 4;
    if (!stream.reserve(kSteps)) return;
    for (int64_t i = 0; i < kSteps; ++i) {
      const int64_t begin_ns = now_ns();
      stream.submit();
      replica_.await();
      // The first one touches memory for the first time.
      if (i > 0) learn_hop(stream.load().num_tokens, seconds_between(begin_ns, now_ns()));
    }
    replica_.settle();
  }

  void learn_work() {
    for (size_t stage = 0; stage < costs_.stages.size(); ++stage) {
      for (int turn = 0; turn < kTurns; ++turn) {
        for (auto& [size, samples] : samples_) learn_median(samples, stage);
      }
    }
  }

  PipelineCosts costs_;

 private:
  struct Sample {
    StepLoad load;
    std::vector<int64_t> work_ns;  // [stages]
  };

  // Steps of a size differ in their depth: the median's own load goes with its time.
  void learn_median(std::vector<Sample>& samples, size_t stage) {
    const auto median = samples.begin() + static_cast<std::ptrdiff_t>(samples.size() / 2);
    std::nth_element(samples.begin(), median, samples.end(), [&](const Sample& a, const Sample& b) {
      return a.work_ns[stage] < b.work_ns[stage];
    });
    for (int i = 0; i < kTogether; ++i)
      costs_.stages[stage].learn(median->load, seconds_between(0, median->work_ns[stage]));
  }

  void learn_hop(int64_t num_tokens, double seconds) {
    double rest = seconds;
    for (const int64_t work_ns : replica_.work_ns()) rest -= seconds_between(0, work_ns);
    costs_.hop.learn({num_tokens, 0}, rest / static_cast<double>(costs_.stages.size()));
  }

  Replica& replica_;
  cache::BlockPools& pools_;
  const int64_t vocab_size_, context_;
  std::vector<StepLoad> loads_;                    // of the steps of a size
  std::map<size_t, std::vector<Sample>> samples_;  // of a size, by its index
};

std::vector<int64_t> doubling(int64_t first, int64_t last, int64_t factor = 2) {
  std::vector<int64_t> sizes;
  for (int64_t size = first; size < last; size *= factor) sizes.push_back(size);
  sizes.push_back(last);
  return sizes;
}

std::vector<StepSize> sizes_of_work(const CalibrationRange& range) {
  std::vector<StepSize> sizes;
  const int64_t longest = std::max<int64_t>(1, range.context - 1);
  const int64_t chunk = std::min(range.chunk_tokens, longest);
  const int64_t depth = std::min(kShortContext, longest - 1);
  for (const int64_t count : doubling(1, range.num_decodes))
    sizes.push_back({.num_decodes = count, .depth = depth});
  for (const int64_t tokens : doubling(std::min<int64_t>(16, chunk), chunk, 4))
    sizes.push_back({.chunk_tokens = tokens});
  // What continuous batching is made of: parts of prompts beside answers.
  for (const int64_t count : {range.num_decodes / 4, range.num_decodes}) {
    if (count > 0 && chunk - count >= 16)
      sizes.push_back({.num_decodes = count, .depth = depth, .chunk_tokens = chunk - count});
  }
  if (longest <= 4 * kShortContext) return sizes;
  // What a position costs that a token attends to: some sequences, with a long context.
  const int64_t deep = std::min(longest / 2, kContextTokens);
  sizes.push_back({.num_decodes = std::clamp<int64_t>(kContextTokens / deep, 1, range.num_decodes),
                   .depth = deep});
  return sizes;
}

std::vector<StepSize> sizes_of_hops(const CalibrationRange& range) {
  const int64_t chunk = std::clamp<int64_t>(range.context - 1, 1, range.chunk_tokens);
  return {{.num_decodes = 1}, {.num_decodes = range.num_decodes}, {.chunk_tokens = chunk}};
}

}  // namespace

PipelineCosts calibrate_stages(Replica& replica, cache::BlockPools& pools, int64_t vocab_size,
                               const CalibrationRange& range, const OnCalibration& on_size) {
  const std::vector<double>& simulated = replica.shape().stage_seconds;
  const std::vector<StepSize> work =
      simulated.empty() ? sizes_of_work(range) : std::vector<StepSize>();
  const std::vector<StepSize> hops =
      simulated.empty() ? sizes_of_hops(range) : std::vector<StepSize>{{.num_decodes = 1}};
  const int64_t total =
      static_cast<int64_t>(hops.size()) + kRounds * static_cast<int64_t>(work.size());
  Calibration calibration(replica, pools, vocab_size, range.context);
  int64_t done = 0;
  const auto say = [&] {
    if (on_size) on_size(++done, total);
  };
  for (const StepSize& size : hops) {
    calibration.measure_hops(size);
    say();
  }
  for (int64_t round = 0; round < kRounds; ++round) {
    for (size_t i = 0; i < work.size(); ++i) {
      calibration.measure_work(work[i], i);
      say();
    }
  }
  calibration.learn_work();
  for (size_t s = 0; s < simulated.size(); ++s)
    calibration.costs_.stages[s] = StepTimes::constant(simulated[s]);
  return std::move(calibration.costs_);
}

}  // namespace weft::engine
