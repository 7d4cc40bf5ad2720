// Answers under a grammar. That their bits are those of each alone is the parity suite's to say.
#include <gmock/gmock.h>

#include <algorithm>
#include <map>

#include "base/error.h"
#include "engine/tiny_engine.h"
#include "text/matcher_memory.h"

namespace weft::engine {
namespace {

using Kind = text::GrammarSpec::Kind;
using testing::AnyOf;
using testing::HasSubstr;

std::shared_ptr<const text::Grammar> compile(const Engine& engine, Kind kind,
                                             const std::string& source) {
  const auto compiler = text::GrammarCompiler::make(engine.tokenizer(), engine.model().vocab_size,
                                                    engine.model().end_ids);
  return compiler->compile({kind, source});
}

Request under(std::shared_ptr<const text::Grammar> grammar, int64_t max_tokens, uint64_t seed) {
  Request request;
  request.prompt_ids = some_ids(20);
  request.grammar = std::move(grammar);
  request.sampling.max_tokens = max_tokens;
  request.sampling.seed = seed;
  return request;
}

bool ends_with_an_end(const Engine& engine, const std::vector<int32_t>& ids) {
  const std::vector<int32_t>& ends = engine.model().end_ids;
  return !ids.empty() && std::find(ends.begin(), ends.end(), ids.back()) != ends.end();
}

class GrammarTest : public testing::Test {
 protected:
  void SetUp() override {
    SKIP_WITHOUT_TINY_MODELS();
    engine_ = Engine::load(tiny_options(tiny_path("llama.F32")));
  }
  std::unique_ptr<Engine> engine_;
};

TEST_F(GrammarTest, AnswersEndWhereItHasTo) {
  const auto grammar = compile(*engine_, Kind::kChoice, R"(["yes", "no, never"])");
  for (uint64_t seed = 0; seed < 8; ++seed) {
    Request request = under(grammar, 100, seed);
    request.sampling.ignore_eos = seed % 2 == 1;
    const GenerationResult result = engine_->generate(request);
    EXPECT_THAT(result.text, AnyOf("yes", "no, never"));
    EXPECT_EQ(result.finish_reason, FinishReason::kStop);
    EXPECT_TRUE(ends_with_an_end(*engine_, result.token_ids));
  }
}

TEST_F(GrammarTest, IgnoringTheEndGoesOnAsLongAsItCan) {
  const auto grammar = compile(*engine_, Kind::kRegex, "[a-z]{1,12}");
  Request request = under(grammar, 100, 1);
  request.sampling.ignore_eos = true;
  EXPECT_EQ(engine_->generate(request).text.size(), 12u);
}

TEST_F(GrammarTest, EveryChoiceGoesItsOwnWay) {
  Request request = under(compile(*engine_, Kind::kRegex, "[a-h]{6}"), 100, 3);
  request.sampling.n = 4;
  request.sampling.temperature = 2.0f;
  std::vector<std::string> texts;
  engine_->submit(request);
  while (engine_->step([&](const RequestEvent& event) {
    if (!event.request.ended) return;
    EXPECT_FALSE(event.request.error.has_value());
    for (const Choice& choice : event.request.choices) {
      EXPECT_EQ(choice.finish, FinishReason::kStop);
      texts.push_back(choice.text);
    }
  })) {
  }
  ASSERT_EQ(texts.size(), 4u);
  for (const std::string& text : texts)
    EXPECT_TRUE(text.size() == 6 && text.find_first_not_of("abcdefgh") == std::string::npos)
        << text;
  EXPECT_NE(texts[0], texts[1]);
}

TEST_F(GrammarTest, StopTokensMayComeWhereItMayEnd) {
  const int32_t stop = engine_->tokenizer().encode("!", false, false).front();
  Request request = under(compile(*engine_, Kind::kRegex, "ab*"), 100, 5);
  request.sampling.stop_token_ids = {stop};
  request.sampling.logit_bias = {{stop, 100.0f}};
  const GenerationResult result = engine_->generate(request);
  EXPECT_EQ(result.text, "a");
  EXPECT_EQ(result.stop_reason, std::to_string(stop));
}

// Says how much it takes, and how many matchers were asked of it.
class WeighedGrammar final : public text::Grammar {
 public:
  WeighedGrammar(std::shared_ptr<const text::Grammar> grammar, int64_t bytes)
      : grammar_(std::move(grammar)), bytes_(bytes) {}
  std::unique_ptr<text::GrammarMatcher> matcher() const override {
    ++num_matchers;
    return grammar_->matcher();
  }
  int64_t bytes() const override { return bytes_; }

  mutable int num_matchers = 0;

