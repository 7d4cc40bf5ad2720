// Masks are made while a step is under way, by whoever has time: however long a matcher takes, none
// comes late, and none is that of another answer or step. An answer that was held to the wrong mask
// would break its grammar, or have other tokens than it has alone with a matcher that is quick.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "base/random.h"
#include "engine/tiny_engine.h"
#include "text/grammar.h"

namespace weft::engine {
namespace {

// What all matchers of a test saw.
struct Seen {
  std::mutex mutex;
  std::set<std::thread::id> threads;
  std::atomic<uint64_t> num_masks{0};
  std::atomic<int> num_overlaps{0};  // calls of one matcher at the same time
};

// Takes a millisecond for some masks, and none for others.
class SlowMatcher final : public text::GrammarMatcher {
 public:
  SlowMatcher(std::unique_ptr<text::GrammarMatcher> matcher, Seen& seen)
      : matcher_(std::move(matcher)), seen_(seen) {}

  void fill(std::span<uint32_t> mask) override {
    const Call call(*this);
    {
      const std::lock_guard lock(seen_.mutex);
      seen_.threads.insert(std::this_thread::get_id());
    }
    const uint64_t late_us = uniform_bits(7, 0, seen_.num_masks++) % 3 * 500;
    std::this_thread::sleep_for(std::chrono::microseconds(late_us));
    matcher_->fill(mask);
  }
  bool advance(int32_t id) override {
    const Call call(*this);
    return matcher_->advance(id);
  }
  void take_back(int64_t count) override {
    const Call call(*this);
    matcher_->take_back(count);
  }
  bool may_end() override { return matcher_->may_end(); }
  bool must_end() override { return matcher_->must_end(); }
  std::unique_ptr<GrammarMatcher> clone() const override {
    return std::make_unique<SlowMatcher>(matcher_->clone(), seen_);
  }

 private:
  struct Call {
    explicit Call(SlowMatcher& of) : matcher(of) {
      if (matcher.is_busy_.exchange(true)) ++matcher.seen_.num_overlaps;
    }
    ~Call() { matcher.is_busy_ = false; }
    SlowMatcher& matcher;
  };

  std::unique_ptr<text::GrammarMatcher> matcher_;
  Seen& seen_;
  std::atomic<bool> is_busy_{false};
};

class SlowGrammar final : public text::Grammar {
 public:
  SlowGrammar(std::shared_ptr<const text::Grammar> grammar, Seen& seen)
      : grammar_(std::move(grammar)), seen_(seen) {}
  std::unique_ptr<text::GrammarMatcher> matcher() const override {
    return std::make_unique<SlowMatcher>(grammar_->matcher(), seen_);
  }
  int64_t bytes() const override { return grammar_->bytes(); }

