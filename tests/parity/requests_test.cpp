// Whatever shares a replica with a request, its answer has the bits that it has alone on one rank:
// a random mix of requests (lengths, seeds, sampling, stops, grammars, several choices, priorities,
// equal beginnings) under topologies, small caches that force pre-emption, micro-batches and
// policies.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/random.h"
#include "engine/spanning_engine.h"
#include "parity/cases.h"

namespace weft::parity {
namespace {

using engine::Request;
using engine::RequestState;

// Numbers of the mix: a function of the request and of what they are for.
uint64_t draw(uint64_t request, uint64_t use, uint64_t below) {
  return uniform_bits(2026, request, use) % below;
}

// Grammars for one engine: a third of the requests has one of them.
class Grammars {
 public:
  explicit Grammars(const engine::Engine& engine)
      : compiler_(text::GrammarCompiler::make(engine.tokenizer(), engine.model().vocab_size,
                                              engine.model().end_ids)) {}

  std::shared_ptr<const text::Grammar> of(uint64_t request) {
    using Kind = text::GrammarSpec::Kind;
    const std::vector<text::GrammarSpec> specs{
        {Kind::kJsonSchema, R"({"type": "object", "required": ["name", "list"],
            "properties": {"name": {"type": "string", "maxLength": 9},
                           "list": {"type": "array", "items": {"enum": ["red", "green", 7]}}}})"},
        {Kind::kJsonObject, ""},
        {Kind::kRegex, "(ab{1,3}c|[0-9]+;){2,30}"},
        {Kind::kChoice, R"(["yes", "yesterday", "no"])"},
        {Kind::kLark, "root ::= \"(\" root* \")\" | [a-f]+ \".\""},
        // What is thought first is free, and ends at the first e.
        {Kind::kLark, "root ::= [0-9]{1,20}",
         "start: thought @answer\nthought[suffix=\"e\"]: /(?s:.*)/\n"}};
    if (draw(request, 30, 3) != 0) return nullptr;
    const uint64_t which = draw(request, 31, specs.size());
    std::shared_ptr<const text::Grammar>& grammar = compiled_[which];
    if (grammar == nullptr) grammar = compiler_->compile(specs[which]);
    return grammar;
  }

