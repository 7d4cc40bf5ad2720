// How the answers of a chat are chosen: fields of a body of /v1/chat/completions with the values
// that were given, by options, by /set or by a file. Read by the server's own reader
// (serve/request_body.h), so that a parameter means the same in a chat, in a file and in a request.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "serve/request_body.h"
#include "text/grammar.h"

namespace weft::cli {

// What a chat may ask for: its owner's machine, or a server that has limits of its own.
extern const serve::BodyLimits kChatLimits;

class ChatParameters {
 public:
  struct Parameter {
    std::string name, json;  // the value as JSON text
  };

  // In the order in which they were set first.
  const std::vector<Parameter>& all() const { return parameters_; }
  const std::string* find(std::string_view name) const;
  // One JSON object.
  std::string json() const;
  // What an engine is asked, over the defaults of the API. Error(kUsage) naming the field.
  serve::RequestBody read() const;

  // What a user typed: canonical names (canonical_parameter), and a value that is no JSON is a
  // text. Error(kUsage) where the value is of the wrong kind.
  void set_typed(const std::string& name, std::string_view typed);
  void set_json(std::string name, std::string json);
  void set(std::string name, int64_t value);
  void set(std::string name, float value);
  void set(std::string name, bool value);
  void set(std::string name, std::span<const std::string> texts);
  void set(std::string name, std::span<const int32_t> ids);
  // As response_format or structured_outputs. Error(kUsage) for a schema that is no JSON.
  void set(const text::GrammarSpec& grammar);
  // False where it was not set.
  bool unset(std::string_view name);

 private:
  std::vector<Parameter> parameters_;
};

struct KnownParameter {
  std::string_view name;
  enum class Kind { kNumber, kWhole, kSwitch, kTexts, kJson } kind;
  std::string_view help;
};
// In the order in which /set lists them.
std::span<const KnownParameter> known_parameters();
const KnownParameter* find_parameter(std::string_view name);  // null for names that are not known
// What the names of llama.cpp and ollama stand for: num_predict is max_tokens.
std::string canonical_parameter(std::string_view typed);

}  // namespace weft::cli
