// Text of somebody else's (a server's names, errors and answers) on its way to a terminal, where
// control characters are commands: they move the cursor, write the title and the clipboard, or hide
// what was printed before.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace weft::cli {

// The text as UTF-8 with U+FFFD in the place of each control character (C0, DEL, C1) but tabs and
// line feeds.
std::string without_controls(std::string_view text);
// The same in one line: a blank for tabs and line feeds too.
std::string in_one_line(std::string_view text);

// The text, or a beginning of it that ends with dots: at most `most` bytes (3 or more), and no part
// of a character.
std::string shortened(std::string_view text, size_t most);

}  // namespace weft::cli
