// A chat with a running server of OpenAI's API, Weft's or another's.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/options.h"
#include "cli/chat_partner.h"

namespace weft::cli {

// The options that name a server in place of a model.
class ServerAddress {
 public:
  // Adds the group "Server".
  void declare(OptionSet* options);
  bool is_given() const { return url_.has_value(); }
  // What the other options have to do with a server. Error(kUsage) for those that were given and
  // are the server's own affair, and for --api-key or --ca-file without --url.
  void check(const OptionSet& options) const;

 private:
  friend std::unique_ptr<ChatPartner> connect(const ServerAddress& address,
                                              const std::string& model,
                                              const Environment& environment, int terminal);
  std::optional<std::string> url_, api_key_;
  std::string ca_file_;
};

// Asks the server what it serves. model: what was typed as MODEL, may be empty. terminal: as of an
// EnginePartner. Error(kUsage) for an address that is none, a key that the server refuses and a
// model that it does not serve, Error(kCommunication) where no server answers.
std::unique_ptr<ChatPartner> connect(const ServerAddress& address, const std::string& model,
                                     const Environment& environment, int terminal);

// One JSON object in one line: the keys of `answer_json` that a server tells, and the model.
std::string reply_json(const ChatReply& reply, const std::string& model);

}  // namespace weft::cli
