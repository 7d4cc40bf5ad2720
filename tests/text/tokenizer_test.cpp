// Contracts and refusals of the tokenizers, on vocabularies small enough to read.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <time.h>

#include <algorithm>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "text/golden_files.h"
#include "text/text.h"

namespace weft::text {
namespace {

using Ids = std::vector<int32_t>;
using testing::HasSubstr;

// SentencePiece: "▁ab" and "ab" can be built, "c" cannot be spelt but in bytes.
GgufVocab spm() {
  GgufVocab vocab;
  vocab.model = "llama";
  vocab.tokens = {"<unk>", "<s>", "</s>", "▁", "a", "b", "ab", "▁ab", "<0x63>", "<tool>"};
  vocab.scores = {0, 0, 0, -9, -8, -7, -1, -2, 0, 0};
  vocab.token_types = {2, 3, 3, 1, 1, 1, 1, 1, 6, 4};
  return vocab;
}

GgufVocab byte_level() {
  GgufVocab vocab;
  vocab.model = "gpt2";
  vocab.pre = "smollm";
  vocab.tokens = {"<|end|>", "a", "b", "Ġ", "ab", "Ġab", "1", "<tool>"};
  vocab.token_types = {3, 1, 1, 1, 1, 1, 1, 4};
  vocab.merges = {"a b", "Ġ ab"};
  return vocab;
}

Error error_of(const GgufVocab& vocab) {
  try {
    Tokenizer::from_gguf(vocab);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kModel);
    return error;
  }
  ADD_FAILURE() << "no error";
  return Error(ErrorKind::kInternal, "");
}

TEST(Tokenizer, SentencePieceMergesTheHighestScoreFirst) {
  const auto tokenizer = Tokenizer::from_gguf(spm());
  EXPECT_EQ(tokenizer->encode("ab", false, false), (Ids{7}));
  EXPECT_EQ(tokenizer->encode("ab ab", false, false), (Ids{7, 7}));
  EXPECT_EQ(tokenizer->encode("ba", false, false), (Ids{3, 5, 4}));
}

TEST(Tokenizer, SentencePieceSpellsTheRestInBytesOrUnknown) {
  const auto tokenizer = Tokenizer::from_gguf(spm());
  EXPECT_EQ(tokenizer->encode("c", false, false), (Ids{3, 8}));
  EXPECT_EQ(tokenizer->encode("é", false, false), (Ids{3, 0, 0}));
}

TEST(Tokenizer, SentencePieceAddsASpaceAtTheStartAndAfterSpecialTokens) {
  GgufVocab vocab = spm();
  EXPECT_EQ(Tokenizer::from_gguf(vocab)->encode("ab</s>ab", false, true), (Ids{7, 2, 7}));
  vocab.add_space_prefix = false;
  const auto tokenizer = Tokenizer::from_gguf(vocab);
  EXPECT_EQ(tokenizer->encode("ab</s>ab", false, true), (Ids{6, 2, 6}));
  EXPECT_FALSE(tokenizer->strips_leading_space());
}

TEST(Tokenizer, SentencePieceAddsBosUnlessTheFileSaysNo) {
  GgufVocab vocab = spm();
  EXPECT_EQ(Tokenizer::from_gguf(vocab)->encode("", true, true), (Ids{1}));
  vocab.add_bos = false;
  vocab.add_eos = true;
  EXPECT_EQ(Tokenizer::from_gguf(vocab)->encode("ab", true, true), (Ids{7, 2}));
  EXPECT_EQ(Tokenizer::from_gguf(vocab)->encode("ab", false, true), (Ids{7}));
}

TEST(Tokenizer, DecodingDropsTheSpaceThatEncodingAdded) {
  const auto tokenizer = Tokenizer::from_gguf(spm());
  EXPECT_TRUE(tokenizer->strips_leading_space());
  EXPECT_EQ(tokenizer->decode(Ids{7, 7}, false), "ab ab");
  EXPECT_EQ(tokenizer->decode(Ids{1, 7, 7, 2}, false), "ab ab");
  EXPECT_EQ(tokenizer->decode(Ids{1, 7}, true), "<s> ab");
  EXPECT_EQ(tokenizer->piece(7, false), " ab");
}

TEST(Tokenizer, PiecesAreRawBytes) {
  const auto tokenizer = Tokenizer::from_gguf(spm());
  EXPECT_EQ(tokenizer->piece(8, false), "c");
  EXPECT_EQ(tokenizer->piece(2, false), "");
  EXPECT_EQ(tokenizer->piece(2, true), "</s>");
  EXPECT_EQ(tokenizer->piece(9, false), "<tool>");
  for (const int32_t id : {-1, 10, INT32_MAX, INT32_MIN}) {
    EXPECT_EQ(tokenizer->piece(id, true), "");
    EXPECT_FALSE(tokenizer->is_special(id));
  }
  EXPECT_TRUE(tokenizer->is_special(0));
  EXPECT_FALSE(tokenizer->is_special(9));
  EXPECT_EQ(tokenizer->find_token("▁ab"), 7);
  EXPECT_EQ(tokenizer->find_token("nothing"), std::nullopt);
}

TEST(Tokenizer, ByteLevelMergesInsideWordsOnly) {
  const auto tokenizer = Tokenizer::from_gguf(byte_level());
  EXPECT_EQ(tokenizer->encode("ab ab", false, false), (Ids{4, 5}));
  EXPECT_EQ(tokenizer->encode("a1b", false, false), (Ids{1, 6, 2}));
}

// "é" is two bytes that this vocabulary lacks: they vanish, and "a" and "b" stay apart.
TEST(Tokenizer, MissingBytesGiveNothingAndBlockMerges) {
  EXPECT_EQ(Tokenizer::from_gguf(byte_level())->encode("aéb", false, false), (Ids{1, 2}));
}

TEST(Tokenizer, ControlTokensAreReadOnlyWhereAskedForAndUserDefinedAlways) {
  const auto tokenizer = Tokenizer::from_gguf(byte_level());
  EXPECT_EQ(tokenizer->encode("a<|end|>b", false, true), (Ids{1, 0, 2}));
  EXPECT_EQ(tokenizer->encode("a<|end|>b", false, false), (Ids{1, 2}));
  EXPECT_EQ(tokenizer->encode("a<tool>b", false, false), (Ids{1, 7, 2}));
}

TEST(Tokenizer, BrokenUtf8IsReplacedFirst) {
  const auto tokenizer = Tokenizer::from_json(read_text_file("byte_level.tokenizer.json"));
  EXPECT_EQ(tokenizer->encode("a\xFFz\xE6\x97", false, true),
            tokenizer->encode("a\uFFFDz\uFFFD", false, true));
}

TEST(Tokenizer, DecodingReplacesHalfCharacters) {
  GgufVocab vocab = spm();
  vocab.tokens[8] = "<0xE6>";
  EXPECT_EQ(Tokenizer::from_gguf(vocab)->decode(Ids{7, 8}, false), "ab\uFFFD");
}

TEST(Tokenizer, UnknownPreTokenizersAreNamedWithTheKnownOnes) {
  GgufVocab vocab = byte_level();
  vocab.pre = "made-up";
  const Error error = error_of(vocab);
  EXPECT_THAT(error.summary(), HasSubstr("\"made-up\""));
  EXPECT_THAT(error.why(), HasSubstr("smollm"));
  EXPECT_THAT(error.why(), HasSubstr("llama-bpe"));
}

TEST(Tokenizer, UnknownModelsAreNamed) {
  GgufVocab vocab = byte_level();
  vocab.model = "t5";
  EXPECT_THAT(error_of(vocab).summary(), HasSubstr("\"t5\""));
}

TEST(Tokenizer, SingleBytesNeedNoMerges) {
  GgufVocab vocab = byte_level();
  vocab.tokens = {"a", "b", "<|end|>"};
  vocab.token_types = {1, 1, 3};
  vocab.merges.clear();
  const auto tokenizer = Tokenizer::from_gguf(vocab);
  EXPECT_EQ(tokenizer->encode("ab", false, false), (std::vector<int32_t>{0, 1}));
}

TEST(Tokenizer, LyingVocabulariesAreRefused) {
  GgufVocab vocab = byte_level();
  vocab.tokens.clear();
  EXPECT_THAT(error_of(vocab).summary(), HasSubstr("no tokens"));
  vocab = byte_level();
  vocab.tokens[6] = "a";
  EXPECT_THAT(error_of(vocab).summary(), HasSubstr("tokens 1 and 6 are both \"a\""));
  vocab = byte_level();
  vocab.token_types.pop_back();
  EXPECT_THAT(error_of(vocab).summary(), HasSubstr("7 entries for 8 tokens"));
  vocab = byte_level();
  vocab.merges.clear();
  EXPECT_THAT(error_of(vocab).summary(), HasSubstr("no merges"));
  for (const std::string merge : {"", " ", "ab", "a x", "a 1", "\xFF \xFF"}) {
    vocab = byte_level();
    vocab.merges[1] = merge;
    EXPECT_THAT(error_of(vocab).summary(), HasSubstr("merge 1")) << merge;
  }
  vocab = spm();
  vocab.scores.pop_back();
  EXPECT_THAT(error_of(vocab).summary(), HasSubstr("9 entries for 10 tokens"));
  vocab = spm();
  vocab.bos_id = 10;
  EXPECT_THAT(error_of(vocab).summary(), HasSubstr("BOS"));
  vocab = byte_level();
  vocab.add_bos = true;
  EXPECT_THAT(error_of(vocab).summary(), HasSubstr("BOS"));
}

TEST(Tokenizer, BrokenTokenizerJsonIsAnError) {
  for (const std::string json : {"", "{", "[]", "{}", R"({"model": {"type": "BPE"}})"}) {
    EXPECT_THROW(Tokenizer::from_json(json), Error) << json;
  }
}

// "a", "aa", "aaaa" and so on, each of which two of the one before merge to.
constexpr int kDoublings = 10;

GgufVocab byte_level_of_doublings() {
  GgufVocab vocab = byte_level();
  for (int i = 0; i < kDoublings; ++i) {
    const std::string half(size_t{1} << i, 'a');
    vocab.tokens.push_back(half + half);
    vocab.token_types.push_back(1);
    vocab.merges.push_back(half + " " + half);
  }
  return vocab;
}

GgufVocab spm_of_doublings() {
  GgufVocab vocab = spm();
  for (int i = 1; i <= kDoublings; ++i) {
    vocab.tokens.push_back(std::string(size_t{1} << i, 'a'));
    vocab.token_types.push_back(1);
    vocab.scores.push_back(static_cast<float>(-10 - i));
  }
  return vocab;
}

std::string json_of_doublings() {
  std::string vocab = R"("a":0)", merges;
  for (int i = 0; i < kDoublings; ++i) {
    const std::string half(size_t{1} << i, 'a');
    vocab += fmt::format(R"(,"{}{}":{})", half, half, i + 1);
    merges += fmt::format(R"({}"{} {}")", i == 0 ? "" : ",", half, half);
  }
  return fmt::format(
      R"({{"model":{{"type":"BPE","vocab":{{{}}},"merges":[{}]}},"added_tokens":[],
          "pre_tokenizer":{{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,
          "use_regex":true}},"decoder":{{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,
          "use_regex":true}}}})",
      vocab, merges);
}