 private:
  std::shared_ptr<const text::Grammar> grammar_;
  int64_t bytes_;
};

TEST_F(GrammarTest, MatchersOfManyChoicesAreBounded) {
  const auto grammar = std::make_shared<WeighedGrammar>(compile(*engine_, Kind::kRegex, "[a-h]{6}"),
                                                        text::kMatcherBytes / 16);
  Request request = under(grammar, 100, 3);
  request.sampling.n = 17;
  try {
    engine_->submit(request);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    EXPECT_THAT(error.summary(), HasSubstr("n is 17"));
  }
  request.sampling.n = 16;
  const uint64_t id = engine_->submit(request);
  EXPECT_EQ(grammar->num_matchers, 0);  // none for a request that waits
  engine_->cancel(id);
  while (engine_->step([](const RequestEvent&) {})) {
  }
  EXPECT_EQ(grammar->num_matchers, 0);
  EXPECT_EQ(engine_->generate(under(grammar, 100, 3)).text.size(), 6u);
  EXPECT_EQ(grammar->num_matchers, 1);
}

// What forbids everything ends its request alone.
TEST_F(GrammarTest, WhereNothingIsAllowedItSaysSo) {
  const auto grammar = compile(*engine_, Kind::kChoice, R"(["yes", "no"])");
  Request too_short = under(grammar, 100, 1);
  too_short.sampling.min_tokens = 50;
  Request impossible = under(grammar, 100, 1);
  impossible.sampling.allowed_token_ids = engine_->tokenizer().encode("x", false, false);
  std::map<uint64_t, std::optional<Error>> errors;
  const uint64_t first = engine_->submit(too_short), second = engine_->submit(impossible),
                 third = engine_->submit(under(grammar, 100, 1));
  while (engine_->step([&](const RequestEvent& event) {
    if (event.request.ended) errors[event.request.id] = event.request.error;
  })) {
  }
  for (const uint64_t id : {first, second}) {
    ASSERT_TRUE(errors[id].has_value());
    EXPECT_EQ(errors[id]->kind(), ErrorKind::kUsage);
    EXPECT_THAT(errors[id]->summary(), HasSubstr("no token is allowed"));
  }
  EXPECT_FALSE(errors[third].has_value());
}

// Its mask costs more than one may.
TEST_F(GrammarTest, ARunawayGrammarEndsItsRequestAlone) {
  EngineOptions options = tiny_options(tiny_path("llama.F32"));
  options.max_model_len = 0;
  const auto engine = Engine::load(options);
  text::GrammarLimits limits;
  limits.grammar_bytes = 2 << 20;
  const auto compiler = text::GrammarCompiler::make(engine->tokenizer(), engine->model().vocab_size,
                                                    engine->model().end_ids);
  const auto runaway =
      compiler->compile({Kind::kRegex, "([a-z]|[0-9])*[a-m]([a-z]|[0-9]){24}!"}, limits);
  const auto harmless = compiler->compile({Kind::kRegex, "[a-z]{20}"});
  std::map<uint64_t, RequestState> states;
  Request request = under(runaway, 800, 7);
  request.sampling.temperature = 2.0f;
  const uint64_t bad = engine->submit(request);
  const uint64_t good = engine->submit(under(harmless, 800, 8));
  while (engine->step([&](const RequestEvent& event) {
    if (event.request.ended) states[event.request.id] = event.request;
  })) {
  }
  EXPECT_FALSE(states[good].error.has_value());
  EXPECT_EQ(states[good].choices.front().text.size(), 20u);
  ASSERT_TRUE(states[bad].error.has_value());
  EXPECT_THAT(states[bad].error->summary(), HasSubstr("grammar cannot go on"));
}

TEST_F(GrammarTest, GuessesThatItForbidsAreNotMade) {
  const auto grammar = compile(*engine_, Kind::kRegex, "(abc, ){40}");
  const GenerationResult plain = engine_->generate(under(grammar, 300, 2));
  EngineOptions options = tiny_options(tiny_path("llama.F32"));
  options.max_model_len = 400;
  options.num_speculative_tokens = 5;
  const auto guessing = Engine::load(options);
  const GenerationResult guessed =
      guessing->generate(under(compile(*guessing, Kind::kRegex, "(abc, ){40}"), 300, 2));
  EXPECT_GT(guessed.speculation.accepted_tokens, 0);
  const size_t same = std::min(plain.token_ids.size(), guessed.token_ids.size());
  EXPECT_GT(same, 40u);
  EXPECT_TRUE(std::equal(plain.token_ids.begin(), plain.token_ids.begin() + same,
                         guessed.token_ids.begin()));
}

}  // namespace
}  // namespace weft::engine
