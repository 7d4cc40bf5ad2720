#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "text/text.h"

namespace weft::text {
namespace {

// A tokenizer whose tokens are given byte strings; ids outside stand for control tokens.
class FakeTokenizer final : public Tokenizer {
 public:
  explicit FakeTokenizer(std::vector<std::string> pieces, bool strips = false)
      : pieces_(std::move(pieces)), strips_(strips) {}
  int64_t vocab_size() const override { return static_cast<int64_t>(pieces_.size()); }
  std::vector<int32_t> encode(std::string_view, bool, bool) const override { return {}; }
  std::string piece(int32_t id, bool special) const override {
    if (static_cast<size_t>(id) >= pieces_.size()) return special ? "<|end|>" : "";
    return pieces_[static_cast<size_t>(id)];
  }
  std::string decode(std::span<const int32_t>, bool) const override { return {}; }
  bool is_special(int32_t id) const override { return static_cast<size_t>(id) >= pieces_.size(); }
  std::optional<int32_t> find_token(std::string_view) const override { return std::nullopt; }
  bool strips_leading_space() const override { return strips_; }
  std::string description() const override { return "fake"; }

 private:
  std::vector<std::string> pieces_;
  bool strips_;
};

// What push returned for each token, then what finish returned.
std::vector<std::string> run(const std::vector<std::string>& pieces, std::vector<std::string> stops,
                             bool strips = false) {
  const FakeTokenizer tokenizer(pieces, strips);
  TextStream stream(tokenizer, {.stop_strings = std::move(stops)});
  std::vector<std::string> texts;
  for (size_t id = 0; id < pieces.size(); ++id) {
    texts.push_back(stream.push(static_cast<int32_t>(id)));
  }
  texts.push_back(stream.finish());
  return texts;
}

using Texts = std::vector<std::string>;

TEST(TextStream, TextComesOutAsItGoesIn) {
  EXPECT_EQ(run({"Hel", "lo", " you"}, {}), (Texts{"Hel", "lo", " you", ""}));
}

TEST(TextStream, HalfCharactersWaitForTheirRest) {
  EXPECT_EQ(run({"a\xF0\x9F", "\x98", "\x80!"}, {}), (Texts{"a", "", "😀!", ""}));
}

TEST(TextStream, AHalfCharacterAtTheEndBecomesAReplacement) {
  EXPECT_EQ(run({"a\xF0\x9F\x98"}, {}), (Texts{"a", "\xEF\xBF\xBD"}));
}

TEST(TextStream, BrokenBytesBecomeReplacementsAtOnce) {
  EXPECT_EQ(run({"a\xFF", "b\xE6\x97", "c"}, {}), (Texts{"a\xEF\xBF\xBD", "b",
                                                         "\xEF\xBF\xBD"
                                                         "c",
                                                         ""}));
}

TEST(TextStream, WhatCouldBecomeAStopStringIsHeldBack) {
  EXPECT_EQ(run({"one\n", "\nno", "\n", "x"}, {"\n\nEND"}),
            (Texts{"one", "\n\nno", "", "\nx", ""}));
}

TEST(TextStream, TheStopStringAndAllAfterItAreNotEmitted) {
  EXPECT_EQ(run({"one", " ST", "OP two", " three"}, {"STOP"}), (Texts{"one", " ", "", "", ""}));
}

TEST(TextStream, AStopStringInsideOneTokenEndsThere) {
  EXPECT_EQ(run({"abcSTOPdef"}, {"STOP"}), (Texts{"abc", ""}));
}

TEST(TextStream, OfSeveralStopStringsTheFirstToBeCompleteWins) {
  EXPECT_EQ(run({"xab", "cd"}, {"abcd", "bc"}), (Texts{"x", "a", ""}));
  EXPECT_EQ(run({"xabc"}, {"bc", "abc"}), (Texts{"x", ""}));  // both end here: the longer one
}

TEST(TextStream, ARepeatedBeginningIsFoundAgain) {
  EXPECT_EQ(run({"aa", "aab", "!"}, {"aab"}), (Texts{"", "aa", "", ""}));
  EXPECT_EQ(run({"ababa", "bac"}, {"ababac"}), (Texts{"", "ab", ""}));
}

TEST(TextStream, AHeldStopBeginningIsReleasedAtTheEnd) {
  EXPECT_EQ(run({"see ST"}, {"STOP"}), (Texts{"see ", "ST"}));
}

TEST(TextStream, AStopStringMaySpanCharactersThatTokensCut) {
  EXPECT_EQ(run({"好\xE3", "\x80", "\x82 end"}, {"。 "}), (Texts{"好", "", "", ""}));
}

TEST(TextStream, EmptyStopStringsAreIgnored) { EXPECT_EQ(run({"abc"}, {""}), (Texts{"abc", ""})); }

TEST(TextStream, StoppedTellsWhetherAStopStringWasSeen) {
  const FakeTokenizer tokenizer({"go", "STOP"});
  TextStream stream(tokenizer, {.stop_strings = {"STOP"}});
  stream.push(0);
  EXPECT_FALSE(stream.stopped());
  stream.push(1);
  EXPECT_TRUE(stream.stopped());
  EXPECT_EQ(stream.push(0), "");
  EXPECT_EQ(stream.finish(), "");
}

TEST(TextStream, ControlTokensHaveNoText) {
  const FakeTokenizer tokenizer({"go"});
  TextStream stream(tokenizer, {});
  EXPECT_EQ(stream.push(7) + stream.push(0) + stream.push(9) + stream.finish(), "go");
}

TEST(TextStream, SentencePieceLosesOneSpaceAtTheVeryBeginning) {
  EXPECT_EQ(run({"", "  two", " more"}, {}, true), (Texts{"", " two", " more", ""}));
  EXPECT_EQ(run({"  two", " more"}, {}, false), (Texts{"  two", " more", ""}));
}

// Whatever the cuts, the parts join to the whole up to the first stop string.
TEST(TextStream, EveryCutOfATextGivesTheSameText) {
  const std::string text = "ab“x”\n\n好的 stop! st stop?";
  const std::string expected = "ab“x”\n\n好的 stop! st ";
  for (size_t first = 0; first <= text.size(); ++first) {
    for (size_t second = first; second <= text.size(); ++second) {
      const auto parts =
          run({text.substr(0, first), text.substr(first, second - first), text.substr(second)},
              {"stop?", "\n\n\n"});
      std::string joined;
      for (const std::string& part : parts) joined += part;
      ASSERT_EQ(joined, expected) << first << " " << second;
    }
  }
}

}  // namespace
}  // namespace weft::text
