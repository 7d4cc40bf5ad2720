// A model that guesses for itself is always right, greedily and when sampling: whatever its cache
// holds wrongly, and every position that it is wrong about, costs it a guess.
#include "engine/draft_model.h"

#include <limits>
#include <map>

#include "checkpoint/model_files.h"
#include "engine/draft_plan.h"
#include "engine/patched_model.h"
#include "engine/tiny_engine.h"

namespace weft::engine {
namespace {

class FailingDraft : public checkpoint::FolderTest {};

struct Served {
  EngineStats stats;
  std::map<uint64_t, RequestState> answers;
};

Served answer(const EngineOptions& options, const std::vector<Request>& requests,
              const std::function<void(Engine&, int64_t step)>& before_step = {}) {
  Served run;
  const auto engine = Engine::load(options);
  for (const Request& request : requests) engine->submit(request);
  const OnEvent on_event = [&](const RequestEvent& event) {
    if (event.request.ended) run.answers[event.request.id] = event.request;
  };
  for (int64_t step = 0;; ++step) {
    if (before_step) before_step(*engine, step);
    if (!engine->step(on_event)) break;
  }
  run.stats = engine->stats();
  return run;
}

Request request_of(std::vector<int32_t> prompt_ids, int64_t max_tokens) {
  Request request;
  request.prompt_ids = std::move(prompt_ids);
  request.sampling.max_tokens = max_tokens;
  request.sampling.temperature = 0.0f;
  request.sampling.seed = 1;
  request.sampling.ignore_eos = true;
  request.hash_logits = true;
  return request;
}

EngineOptions drafted(EngineOptions options, const std::string& draft, int64_t most = 4) {
  options.speculative_model = tiny_path(draft);
  options.num_speculative_tokens = most;
  options.always_speculate = true;
  return options;
}

// Every guess was right, and there were as many as there could be.
void expect_all_accepted(const EngineStats& stats) {
  EXPECT_EQ(stats.speculation.accepted_tokens, stats.speculation.guessed_tokens);
  EXPECT_GT(stats.speculation.guessed_tokens, stats.generated_tokens / 2);
  EXPECT_EQ(stats.speculation.num_draft_failures, 0);
}

void expect_same_bits(const Served& with, const Served& without) {
  ASSERT_EQ(with.answers.size(), without.answers.size());
  for (const auto& [id, state] : with.answers) {
    const RequestState& other = without.answers.at(id);
    ASSERT_EQ(state.choices.size(), other.choices.size());
    for (size_t c = 0; c < state.choices.size(); ++c) {
      EXPECT_EQ(state.choices[c].token_ids, other.choices[c].token_ids) << id;
      EXPECT_EQ(state.choices[c].logits_hash, other.choices[c].logits_hash) << id;
    }
  }
}

TEST(DraftModel, ThatIsTheModelItselfIsAlwaysRight) {
  SKIP_WITHOUT_TINY_MODELS();
  const EngineOptions options = tiny_options(tiny_path("llama.Q4_K"));
  const std::vector<Request> requests = {request_of(some_ids(20), 61)};
  const Served run = answer(drafted(options, "llama.Q4_K"), requests);
  expect_all_accepted(run.stats);
  EXPECT_EQ(run.stats.generated_tokens, 61);
  EXPECT_EQ(run.stats.speculation.num_verifications, 12);  // of 5 tokens each, after the first
  expect_same_bits(run, answer(options, requests));
}

TEST(DraftModel, GuessesWhatIsSampled) {
  SKIP_WITHOUT_TINY_MODELS();
  const EngineOptions options = tiny_options(tiny_path("llama.Q4_K"));
  std::vector<Request> requests;
  for (int i = 0; i < 6; ++i) {
    requests.push_back(request_of(some_ids(10 + i, i), 50));
    SamplingParams& p = requests.back().sampling;
    p.temperature = 1.2f;
    p.seed = static_cast<uint64_t>(i);
    if (i == 1) p.top_k = 20;
    if (i == 2) p.repetition_penalty = 1.4f;
    if (i == 3) p.frequency_penalty = 0.6f;
    if (i == 4) p.logprobs = 3;
    if (i == 5) p.allowed_token_ids = some_ids(60);
  }
  const Served run = answer(drafted(options, "llama.Q4_K"), requests);
  expect_all_accepted(run.stats);
  expect_same_bits(run, answer(options, requests));
}

// What a cache has to be right about: prefixes that are shared while they are computed, tails that
// are copied, prompts in chunks, choices that fork, sequences that are sent back.
std::vector<Request> tangled_requests() {
  std::vector<Request> requests;
  const std::vector<int32_t> prefix = some_ids(70);
  for (int i = 0; i < 14; ++i) {
    std::vector<int32_t> ids = i % 3 == 0 ? std::vector<int32_t>() : prefix;
    if (i % 3 == 1) ids.resize(static_cast<size_t>(40 + i));
    const std::vector<int32_t> rest = some_ids(3 + 5 * i, 300 + i);
    ids.insert(ids.end(), rest.begin(), rest.end());
    requests.push_back(request_of(std::move(ids), 20 + 3 * i));
    SamplingParams& p = requests.back().sampling;
    p.temperature = i % 2 == 0 ? 0.0f : 0.9f;
    p.seed = static_cast<uint64_t>(i);
    if (i % 4 == 1) p.n = 3;
  }
  return requests;
}

void expect_tangle_accepted(EngineOptions options, const char* draft_type = "llama.Q4_K") {
  const std::vector<Request> requests = tangled_requests();
  const Served run = answer(drafted(options, draft_type), requests);
  expect_all_accepted(run.stats);
  EXPECT_GT(run.stats.cached_prompt_tokens, 0);
  expect_same_bits(run, answer(options, requests));
}

TEST(DraftModel, KeepsItsPlaceAmongManyRequests) {
  SKIP_WITHOUT_TINY_MODELS();
  EngineOptions options = tiny_options(tiny_path("llama.Q4_K"));
  options.max_num_batched_tokens = 48;
  expect_tangle_accepted(options);
}

TEST(DraftModel, KeepsItsPlaceWhenSequencesAreSentBack) {
  SKIP_WITHOUT_TINY_MODELS();
  EngineOptions options = tiny_options(tiny_path("llama.Q4_K"));
  options.num_blocks = 20;
  const std::vector<Request> requests = tangled_requests();
  const Served run = answer(drafted(options, "llama.Q4_K"), requests);
  EXPECT_GT(run.stats.num_preemptions, 0);
  EXPECT_EQ(run.stats.speculation.accepted_tokens, run.stats.speculation.guessed_tokens);
  EXPECT_GT(run.stats.speculation.guessed_tokens, 100);
  expect_same_bits(run, answer(options, requests));
}

TEST(DraftModel, KeepsItsPlaceInPipelines) {
  SKIP_WITHOUT_TINY_MODELS();
  for (const char* stages : {"2", "3"}) {
    for (const Placement placement : {Placement::kDedicated, Placement::kPooled}) {
      SCOPED_TRACE(std::string("pp ") + stages);
      EngineOptions options = tiny_options(tiny_path("llama.Q4_K"));
      options.topology.pipeline_parallel = stages;
      options.placement = placement;
      expect_tangle_accepted(options);
    }
  }
}

// It lies under the blocks of full attention, whatever the other model gives back behind windows;
// the last one has windows in all layers.
TEST(DraftModel, KeepsItsPlaceBesideWindows) {
  SKIP_WITHOUT_TINY_MODELS();
  for (const std::string& path : {tiny_path("gemma3.Q8_0"), tiny_path("gemma2.Q8_0"),
                                  std::string(tiny_folder()) + "/mistral.F32"}) {
    SCOPED_TRACE(path);
    const EngineOptions options = tiny_options(path);
    EngineOptions with = drafted(options, "");
    with.speculative_model = path;
    const std::vector<Request> requests = tangled_requests();
    const Served run = answer(with, requests);
    expect_all_accepted(run.stats);
    EXPECT_GT(run.stats.num_window_blocks, 0);
    expect_same_bits(run, answer(options, requests));
  }
}

TEST(DraftModel, IsSplitInItsOwnWay) {
  SKIP_WITHOUT_TINY_MODELS();
  for (const int threads : {1, 2}) {  // a pool, and a team a rank
    EngineOptions options = tiny_options(tiny_path("llama.Q4_K"));
    options.threads_per_rank = threads;
    options.draft_tensor_parallel_size = 2;
    expect_tangle_accepted(options);
  }
  EngineOptions options = tiny_options(tiny_path("llama.Q4_K"));
  options.topology.tensor_parallel_size = 3;
  options.placement = Placement::kDedicated;
  options.draft_tensor_parallel_size = 2;
  expect_tangle_accepted(options);
}

TEST(DraftModel, SurvivesCancelledRequests) {
  SKIP_WITHOUT_TINY_MODELS();
  const EngineOptions options = tiny_options(tiny_path("llama.Q4_K"));
  std::vector<Request> requests = tangled_requests();
  const Served run =
      answer(drafted(options, "llama.Q4_K"), requests, [](Engine& engine, int64_t at) {
        if (at % 3 == 2) engine.cancel(static_cast<uint64_t>(at / 3));
      });
  EXPECT_EQ(run.answers.size(), requests.size());
  EXPECT_EQ(run.stats.speculation.accepted_tokens, run.stats.speculation.guessed_tokens);
  EXPECT_EQ(run.stats.num_free_blocks + run.stats.num_idle_blocks, run.stats.num_blocks);
}

// Another model is mostly wrong, and nothing shows but its figures.
TEST(DraftModel, OfOtherWeightsChangesNoBit) {
  SKIP_WITHOUT_TINY_MODELS();
  const EngineOptions options = tiny_options(tiny_path("llama.Q4_K"));
  const std::vector<Request> requests = tangled_requests();
  const Served run = answer(drafted(options, "llama.Q2_K"), requests);
  EXPECT_GT(run.stats.speculation.guessed_tokens, run.stats.speculation.accepted_tokens);
  EXPECT_LE(run.stats.speculation.acceptance_rate(), 1.0);
  EXPECT_GE(run.stats.speculation.mean_accepted_length(), 1.0);
  expect_same_bits(run, answer(options, requests));
}

// Left to itself it sees that a model of the same size cannot pay.
TEST(DraftModel, GivesUpWhereItLoses) {
  SKIP_WITHOUT_TINY_MODELS();
  EngineOptions options = drafted(tiny_options(tiny_path("llama.Q4_K")), "llama.F32");
  options.always_speculate = false;
  std::vector<Request> requests;
  for (int i = 0; i < 24; ++i) requests.push_back(request_of(some_ids(15 + i, i), 150));
  const Served run = answer(options, requests);
  EXPECT_LT(run.stats.speculation.draft_tokens, run.stats.generated_tokens);
  expect_same_bits(run, answer(tiny_options(tiny_path("llama.Q4_K")), requests));
}

// What fails in it ends no request: not where every sequence meets it, in its sums or its logits,
// and not where one does.
TEST_F(FailingDraft, CostsGuessesAndNothingElse) {
  SKIP_WITHOUT_TINY_MODELS();
  constexpr float kInf = std::numeric_limits<float>::infinity();
  constexpr int64_t kHidden = 256;
  EngineOptions options = tiny_options(tiny_path("llama.F32"));
  const std::vector<Request> requests = tangled_requests();
  const Served expected = answer(options, requests);
  options = drafted(options, "llama.F32");
  for (const char* tensor : {"blk.2.ffn_down.weight", "output_norm.weight"}) {
    SCOPED_TRACE(tensor);
    PatchedModel model(tiny_path("llama.F32"));
    model.set_weight(tensor, 0, 1, kInf);
    options.speculative_model = model.write(folder_ / "draft.gguf");
    const Served run = answer(options, requests);
    EXPECT_GT(run.stats.speculation.num_draft_failures, 0);
    EXPECT_EQ(run.stats.speculation.guessed_tokens, 0);
    expect_same_bits(run, expected);
  }
  PatchedModel model(tiny_path("llama.F32"));
  model.set_weight("token_embd.weight", kHidden * requests[0].prompt_ids.back(), kHidden, kInf);
  options.speculative_model = model.write(folder_ / "draft.gguf");
  const Served run = answer(options, requests);
  EXPECT_GT(run.stats.speculation.num_draft_failures, 0);
  EXPECT_GT(run.stats.speculation.accepted_tokens, 100);
  expect_same_bits(run, expected);
}

TEST(DraftModel, OfAnotherVocabularyIsRefused) {
  SKIP_WITHOUT_TINY_MODELS();
  const char* folder = std::getenv("WEFT_TEST_MODELS");
  if (folder == nullptr) GTEST_SKIP() << "WEFT_TEST_MODELS is not set";
  EngineOptions options = drafted(tiny_options(tiny_path("llama.Q4_K")), "");
  options.speculative_model = std::string(folder) + "/SmolLM2-135M-Instruct.Q4_1.gguf";
  try {
    Engine::load(options);
    FAIL() << "it was taken";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kUsage);
    const std::string text = e.what();
    EXPECT_NE(text.find("vocabularies differ"), std::string::npos) << text;
    EXPECT_NE(text.find("Smollm2"), std::string::npos) << text;
    EXPECT_NE(text.find("random llama"), std::string::npos) << text;
    EXPECT_NE(text.find("--speculative-model"), std::string::npos) << text;
  }
}

// Ids that only the draft model has are never proposed, and a mask of the other's size is enough.
TEST(DraftModel, MayHaveMoreTokens) {
  SKIP_WITHOUT_TINY_MODELS();
  const EngineOptions options = tiny_options(tiny_path("llama.Q4_K"));
  std::vector<Request> requests = tangled_requests();
  for (size_t i = 0; i < requests.size(); i += 2)
    requests[i].sampling.allowed_token_ids = some_ids(90);
  const Served run = answer(drafted(options, "vocab1003.Q4_1"), requests);
  EXPECT_GT(run.stats.speculation.guessed_tokens, 0);
  EXPECT_EQ(run.stats.speculation.num_draft_failures, 0);
  expect_same_bits(run, answer(options, requests));
}

// What a plan had room for and nobody guessed counts in no step: where every sequence has a single
// token after all, none of what they attend to is a chunk's.
TEST(DraftModel, StepsHoldWhatWasGuessed) {
  SKIP_WITHOUT_TINY_MODELS();
  EngineOptions options = drafted(tiny_options(tiny_path("vocab1003.Q4_1")), "llama.Q4_K");
  options.num_kept_steps = 10'000;
  std::vector<Request> requests = tangled_requests();
  for (size_t i = 0; i < requests.size(); i += 2) requests[i].prompt_ids.back() = 1001;
  std::vector<StepRecord> steps;
  answer(options, requests, [&](Engine& engine, int64_t) { steps = engine.trace().steps; });
  int64_t num_plain = 0;
  for (const StepRecord& step : steps) {
    EXPECT_GE(step.load.attention_pairs, step.load.chunk_pairs) << step.id;
    if (step.load.num_tokens > step.num_sequences) continue;
    ++num_plain;
    EXPECT_EQ(step.load.chunk_pairs, 0) << step.id;
  }
  EXPECT_GT(num_plain, 0);
  EXPECT_LT(num_plain, std::ssize(steps));
}

// And fewer: a sequence that holds a token which it does not know goes on without it.
TEST(DraftModel, MayHaveFewerTokens) {
  SKIP_WITHOUT_TINY_MODELS();
  const EngineOptions options = tiny_options(tiny_path("vocab1003.Q4_1"));
  std::vector<Request> requests = tangled_requests();
  for (size_t i = 0; i < requests.size(); i += 2) requests[i].prompt_ids.back() = 1001;
  const Served run = answer(drafted(options, "llama.Q4_K"), requests);
  EXPECT_GT(run.stats.speculation.guessed_tokens, 0);
  expect_same_bits(run, answer(options, requests));
}

TEST(DraftModel, CountsInTheMemoryOfTheCache) {
  SKIP_WITHOUT_TINY_MODELS();
  EngineOptions options = tiny_options(tiny_path("llama.Q4_K"));
  options.kv_cache_bytes = 1 << 20;
  const auto alone = Engine::load(options);
  EXPECT_TRUE(alone->split().draft_ranks.empty());
  const auto both = Engine::load(drafted(options, "llama.Q4_K"));
  EXPECT_EQ(both->kv_cache_blocks(), alone->kv_cache_blocks() / 2);
  ASSERT_EQ(both->split().draft_ranks.size(), 1u);
  const RankShare& draft = both->split().draft_ranks.front();
  EXPECT_EQ(draft.kv_bytes, both->split().ranks.front().kv_bytes);
  EXPECT_GT(draft.weight_bytes, 0);
  EXPECT_LE(draft.kv_bytes + both->split().ranks.front().kv_bytes, options.kv_cache_bytes);
}

}  // namespace
}  // namespace weft::engine
