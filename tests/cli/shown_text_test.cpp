#include "cli/shown_text.h"

#include <gtest/gtest.h>

namespace weft::cli {
namespace {

TEST(ShownText, HasNoControlsOfATerminal) {
  EXPECT_EQ(without_controls("Wörter\t文字\n"), "Wörter\t文字\n");
  // ESC, DEL, a carriage return, CSI as one character (U+009B), and the last one of C1.
  EXPECT_EQ(without_controls("a\x1b[2Jb\x7f\rc\xc2\x9b"
                             "1m\xc2\x9f"),
            "a\uFFFD[2Jb\uFFFD\uFFFDc\uFFFD1m\uFFFD");
  EXPECT_EQ(without_controls("\xc2\xa0"), "\xc2\xa0");  // the first one after C1
  // As bytes that are no UTF-8: CSI, and half a character at the end.
  EXPECT_EQ(without_controls("\x9b"
                             "1m\xc2"),
            "\uFFFD1m\uFFFD");
  EXPECT_EQ(without_controls(std::string("\0", 1)), "\uFFFD");
  EXPECT_EQ(in_one_line("a\n\tb\x1b"), "a  b\uFFFD");
}

TEST(ShownText, IsCutBetweenCharacters) {
  EXPECT_EQ(shortened("文字文字", 12), "文字文字");
  EXPECT_EQ(shortened("文字文字文", 12), "文字文...");
  EXPECT_EQ(shortened("文字文字文", 11), "文字...");
  EXPECT_EQ(shortened("abcdef", 5), "ab...");
}

}  // namespace
}  // namespace weft::cli
