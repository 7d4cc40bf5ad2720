// The figures of `weft bench comm` as a picture: time over bytes, both in powers, a panel for
// messages and for each verb.
#pragma once

#include <string>

#include "cli/comm_figures.h"

namespace weft::cli {

// A whole SVG file. title: a line above; any text.
std::string comm_chart(const CommFigures& figures, const std::string& title);

// 64 KiB, 8 B.
std::string size_text(int64_t bytes);

}  // namespace weft::cli
