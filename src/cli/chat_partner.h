// Who answers a chat: the engine of this process (cli/engine_partner.h) or a server
// (cli/server_partner.h).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cli/chat_parameters.h"
#include "cli/commands.h"
#include "text/text.h"

namespace weft::cli {

// The finish reason of an answer that Ctrl-C ended.
inline constexpr std::string_view kCancelled = "cancelled";

// What is said where messages were forgotten for an answer.
inline constexpr std::string_view kForgotten =
    "(the oldest messages are forgotten: the context is full)";

struct ChatReply {
  std::string text;
  std::string finish_reason;         // "stop", "length", kCancelled, ...
  std::vector<std::string> details;  // what was asked for beside the text: logprobs, a hash
  std::vector<std::string> stats;    // figures, for /stats
  // Where they are known; otherwise < 0.
  int64_t prompt_tokens = -1, generated_tokens = -1;
};

class ChatPartner {
 public:
  virtual ~ChatPartner() = default;
  // As a request names it.
  virtual std::string model() const = 0;
  // What a parameter that is not set stands for, as /set shows it.
  virtual std::string unset() const = 0;
  // What is to be known before the first line; empty: nothing.
  virtual std::string greeting() const { return {}; }
  // A server may know parameters that are not known here, and may be away and come back.
  virtual bool is_remote() const = 0;
  // Error(kUsage) for parameters that no answer can follow.
  virtual void check(const ChatParameters& parameters) = 0;
  // Answers the last message, its text to console.out as it comes, without a line feed at its end;
  // all else that is to be said to console.err. Forgets the oldest messages where they leave no
  // room. Ctrl-C ends the answer; what there is of it is the reply. Error where there is none.
  virtual ChatReply answer(std::vector<text::Message>* messages, const ChatParameters& parameters,
                           Console& console) = 0;
};

}  // namespace weft::cli