std::string repeated(const std::string& part, size_t length) {
  std::string text;
  while (text.size() < length) text += part;
  return text;
}

double thread_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// One word of a whole text, which merges all along, or nowhere, or at every step.
TEST(Tokenizer, LongTextsTakeLinearTime) {
  const std::unique_ptr<Tokenizer> tokenizers[] = {
      Tokenizer::from_gguf(byte_level()), Tokenizer::from_gguf(byte_level_of_doublings()),
      Tokenizer::from_gguf(spm()), Tokenizer::from_gguf(spm_of_doublings()),
      Tokenizer::from_json(json_of_doublings())};
  constexpr size_t kLength = 1 << 14;
  for (size_t which = 0; which < std::size(tokenizers); ++which) {
    for (const std::string part : {"a", "ab", " ", "1", "<tool>a", "aaab", "c"}) {
      const std::string text = repeated(part, kLength), longer = repeated(part, 4 * kLength);
      const auto seconds_for = [&](const std::string& each) {
        const double begin = thread_seconds();
        EXPECT_LE(tokenizers[which]->encode(each, false, true).size(), each.size() + 1);
        return thread_seconds() - begin;
      };
      double once = 1e9, four_times = 1e9;
      for (int i = 0; i < 3; ++i) {  // in turn, so that a slow moment of the machine is in both
        once = std::min(once, seconds_for(text));
        four_times = std::min(four_times, seconds_for(longer));
      }
      EXPECT_LT(four_times, 8 * once + 5e-3) << which << " '" << part << "'";  // quadratic: 16
    }
  }
  constexpr size_t kLongest = 1 << kDoublings;
  EXPECT_EQ(tokenizers[1]->encode(repeated("a", kLength), false, true).size(), kLength / kLongest);
  EXPECT_EQ(tokenizers[3]->encode(repeated("a", kLength), false, true).size(),
            kLength / kLongest + 1);  // and the space before it
  EXPECT_EQ(tokenizers[4]->encode(repeated("a", kLength), false, true).size(), kLength / kLongest);
  EXPECT_EQ(tokenizers[0]->encode(repeated("<tool>a", 7 << 10), false, true).size(), 2u << 10);
}

}  // namespace
}  // namespace weft::text
