// A conversation in the terminal. The whole of it is rendered again for every answer, since one
// request at a time keeps no cache between answers.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/line_reader.h"

namespace weft::cli {

using ReadLine = std::function<TypedLine(const std::string& prompt)>;
// Sets everything of a request but its prompt.
using MakeRequest = std::function<engine::Request()>;

struct ChatOptions {
  std::string system;  // may be empty
  bool stats = false;
  int terminal = -1;  // descriptor of the terminal whose Ctrl-C is to reach this process alone
};

// Reads lines until /quit, the end of input, or Ctrl-C twice. Returns the exit code. A request
// that fails (too long, say) is told and the chat goes on; a lost rank or a bug ends it.
int chat(engine::Engine& engine, const ChatOptions& options, const MakeRequest& make_request,
         const ReadLine& read_line, Console& console);

}  // namespace weft::cli
