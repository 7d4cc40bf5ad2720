#include "text/utf8.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>

namespace weft::text {
namespace {

const std::string kR = "\xEF\xBF\xBD";

TEST(Utf8, ValidTextStaysAsItIs) {
  for (const std::string text :
       {"", "plain", "naïve", "日本語", "👩‍👩‍👧", "\xF4\x8F\xBF\xBF"}) {
    EXPECT_TRUE(is_valid_utf8(text)) << text;
    EXPECT_EQ(to_valid_utf8(text), text);
    EXPECT_EQ(incomplete_tail_bytes(text), 0u) << text;
  }
}

// What Python's bytes.decode("utf-8", "replace") and Rust's from_utf8_lossy make of the same bytes.
TEST(Utf8, EveryLongestBrokenPartBecomesOneReplacement) {
  EXPECT_EQ(to_valid_utf8("\xFF\xFE"), kR + kR);
  EXPECT_EQ(to_valid_utf8("a\x80z"), fmt::format("a{}z", kR));
  EXPECT_EQ(to_valid_utf8("\xC0\x80"), kR + kR);                    // overlong
  EXPECT_EQ(to_valid_utf8("\xE0\x80\x80"), kR + kR + kR);           // overlong
  EXPECT_EQ(to_valid_utf8("\xED\xA0\x80"), kR + kR + kR);           // a surrogate
  EXPECT_EQ(to_valid_utf8("\xF5\x80\x80\x80"), kR + kR + kR + kR);  // above U+10FFFF
  EXPECT_EQ(to_valid_utf8("\xE6\x97"
                          "a"),
            kR + "a");  // two of three bytes
  EXPECT_EQ(to_valid_utf8("\xF0\x9F\x98"
                          "a"),
            kR + "a");  // three of four bytes
  EXPECT_EQ(to_valid_utf8("\xE6\x97"), kR);
}

TEST(Utf8, TailsThatCanStillBecomeACharacterAreCounted) {
  const std::string text = "a\xF0\x9F\x98\x80";
  EXPECT_EQ(incomplete_tail_bytes(text.substr(0, 1 + 1)), 1u);
  EXPECT_EQ(incomplete_tail_bytes(text.substr(0, 1 + 2)), 2u);
  EXPECT_EQ(incomplete_tail_bytes(text.substr(0, 1 + 3)), 3u);
  EXPECT_EQ(incomplete_tail_bytes(text), 0u);
  EXPECT_EQ(incomplete_tail_bytes("\xC3"), 1u);
  EXPECT_EQ(incomplete_tail_bytes("\x80\x80"), 0u);  // nothing can complete these
  EXPECT_EQ(incomplete_tail_bytes("\xED\xA0"), 0u);  // a surrogate never completes
  EXPECT_EQ(incomplete_tail_bytes("\xE6\x97\xA5\xE6"), 1u);
}

}  // namespace
}  // namespace weft::text
