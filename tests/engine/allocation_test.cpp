// Steady decoding takes no memory from the system: every allocation of the process is counted
// while answers of many requests go on.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>

#include "engine/spanning_engine.h"
#include "engine/tiny_engine.h"
#include "text/grammar.h"

namespace {

std::atomic<bool> counting{false};
std::atomic<int64_t> num_allocations{0}, num_bytes{0};

void* counted_memory(std::size_t size, std::size_t alignment) {
  if (counting.load(std::memory_order_relaxed) && weft::comm::MemoryLink::depth == 0) {
    num_allocations.fetch_add(1);
    num_bytes.fetch_add(static_cast<int64_t>(size));
  }
  void* memory =
      alignment <= alignof(std::max_align_t)
          ? std::malloc(size)
          : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

// At -O1 GCC 12 sees free() meet what it takes for an operator new that is not one of these.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

void* operator new(std::size_t size) { return counted_memory(size, 1); }
void* operator new[](std::size_t size) { return counted_memory(size, 1); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return counted_memory(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace weft::engine {
namespace {

// Allows every id but those that end an answer; what a grammar's library allocates is its own.
class OpenGrammar final : public text::Grammar {
 public:
  explicit OpenGrammar(std::span<const int32_t> end_ids) : end_ids_(end_ids) {}
  std::unique_ptr<text::GrammarMatcher> matcher() const override {
    return std::make_unique<Matcher>(end_ids_);
  }
  int64_t bytes() const override { return 1; }

 private:
  struct Matcher final : text::GrammarMatcher {
    explicit Matcher(std::span<const int32_t> ids) : end_ids(ids) {}
    void fill(std::span<uint32_t> mask) override {
      std::fill(mask.begin(), mask.end(), ~0u);
      for (const int32_t id : end_ids)
        mask[static_cast<size_t>(id) / 32] &= ~(uint32_t{1} << (id % 32));
    }
    bool advance(int32_t) override { return true; }
    void take_back(int64_t) override {}
    bool may_end() override { return false; }
    bool must_end() override { return false; }
    std::unique_ptr<GrammarMatcher> clone() const override {
      return std::make_unique<Matcher>(end_ids);
    }
    std::span<const int32_t> end_ids;
  };
  std::span<const int32_t> end_ids_;
};

EngineOptions options_of(const char* pipeline, int64_t guesses, const char* draft) {
  EngineOptions options = tiny_options(tiny_path("llama.Q4_K"));
  options.max_model_len = 400;
  options.max_num_seqs = 8;
  options.topology.pipeline_parallel = pipeline;
  options.placement = Placement::kDedicated;
  // How many micro-batches pay follows the clock; a larger one in a slot of the ring that has seen
  // smaller ones makes room once.
  if (*pipeline != 0) options.micro_batch_size = 4;
  options.num_speculative_tokens = guesses;
  options.num_kept_events = options.num_kept_steps = 1000;
  if (draft != nullptr) options.speculative_model = tiny_path(draft);
  options.always_speculate = draft != nullptr;
  return options;
}

int64_t allocations_of_steps(Engine& engine, int64_t& generated, bool has_grammar = false) {
  for (int i = 0; i < 8; ++i) {
    Request request;
    request.prompt_ids = some_ids(20 + i);
    request.sampling.max_tokens = 300;
    request.sampling.temperature = i % 2 == 0 ? 0.0f : 1.0f;
    request.sampling.seed = static_cast<uint64_t>(i);
    request.sampling.ignore_eos = true;
    if (has_grammar) request.grammar = std::make_shared<const OpenGrammar>(engine.model().end_ids);
    engine.submit(request);
  }
  // The ring's slots and every buffer have had their largest step after these.
  for (int i = 0; i < 160; ++i) engine.step({});
  const int64_t before = engine.stats().generated_tokens;
  num_allocations = 0;
  counting = true;
  for (int i = 0; i < 60; ++i) engine.step({});
  counting = false;
  generated = engine.stats().generated_tokens - before;
  while (engine.step({})) {
  }
  return num_allocations;
}

int64_t allocations_of_steps(const char* pipeline, int64_t guesses, int64_t& generated,
                             const char* draft = nullptr, bool has_grammar = false) {
  const auto engine = Engine::load(options_of(pipeline, guesses, draft));
  return allocations_of_steps(*engine, generated, has_grammar);
}

TEST(Allocations, AreNoneInSteadyDecoding) {
  SKIP_WITHOUT_TINY_MODELS();
  int64_t generated = 0;
  EXPECT_EQ(allocations_of_steps("", 0, generated), 0);
  EXPECT_EQ(generated, 8 * 60);
  EXPECT_EQ(allocations_of_steps("2", 0, generated), 0);
  EXPECT_GT(generated, 60);
}

// The first process's, those of the others and of the threads that watch over them; what is said
// between them by messages, or in memory that they share.
TEST(Allocations, AreNoneOverProcesses) {
  SKIP_WITHOUT_TINY_MODELS();
  for (const bool shares_memory : {false, true}) {
    int64_t generated = 0;
    EngineOptions options = options_of("", 0, nullptr);
    options.topology.tensor_parallel_size = 3;
    SpanningEngine by_tensors(options, 2, {.shares_memory = shares_memory});
    EXPECT_EQ(allocations_of_steps(*by_tensors, generated), 0) << shares_memory;
    EXPECT_EQ(generated, 8 * 60);
    options.topology.tensor_parallel_size = 2;  // shares eight tokens out
    SpanningEngine by_shares(options, 2, {.shares_memory = shares_memory});
    EXPECT_EQ(allocations_of_steps(*by_shares, generated), 0) << shares_memory;
    EXPECT_EQ(generated, 8 * 60);
    SpanningEngine by_stages(options_of("3", 0, nullptr), 3, {.shares_memory = shares_memory});
    EXPECT_EQ(allocations_of_steps(*by_stages, generated), 0) << shares_memory;
    EXPECT_GT(generated, 60);
  }
}

// By what came before, in answers of a small model, which repeat themselves.
TEST(Allocations, AreNoneWithGuesses) {
  SKIP_WITHOUT_TINY_MODELS();
  int64_t generated = 0;
  EXPECT_EQ(allocations_of_steps("", 4, generated), 0);
  EXPECT_GE(generated, 8 * 60);
  EXPECT_EQ(allocations_of_steps("2", 4, generated), 0);
  EXPECT_GT(generated, 60);
}

// Of other weights, so that guesses are right and wrong.
TEST(Allocations, AreNoneWithADraftModel) {
  SKIP_WITHOUT_TINY_MODELS();
  int64_t generated = 0;
  EXPECT_EQ(allocations_of_steps("", 3, generated, "llama.Q2_K"), 0);
  EXPECT_GE(generated, 8 * 60);
  EXPECT_EQ(allocations_of_steps("2", 3, generated, "llama.Q2_K"), 0);
  EXPECT_GT(generated, 60);
}

TEST(Allocations, AreNoneUnderGrammars) {
  SKIP_WITHOUT_TINY_MODELS();
  int64_t generated = 0;
  EXPECT_EQ(allocations_of_steps("", 0, generated, nullptr, true), 0);
  EXPECT_EQ(generated, 8 * 60);
  EXPECT_EQ(allocations_of_steps("2", 3, generated, "llama.Q2_K", true), 0);
  EXPECT_GT(generated, 60);
}

// A table of what came before is as large as the context, and queues may be long.
TEST(Allocations, OfQueuedRequestsHoldNoTableOfGuesses) {
  SKIP_WITHOUT_TINY_MODELS();
  int64_t bytes[2] = {};
  for (const int64_t guesses : {0, 4}) {
    EngineOptions options = tiny_options(tiny_path("llama.Q4_K"));
    options.max_model_len = 400;
    options.num_speculative_tokens = guesses;
    const auto engine = Engine::load(options);
    num_bytes = 0;
    counting = true;
    for (int i = 0; i < 50; ++i) engine->submit(greedy(some_ids(20), 300));
    counting = false;
    bytes[guesses / 4] = num_bytes;
  }
  EXPECT_GT(bytes[0], 50 * 20 * 4);
  EXPECT_LT(bytes[1], bytes[0] + 50 * 1000);
}

TEST(Allocations, AreCounted) {
  num_allocations = 0;
  counting = true;
  const auto memory = std::make_unique<std::string>(100, 'x');
  counting = false;
  EXPECT_GE(num_allocations, 2);
}

}  // namespace
}  // namespace weft::engine
