// Every parameter of sampling gives the same ids and logprobs under any split of the vocabulary:
// by candidates and by search, with adjusted logits and masks, for one and for several answers.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "parity/cases.h"

namespace weft::parity {
namespace {

using engine::Request;
using engine::SamplingParams;

struct Kind {
  const char* name;
  SamplingParams params;
};

// The vocabulary of the small models has 1,024 ids or fewer, and random weights leave their
// distributions flat: top_p and typical_p end behind the candidates, top_k of 40 among them.
std::vector<Kind> kinds(int32_t vocab_size) {
  std::vector<int32_t> third;
  for (int32_t id = 0; id < vocab_size; id += 3) third.push_back(id);
  const std::vector<engine::LogitBias> bias = {{5, 100}, {9, -100}, {vocab_size - 1, 99}};
  return {
      {"plain", {}},
      {"cold", {.temperature = 0.05f}},
      {"top_k", {.top_k = 40}},
      {"top_k past the candidates", {.top_k = 150}},
      {"top_p", {.top_p = 0.8f}},
      {"narrow top_p", {.temperature = 0.2f, .top_p = 0.3f}},
      {"min_p", {.min_p = 0.4f}},
      {"typical_p", {.typical_p = 0.5f}},
      {"typical candidates", {.top_k = 30, .typical_p = 0.5f}},
      {"all filters",
       {.temperature = 0.9f, .top_k = 200, .top_p = 0.9f, .min_p = 0.02f, .typical_p = 0.9f}},
      {"penalties",
       {.repetition_penalty = 1.4f, .presence_penalty = 0.7f, .frequency_penalty = 0.3f}},
      {"greedy penalties",
       {.temperature = 0, .repetition_penalty = 1.4f, .frequency_penalty = 0.3f}},
      {"bias", {.logit_bias = bias}},
      {"greedy bias", {.temperature = 0, .logit_bias = bias}},
      {"allowed", {.top_p = 0.9f, .allowed_token_ids = third}},
      {"one allowed", {.allowed_token_ids = {{7}}}},
      {"bad words",
       {.temperature = 0, .logit_bias = bias, .bad_words = {{5, 5}, {vocab_size - 1}}}},
      {"whole vocabulary", {.min_tokens = 3, .top_k = 300, .logprobs = engine::kWholeVocabulary}},
      {"answers", {.n = 3, .best_of = 4, .top_p = 0.9f}},
  };
}

// Ids and bits of the logprobs of all its answers.
struct Sampled {
  std::vector<std::vector<int32_t>> token_ids;
  std::vector<uint32_t> logprobs;
  friend bool operator==(const Sampled&, const Sampled&) = default;
};

Sampled sampled_of(const engine::RequestState& state) {
  Sampled sampled;
  EXPECT_FALSE(state.error.has_value()) << state.error->what();
  for (const engine::Choice& choice : state.choices) {
    sampled.token_ids.push_back(choice.token_ids);
    append_bits(choice.logprobs, sampled.logprobs);
  }
  return sampled;
}

std::map<std::string, Sampled> all_kinds(engine::EngineOptions options) {
  options.max_num_seqs = 8;
  const auto engine = engine::Engine::load(options);
  std::map<uint64_t, std::string> names;
  std::map<std::string, Sampled> found;
  for (const Kind& kind : kinds(static_cast<int32_t>(engine->model().vocab_size))) {
    Request request;
    request.prompt_ids = prompt_ids(40, engine->model().vocab_size);
    request.sampling = kind.params;
    request.sampling.max_tokens = 16;
    request.sampling.seed = 12;
    request.sampling.ignore_eos = true;
    if (!request.sampling.logprobs) request.sampling.logprobs = 2;
    names[engine->submit(request)] = kind.name;
  }
  while (engine->step([&](const engine::RequestEvent& event) {
    if (event.request.ended) found[names.at(event.request.id)] = sampled_of(event.request);
  })) {
  }
  return found;
}

struct Split {
  const char* model;
  const char* words;
  friend void PrintTo(const Split& split, std::ostream* out) {
    *out << split.model << ' ' << split.words;
  }
};

class Sampling : public testing::TestWithParam<Split> {};

TEST_P(Sampling, TheVocabularysCutDoesNotShow) {
  const char* folder = std::getenv("WEFT_TINY_MODELS");
  if (folder == nullptr) GTEST_SKIP() << "WEFT_TINY_MODELS is not set";
  const std::string path = std::string(folder) + "/" + GetParam().model;
  ASSERT_TRUE(std::filesystem::exists(path)) << path;
  const Case c = parse_case(GetParam().words, path);
  if (c.options.isa && kernels::table_for(*c.options.isa) == nullptr)
    GTEST_SKIP() << "this processor cannot run " << GetParam().words;
  static std::map<std::string, std::map<std::string, Sampled>> references;
  std::map<std::string, Sampled>& expected = references[path];
  if (expected.empty()) expected = all_kinds(parse_case("tp1", path).options);
  const std::map<std::string, Sampled> found = all_kinds(c.options);
  ASSERT_EQ(found.size(), expected.size());
  std::set<std::vector<std::vector<int32_t>>> answers;
  for (const auto& [name, sampled] : found) {
    EXPECT_EQ(sampled.token_ids, expected.at(name).token_ids) << name;
    EXPECT_EQ(sampled.logprobs, expected.at(name).logprobs) << name;
    answers.insert(sampled.token_ids);
  }
  // What a parameter leaves as it was, it was not given to.
  EXPECT_GE(answers.size() + 3, found.size());
  const auto& three = found.at("answers").token_ids;
  ASSERT_EQ(three.size(), 3u);
  EXPECT_EQ(std::set(three.begin(), three.end()).size(), 3u);
  EXPECT_EQ(found.at("one allowed").token_ids[0], std::vector<int32_t>(16, 7));
}

INSTANTIATE_TEST_SUITE_P(Parity, Sampling,
                         testing::Values(Split{"llama.Q8_0.gguf", "tp1 threads2 chunk7"},
                                         Split{"llama.Q8_0.gguf", "tp3 dedicated"},
                                         Split{"llama.Q8_0.gguf", "tp7 pooled isa=portable"},
                                         Split{"llama.Q8_0.gguf", "tp2 pp2 isa=avx2"},
                                         Split{"llama.Q8_0.gguf", "weights=3,1,2 dedicated"},
                                         Split{"gemma2.Q4_0.gguf", "tp5 dedicated chunk16"},
                                         Split{"gemma2.Q4_0.gguf", "tp2 pooled"},
                                         Split{"gemma2.Q4_0.gguf", "stages=2@1,2@3 threads2"}),
                         [](const auto& split) {
                           std::string name =
                               std::string(split.param.model) + "_" + split.param.words;
                           for (char& c : name)
                             c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
                           return name;
                         });

}  // namespace
}  // namespace weft::parity
