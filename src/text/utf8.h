// UTF-8 as it really arrives: cut in the middle of a character, or broken.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace weft::text {

bool is_valid_utf8(std::string_view bytes);

// Every longest part that cannot become a character becomes one U+FFFD, as the Unicode standard
// recommends and Python's and Rust's decoders do. Valid text is returned as it is.
std::string to_valid_utf8(std::string_view bytes);

// How many bytes at the end begin a character that further bytes could complete (0 to 3).
size_t incomplete_tail_bytes(std::string_view bytes);

}  // namespace weft::text
