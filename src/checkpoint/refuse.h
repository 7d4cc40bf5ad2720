// How this floor words its errors: the file, then the fact with both numbers, in one line.
#pragma once

#include <string>
#include <string_view>

namespace weft::checkpoint {

inline constexpr std::string_view kDamaged = "the file is cut short or damaged";
inline constexpr std::string_view kFetchAgain =
    "fetch the file again and compare its size and checksum with the source's";

// Throws Error(kModel) whose first line is "<file>: <what>".
[[noreturn]] void refuse(std::string_view file, std::string_view what, std::string_view why = {},
                         std::string_view mend = {});

// Text out of a file, fit for a terminal: in quotes, everything but printable ASCII as \xNN, cut
// after 96 bytes.
std::string shown(std::string_view text);

}  // namespace weft::checkpoint