 private:
  std::unique_ptr<text::GrammarCompiler> compiler_;
  std::map<uint64_t, std::shared_ptr<const text::Grammar>> compiled_;
};

Request request_of(uint64_t i, int64_t vocab_size, Grammars& grammars) {
  Request request;
  request.grammar = grammars.of(i);
  // A third begins with one of two shared prefixes.
  const uint64_t family = draw(i, 0, 6);
  if (family < 2) {
    for (uint64_t t = 0; t < 70; ++t)
      request.prompt_ids.push_back(
          static_cast<int32_t>(draw(1000 + family, t, static_cast<uint64_t>(vocab_size))));
  }
  const uint64_t length = 1 + draw(i, 1, 90);
  for (uint64_t t = 0; t < length; ++t)
    request.prompt_ids.push_back(
        static_cast<int32_t>(draw(i, 100 + t, static_cast<uint64_t>(vocab_size))));
  engine::SamplingParams& p = request.sampling;
  p.max_tokens = 1 + static_cast<int64_t>(draw(i, 2, draw(i, 26, 3) == 0 ? 130 : 40));
  p.seed = draw(i, 3, 1u << 30);
  const float temperatures[] = {0.0f, 0.7f, 1.0f, 1.5f};
  p.temperature = temperatures[draw(i, 4, 4)];
  if (draw(i, 5, 3) == 0) p.top_k = 1 + static_cast<int32_t>(draw(i, 6, 60));
  if (draw(i, 7, 3) == 0) p.top_p = 0.5f + 0.05f * static_cast<float>(draw(i, 8, 10));
  if (draw(i, 9, 5) == 0) p.min_p = 0.05f;
  if (draw(i, 10, 4) == 0) p.repetition_penalty = 1.3f;
  if (draw(i, 11, 4) == 0) p.presence_penalty = 0.5f;
  if (draw(i, 12, 4) == 0) p.frequency_penalty = 0.2f;
  p.n = p.temperature > 0 && draw(i, 13, 3) == 0 ? 2 + static_cast<int64_t>(draw(i, 14, 3)) : 1;
  if (p.n > 1 && draw(i, 15, 3) == 0) p.best_of = p.n + 1;
  p.ignore_eos = draw(i, 16, 2) == 0;
  if (draw(i, 17, 4) == 0) p.logprobs = static_cast<int32_t>(draw(i, 18, 5));
  if (draw(i, 19, 8) == 0) p.prompt_logprobs = 1;
  if (draw(i, 20, 3) == 0)
    p.stop_token_ids = {static_cast<int32_t>(draw(i, 21, static_cast<uint64_t>(vocab_size)))};
  if (draw(i, 22, 3) == 0) p.stop = {std::string(1, static_cast<char>('a' + draw(i, 23, 26)))};
  // A grammar may be complete before that.
  if (draw(i, 24, 5) == 0 && !request.grammar) p.min_tokens = std::min<int64_t>(p.max_tokens, 5);
  if (draw(i, 32, 6) == 0) p.typical_p = 0.8f;
  for (uint64_t b = draw(i, 33, 3) == 0 ? 1 + draw(i, 34, 4) : 0; b > 0; --b)
    p.logit_bias.push_back(
        {static_cast<int32_t>(draw(i, 400 + b, static_cast<uint64_t>(vocab_size))),
         static_cast<float>(draw(i, 500 + b, 21)) - 10.0f});
  // A grammar may need just these.
  if (draw(i, 35, 5) == 0 && !request.grammar) {
    p.bad_words.push_back({static_cast<int32_t>(draw(i, 36, static_cast<uint64_t>(vocab_size)))});
    p.bad_words.push_back({p.bad_words[0][0], 7});
    for (int32_t id = 40; id < 90; ++id) p.bad_words.push_back({id, id + 1});
  }
  if (draw(i, 37, 6) == 0 && !request.grammar) {
    p.allowed_token_ids.emplace();
    for (int32_t id = 3; id < vocab_size; id += 2) p.allowed_token_ids->push_back(id);
  }
  p.include_stop_str_in_output = draw(i, 38, 2) == 0;
  request.cache_salt = draw(i, 39, 5) == 0 ? 1 : 0;
  request.priority = static_cast<int32_t>(draw(i, 25, 3));
  request.hash_logits = true;
  return request;
}

struct Bits {
  std::vector<std::vector<int32_t>> token_ids;
  std::vector<std::string> text;
  std::vector<uint64_t> hashes;
  std::vector<uint32_t> logprobs;
  std::vector<int> finish;
  friend bool operator==(const Bits&, const Bits&) = default;
};

Bits bits_of(const RequestState& state) {
  Bits bits;
  EXPECT_FALSE(state.error.has_value());
  for (const engine::Choice& choice : state.choices) {
    bits.token_ids.push_back(choice.token_ids);
    bits.text.push_back(choice.text + "|" + choice.stop_reason);
    bits.hashes.push_back(choice.logits_hash);
    bits.finish.push_back(static_cast<int>(choice.finish.value()));
    append_bits(choice.logprobs, bits.logprobs);
  }
  bits.hashes.push_back(state.prompt_hash);
  append_bits(state.prompt_logprobs, bits.logprobs);
  return bits;
}

std::string model_path(const std::string& name) {
  const char* folder = std::getenv("WEFT_TINY_MODELS");
  return folder == nullptr ? std::string() : std::string(folder) + "/" + name;
}

// Answers of requests [0, count), all submitted at once.
template <typename Loaded>
std::vector<Bits> answers(Loaded&& engine, uint64_t count, engine::EngineStats& stats) {
  Grammars grammars(*engine);
  std::map<uint64_t, size_t> index;
  std::vector<Bits> all(count);
  for (uint64_t i = 0; i < count; ++i)
    index[engine->submit(request_of(i, engine->model().vocab_size, grammars))] = i;
  while (engine->step([&](const engine::RequestEvent& event) {
    if (event.request.ended) all[index.at(event.request.id)] = bits_of(event.request);
  })) {
  }
  stats = engine->stats();
  EXPECT_EQ(stats.num_waiting + stats.num_running, 0);
  EXPECT_EQ(stats.num_free_blocks + stats.num_idle_blocks, stats.num_blocks);
  EXPECT_EQ(stats.num_free_window_blocks + stats.num_idle_window_blocks, stats.num_window_blocks);
  return all;
}

// What `alone` goes through, one request after another.
template <typename Loaded>
void answer_singly(Loaded&& engine, uint64_t count, std::vector<Bits>& all) {
  Grammars grammars(*engine);
  for (uint64_t i = all.size(); i < count; ++i) {
    engine->submit(request_of(i, engine->model().vocab_size, grammars));
    while (engine->step([&](const engine::RequestEvent& event) {
      if (event.request.ended) all.push_back(bits_of(event.request));
    })) {
    }
  }
}

// Each alone on one rank, nothing shared and nothing cached. Where sums are rounded between
// processes, alone on the same ranks of them.
const std::vector<Bits>& alone(const Case& c, uint64_t count) {
  static std::map<std::string, std::vector<Bits>> known;
  engine::EngineOptions options = parse_case("", c.options.model_path).options;
  options.placement = engine::Placement::kAuto;
  options.max_num_seqs = 1;
  options.prefix_caching = options.window_groups = false;
  options.kv_type = c.options.kv_type;
  if (c.options.reduce == comm::SumWire::kInt64) {
    std::vector<Bits>& all = known[options.model_path + std::string(name(options.kv_type))];
    if (all.size() < count) answer_singly(engine::Engine::load(options), count, all);
    return all;
  }
  options.reduce = c.options.reduce;
  options.topology = c.options.topology;
  std::vector<Bits>& all = known["rounded"];
  all.clear();
  answer_singly(engine::SpanningEngine(options, c.num_processes), count, all);
  return all;
}

struct Mix {
  const char* model;
  const char* words;
  uint64_t count;
  friend void PrintTo(const Mix& mix, std::ostream* out) { *out << mix.model << ' ' << mix.words; }
};

// Of the mechanisms that the words name; empty where all were.
std::string what_was_not_used(const std::string& words, const engine::EngineStats& stats) {
  const auto has = [&](const char* word) { return words.find(word) != std::string::npos; };
  const int64_t guessed = stats.speculation.guessed_tokens;
  const int64_t accepted = stats.speculation.accepted_tokens;
  if (has(" cache") && stats.num_preemptions == 0) return "pre-emption";
  if (has("guess") && (!has("draft") || has("always")) && (accepted == 0 || guessed <= accepted))
    return fmt::format("guesses: {} made, {} taken", guessed, accepted);
  if (!has("noprefix") && stats.cached_prompt_tokens == 0) return "shared prefixes";
  return "";
}

class Requests : public testing::TestWithParam<Mix> {};

TEST_P(Requests, NeighboursDoNotShow) {
  const std::string path = model_path(GetParam().model);
  if (path.empty()) GTEST_SKIP() << "WEFT_TINY_MODELS is not set";
  if (!std::filesystem::exists(path)) FAIL() << path << " is missing";
  const Case c = parse_case(GetParam().words, path);
  const auto& [options, num_processes, job_options, work] = c;
  const std::vector<Bits>& expected = alone(c, GetParam().count);
  // The words that name a mechanism are there to use it. How many requests run together, and
  // whether guesses pay, depends on how long steps take: a machine that does other things may need
  // another try. The bits are those of one alone every time.
  engine::EngineStats stats;
  std::string unused = "not tried";
  for (int turn = 0; turn < 3 && !unused.empty(); ++turn) {
    const std::vector<Bits> found =
        num_processes == 1 ? answers(engine::Engine::load(options), GetParam().count, stats)
                           : answers(engine::SpanningEngine(options, num_processes, job_options),
                                     GetParam().count, stats);
    for (size_t i = 0; i < found.size(); ++i) EXPECT_EQ(found[i], expected[i]) << "request " << i;
    unused = what_was_not_used(GetParam().words, stats);
  }
  EXPECT_EQ(unused, "");
}

std::string name_of(const testing::TestParamInfo<Mix>& mix) {
  std::string name = std::string(mix.param.model) + "_" + mix.param.words;
  for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return name;
}

INSTANTIATE_TEST_SUITE_P(
    Parity, Requests,
    testing::Values(
        Mix{"llama.Q4_K.gguf", "threads2", 40},
        Mix{"llama.Q4_K.gguf", "tp3 dedicated chunk64 seqs16 traced", 40},
        Mix{"llama.Q4_K.gguf", "pp2 dedicated cache400 shortest", 40},
        Mix{"llama.Q4_K.gguf", "tp2 pp2 dedicated micro4 prefix kvf32", 40},
        Mix{"llama.Q4_K.gguf", "tp5 pooled cache400 chunk48 guess4", 40},
        Mix{"llama.Q4_K.gguf", "pp3 dedicated guess8 seqs12 traced sleepy", 40},
        // A stage that is as wide as both beside it: chunks whose tokens are shared out, then few.
        Mix{"llama.Q4_K.gguf", "tp2 pp3 dedicated chunk48", 40},
        Mix{"llama.Q4_K.gguf", "tp2 noprefix unchunked", 40},
        // Layers with windows of 16: in all stages but one; beside full attention, from
        // few blocks; in all layers.
        Mix{"gemma3.Q8_0.gguf", "stages=5@1,1@2,1@1 dedicated wcache12 chunk40", 40},
        Mix{"gemma3.Q8_0.gguf", "tp3 pooled cache400 guess4 prefix", 40},
        Mix{"gemma2.Q8_0.gguf", "tp2 pp2 dedicated wcache9 guess4 seqs16", 40},
        Mix{"gemma2.Q8_0.gguf", "tp3 nogroups chunk64", 40},
        Mix{"mistral.F32", "tp2 dedicated cache320 wcache9 kvf32 shortest", 40},
        Mix{"mistral.F32", "pp2 dedicated cache400 chunk100", 40},
        Mix{"gemma3.Q8_0.gguf",
            "stages=5@1,1@2,1@1 dedicated wcache12 guess4 draft=gemma3.Q4_0 always", 40},
        Mix{"gemma2.Q8_0.gguf", "tp2 pp2 dedicated wcache9 guess3 draft=gemma2.Q4_0 always seqs16",
            40},
        Mix{"llama.Q4_K.gguf", "threads2 guess4 draft=llama.Q6_K always", 40},
        Mix{"llama.Q4_K.gguf", "pp2 dedicated cache400 guess5 draft=llama.Q2_K drafttp2 always",
            40},
        Mix{"llama.Q4_K.gguf", "tp3 pp3 pooled chunk48 guess3 draft=llama.Q8_0 always", 40}),
    name_of);

// Over processes: a rank each and several, stages inside a process, between them and across;
// uneven shares, windows, guesses, drafts; sums in memory that they share, and ("apart") by
// messages. Few requests: processes mostly wait for each other.
INSTANTIATE_TEST_SUITE_P(
    Processes, Requests,
    testing::Values(Mix{"llama.Q4_K.gguf", "over2 tp2", 8},
                    Mix{"llama.Q4_K.gguf", "over3 apart tp3 kvf32", 8},
                    Mix{"llama.Q4_K.gguf", "over4 tp4 chunk48", 8},
                    Mix{"llama.Q4_K.gguf", "over2 apart tp5 guess4", 20},
                    Mix{"llama.Q4_K.gguf", "over2 weights=2,1,1 kvq8", 8},
                    Mix{"llama.Q4_K.gguf", "over3 apart tp7", 8},
                    Mix{"llama.Q4_K.gguf", "over2 pp2 cache400 guess4", 20},
                    Mix{"llama.Q4_K.gguf", "over3 pp3 seqs12 shortest", 8},
                    Mix{"llama.Q4_K.gguf", "over4 pp2 tp2 noprefix", 8},
                    Mix{"llama.Q4_K.gguf", "over2 apart tp2 pp2 chunk48", 8},
                    Mix{"llama.Q4_K.gguf", "over3 tp2 pp3 micro4", 8},
                    Mix{"gemma3.Q8_0.gguf", "over3 apart stages=5@1,1@3,1@1 wcache12 chunk40", 8},
                    Mix{"gemma3.Q8_0.gguf", "over4 apart tp4 cache400 prefix", 20},
                    Mix{"gemma2.Q8_0.gguf", "over2 tp3 pp2 guess4 seqs16", 20},
                    Mix{"gemma2.Q8_0.gguf", "over2 tp2 wcache9 guess3 draft=gemma2.Q4_0 always",
                        20},
                    Mix{"mistral.F32", "over2 pp2 cache400 chunk100", 20},
                    Mix{"mistral.F32", "over3 apart tp3 unchunked wcache9", 8}),
    name_of);

// Sums that are rounded between processes: which ranks these run shows, nothing else does.
INSTANTIATE_TEST_SUITE_P(
    Rounded, Requests,
    testing::Values(Mix{"llama.Q4_K.gguf", "over2 apart tp5 guess4 reduce=q8", 20},
                    Mix{"llama.Q4_K.gguf", "over4 tp3 pp2 chunk48 reduce=bf16", 8},
                    Mix{"gemma2.Q8_0.gguf", "over3 apart tp3 cache400 reduce=f32", 20}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Full, Requests,
    testing::Values(Mix{"llama.Q4_K.gguf", "threads2 guess5", 500},
                    Mix{"llama.Q4_K.gguf", "tp3 dedicated chunk64 seqs16", 500},
                    Mix{"llama.Q4_K.gguf", "tp7 pooled cache400", 500},
                    Mix{"llama.Q4_K.gguf", "pp2 dedicated cache400 shortest guess3", 500},
                    Mix{"llama.Q4_K.gguf", "pp4 dedicated micro3", 500},
                    Mix{"llama.Q4_K.gguf", "stages=1@2,3@1 dedicated chunk100 prefix", 500},
                    Mix{"llama.Q4_K.gguf", "weights=3,2,1,1 pooled noprefix guess8", 500},
                    Mix{"llama.Q4_K.gguf", "tp2 pp2 threads2 dedicated seqs100", 500},
                    Mix{"llama.Q4_K.gguf",
                        "stages=1@2,3@1 dedicated cache400 guess4 draft=llama.Q5_K always", 500},
                    Mix{"llama.Q4_K.gguf", "tp2 pp2 dedicated guess6 draft=vocab1003.Q4_1 always",
                        500},
                    Mix{"llama.Q4_K.gguf", "tp5 pooled chunk64 guess2 draft=llama.Q8_0", 500},
                    Mix{"gemma3.Q8_0.gguf",
                        "pp3 dedicated guess5 draft=gemma3.Q4_0 drafttp3 prefix always", 500},
                    Mix{"gemma3.Q8_0.gguf", "tp2 dedicated cache400 guess4", 500},
                    Mix{"gemma3.Q8_0.gguf", "stages=5@2,2@1 dedicated wcache10 guess3", 500},
                    Mix{"gemma2.Q8_0.gguf", "tp3 pp4 pooled cache480 wcache20 block32", 500},
                    Mix{"mistral.F32", "tp4 dedicated cache400 wcache8 prefix guess2", 500},
                    Mix{"gemma3.Q8_0.gguf", "tp3 pp3 pooled chunk37 shortest", 500},
                    Mix{"qwen2.BF16.gguf", "pp2 dedicated kvf32 cache480 prefix", 500},
                    Mix{"qwen2.BF16.gguf", "tp5 pooled isa=avx2 unchunked", 500},
                    Mix{"qwen3.Q6_K.gguf", "stages=3@3,1@4 pooled block32 guess6", 500}),
    name_of);

}  // namespace
}  // namespace weft::parity
