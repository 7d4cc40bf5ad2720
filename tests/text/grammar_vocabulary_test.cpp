// Masks of a real vocabulary: those of a grammar that many answers have taught are those of one
// that none has.
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "text/gguf_vocab_file.h"
#include "text/grammar.h"

namespace weft::text {
namespace {

using Kind = GrammarSpec::Kind;
using Mask = std::vector<uint32_t>;

class GrammarVocabulary : public testing::Test {
 protected:
  void SetUp() override {
    const auto path = find_test_model(kSmolLm2);
    if (!path) GTEST_SKIP() << "WEFT_TEST_MODELS names no folder with " << kSmolLm2;
    const auto tokenizer = Tokenizer::from_gguf(read_gguf_vocab(*path).vocab);
    num_ids_ = tokenizer->vocab_size();
    compiler_ = GrammarCompiler::make(*tokenizer, num_ids_, std::vector<int32_t>{2});
  }

  Mask mask_of(GrammarMatcher& matcher) const {
    Mask mask(static_cast<size_t>((num_ids_ + 31) / 32));
    matcher.fill(mask);
    return mask;
  }

  int64_t num_ids_ = 0;
  std::unique_ptr<GrammarCompiler> compiler_;
};

// Of the first ids more often than of others.
int32_t random_id(const Mask& mask, std::mt19937& random) {
  std::vector<int32_t> ids;
  for (size_t i = 0; i < 32 * mask.size(); ++i) {
    if ((mask[i / 32] >> (i % 32) & 1) != 0) ids.push_back(static_cast<int32_t>(i));
  }
  std::uniform_real_distribution<double> uniform;
  const double at = uniform(random) * uniform(random);
  return ids.at(static_cast<size_t>(at * static_cast<double>(ids.size())));
}

TEST_F(GrammarVocabulary, WhatAnswersTeachShowsInNoMask) {
  const GrammarSpec specs[] = {
      {Kind::kJsonSchema, R"({"type": "array", "minItems": 20, "items": {
          "type": "object", "required": ["name", "age"], "additionalProperties": false,
          "properties": {"name": {"type": "string", "maxLength": 14},
                         "age": {"type": "integer", "minimum": 0, "maximum": 120},
                         "tags": {"type": "array", "items": {"enum": ["red", "green", 7]}},
                         "text": {"type": "string"}}}})"},
      {Kind::kRegex, "([A-Z][a-z]{1,6}( [a-z]{1,7}){2,4}[.?!] ){30}"},
      {Kind::kLark, "root ::= (\"(\" root* \")\" | [a-f]+ \".\" | word \"!\")+\nword ::= [a-z]+"}};
  int num_taught = 0;
  for (const GrammarSpec& spec : specs) {
    const auto taught = compiler_->compile(spec);
    for (unsigned way = 0; way < 5; ++way) {
      const auto fresh = compiler_->compile(spec);
      const auto one = taught->matcher(), other = fresh->matcher();
      std::mt19937 random(way / 2);  // every second time the same way
      for (int i = 0; i < 40 && !one->must_end(); ++i) {
        const Mask mask = mask_of(*one);
        ASSERT_EQ(mask, mask_of(*other)) << spec.source << " way " << way << " token " << i;
        const int32_t id = random_id(mask, random);
        ASSERT_TRUE(one->advance(id));
        ASSERT_TRUE(other->advance(id));
        if (i % 9 != 8) continue;
        one->take_back(4);
        other->take_back(4);
      }
    }
    if (taught->learned_bytes() > 0) ++num_taught;
  }
  EXPECT_GE(num_taught, 2);  // the last grammar has few states to learn
}

}  // namespace
}  // namespace weft::text
