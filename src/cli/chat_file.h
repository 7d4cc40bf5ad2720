// A conversation in a file: a body of /v1/chat/completions, which may be sent to any server as it
// is, and so the other way round.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cli/chat_parameters.h"
#include "text/text.h"

namespace weft::cli {

struct ChatFile {
  std::string model;  // as the file names it; empty: it does not
  std::vector<text::Message> messages;
  ChatParameters parameters;
};

// Writes it whole or not at all. Error(kUsage) where it cannot be written, or where there is
// something of this name and `overwrite` is not set.
void save_chat(const std::filesystem::path& path, const ChatFile& chat, bool overwrite);

// Error(kUsage) where it cannot be read, is no such body, or holds what a chat in a terminal has
// not: calls of tools. What says nothing of the answer (stream, user, ...) is left out.
ChatFile load_chat(const std::filesystem::path& path);

}  // namespace weft::cli
