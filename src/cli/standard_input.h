// Standard input as a source of the prompt: what it holds, without waiting for long, and its text,
// without reading more than a prompt can be.
#pragma once

#include <chrono>
#include <cstdint>
#include <iosfwd>
#include <string>

namespace weft::cli {

enum class InputState {
  kNothing,   // closed, /dev/null, an empty file, a pipe that has ended
  kText,      // a file or a pipe with something in it
  kSilent,    // an open pipe in which nothing came: perhaps an inherited one that never ends
  kTerminal,  // somebody may type
};

// Reads nothing. Only a pipe or a socket is waited for, until it holds something, ends, or
// `patience` is over.
InputState look_at_input(int descriptor, std::chrono::milliseconds patience);

// About two million tokens of English: more than the context of any model that is read, and little
// enough to be turned into tokens before they are counted.
inline constexpr int64_t kMaxPromptBytes = int64_t{8} << 20;

// All of `in`, without the line feed at its end (what `echo` adds is no part of a prompt).
// Error(kUsage) past kMaxPromptBytes, of which no more than one byte is read.
std::string read_prompt(std::istream& in);

}  // namespace weft::cli
