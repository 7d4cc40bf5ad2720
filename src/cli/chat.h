// A conversation in the terminal.
#pragma once

#include <functional>
#include <string>

#include "cli/chat_partner.h"
#include "cli/line_reader.h"

namespace weft::cli {

using ReadLine = std::function<TypedLine(const std::string& prompt)>;

struct ChatOptions {
  std::string system = {};  // may be empty
  bool stats = false;
  std::string home = {};  // what ~ stands for in the name of a file
};

// Reads lines until /quit, the end of input, or Ctrl-C twice. Returns the exit code. A request that
// fails (too long, say, or a server that is away) is told and the chat goes on; what leaves the
// engine in doubt, a lost rank or a bug, ends it.
int chat(ChatPartner& partner, const ChatOptions& options, ChatParameters parameters,
         const ReadLine& read_line, Console& console);

}  // namespace weft::cli