 private:
  std::shared_ptr<const text::Grammar> grammar_;
  Seen& seen_;
};

// No two grammars have a letter in common, and every answer repeats itself, so that there is
// something to guess.
constexpr const char* kLetters[] = {"abcd", "efgh", "ijkl", "mnop", "qrst", "uvwx", "0123", "4567"};

std::vector<Request> requests(const Engine& engine, Seen* seen) {
  const auto compiler = text::GrammarCompiler::make(engine.tokenizer(), engine.model().vocab_size,
                                                    engine.model().end_ids);
  std::vector<Request> all;
  for (size_t i = 0; i < std::size(kLetters); ++i) {
    Request request = greedy(some_ids(10 + 3 * static_cast<int>(i), static_cast<int32_t>(i)), 60);
    const std::string letters = kLetters[i], word = letters.substr(0, 3);
    request.grammar = compiler->compile(
        {text::GrammarSpec::Kind::kRegex, "[" + letters + "]{4,9}(" + word + "){4,6}"});
    if (seen != nullptr) request.grammar = std::make_shared<SlowGrammar>(request.grammar, *seen);
    request.sampling.seed = i;
    if (i % 3 == 1) request.sampling.temperature = 1.5f, request.sampling.n = 2;
    all.push_back(request);
  }
  return all;
}

using Answers = std::map<uint64_t, std::vector<Choice>>;

Answers answers(Engine& engine, const std::vector<Request>& requests) {
  Answers answers;
  for (const Request& request : requests) engine.submit(request);
  while (engine.step([&](const RequestEvent& event) {
    if (!event.request.ended) return;
    EXPECT_FALSE(event.request.error) << event.request.error->summary();
    answers[event.request.id] = event.request.choices;
  })) {
  }
  return answers;
}

struct Split {
  const char* name;
  std::function<void(EngineOptions&)> set;
  int least_threads = 1;         // that make masks
  bool planner_has_part = true;  // it leads a worker of the last stage
  friend void PrintTo(const Split& split, std::ostream* out) { *out << split.name; }
};

class SlowMasks : public testing::TestWithParam<Split> {};

TEST_P(SlowMasks, AreNeitherLateNorAnothers) {
  SKIP_WITHOUT_TINY_MODELS();
  EngineOptions options = tiny_options(tiny_path("llama.Q4_K"));
  options.max_num_seqs = 32;
  const auto quick = Engine::load(options);
  const Answers expected = answers(*quick, requests(*quick, nullptr));
  Seen seen;
  options.placement = Placement::kDedicated;
  GetParam().set(options);
  const auto slow = Engine::load(options);
  const std::vector<Request> asked = requests(*slow, &seen);
  const Answers found = answers(*slow, asked);
  ASSERT_EQ(found.size(), std::size(kLetters));
  for (const auto& [id, choices] : found) {
    const std::vector<Choice>& known = expected.at(id);
    ASSERT_EQ(choices.size(), known.size());
    for (size_t c = 0; c < choices.size(); ++c) {
      EXPECT_EQ(choices[c].token_ids, known[c].token_ids) << choices[c].text;
      EXPECT_EQ(choices[c].logits_hash, known[c].logits_hash);
      EXPECT_EQ(choices[c].text.find_first_not_of(kLetters[id - 1]), std::string::npos)
          << choices[c].text;
      EXPECT_EQ(choices[c].finish, FinishReason::kStop);
    }
  }
  EXPECT_EQ(seen.num_overlaps, 0);
  EXPECT_GE(static_cast<int>(seen.threads.size()), GetParam().least_threads);
  EXPECT_EQ(seen.threads.contains(std::this_thread::get_id()), GetParam().planner_has_part);
  if (options.num_speculative_tokens > 0) {
    EXPECT_GT(slow->stats().speculation.accepted_tokens, 0);
  }
  EXPECT_GT(slow->stats().mask_s, 0);
}

INSTANTIATE_TEST_SUITE_P(
    Splits, SlowMasks,
    testing::Values(
        Split{"threads2", [](EngineOptions& o) { o.threads_per_rank = 2; }, 2},
        Split{"tp2", [](EngineOptions& o) { o.topology.tensor_parallel_size = 2; }, 2},
        Split{"tp3pooled",
              [](EngineOptions& o) {
                o.topology.tensor_parallel_size = 3;
                o.placement = Placement::kPooled;
              }},
        Split{"pp2", [](EngineOptions& o) { o.topology.pipeline_parallel = "2"; }, 1, false},
        // A last stage of the head alone: no sum of a layer brings its ranks together.
        Split{"head", [](EngineOptions& o) { o.topology.stages = "4@1,0@3"; }, 2, false},
        Split{"tp2guesses",
              [](EngineOptions& o) {
                o.topology.tensor_parallel_size = 2;
                o.num_speculative_tokens = 4;
              },
              2},
        Split{"pp2draft",
              [](EngineOptions& o) {
                o.topology.pipeline_parallel = "2";
                o.num_speculative_tokens = 3;
                o.speculative_model = tiny_path("llama.Q2_K");
                o.always_speculate = true;
              },
              2, true}),  // the planner leads the draft model's only worker
    [](const auto& split) { return split.param.name; });

}  // namespace
}  // namespace weft::engine
