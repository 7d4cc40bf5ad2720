// What an answer that is none means to the person who asked, as an error: the server's own words,
// and the option that mends it. One rule for a chat with a server and for a load.
#pragma once

#include <string>
#include <string_view>

#include "cli/http_streams.h"

namespace weft::cli {

struct FailedAnswer {
  int status = 0;          // 0: none came; 200: one that is not what it should be
  std::string words;       // the server's, otherwise libcurl's
  std::string code = {};   // of OpenAI's error object; may be empty
  bool untrusted = false;  // as of HttpEnd

  // Asking again may help: no server is there yet, or it has too much to do.
  bool may_recover() const;
  // Prompt and answer do not fit into the server's context.
  bool is_too_long() const;
};

// Of an answer that came with another status than 200, or not at all.
FailedAnswer failed_answer(const HttpEnd& end, const std::string& body);

// What to type, by who asks; nothing where it is empty. Borrowed.
struct Mends {
  std::string_view key = {};      // it is missing, or another is wanted
  std::string_view busy = {};     // too many requests
  std::string_view route = {};    // path or model are not known there
  std::string_view length = {};   // prompt and answer do not fit into its context
  std::string_view silence = {};  // nobody is there
  std::string_view form = {};     // what came is no answer
};

// base: the address as it is shown. has_key: whether one was sent.
[[noreturn]] void refuse_answer(const std::string& base, const FailedAnswer& answer, bool has_key,
                                const Mends& mends);

}  // namespace weft::cli
