// The JSON object that most families write a call as:
//
//   {"name": "get_weather", "arguments": {"city": "Paris"}}
//
// byte by byte, with the arguments passed on as they come and as they are written. Llama says
// "parameters"; keys beside these two are read over.
#pragma once

#include <string>
#include <string_view>

#include "text/json_scanner.h"

namespace weft::text {

// Whether a call may name a tool so: 1 to 256 bytes, no quotes, backslashes, blanks, controls.
bool is_tool_name(std::string_view name);

class CallObject {
 public:
  using Result = JsonScanner::Result;
  // only_calls: an object with any other key than those that calls are written with is none.
  explicit CallObject(bool only_calls = false) : only_calls_(only_calls) {}

  // The next byte, from '{' on.
  Result push(char c);

  // Known once `ready`: then what `take_arguments` gives may be passed on.
  bool ready() const { return ready_; }
  // Empty until it is complete.
  const std::string& name() const { return name_; }
  // What came since it was asked last.
  void take_arguments(std::string& to) {
    to += arguments_;
    arguments_.clear();
  }

 private:
  bool begin_value(char c);
  bool end_value();
  bool end_object();

  enum class Value { kNone, kName, kArguments, kOther };
  bool only_calls_;
  JsonScanner scanner_;
  std::string key_;
  Value value_ = Value::kNone;  // of depth 1, that is being read
  std::string name_text_;
  std::string name_;
  std::string arguments_;
  bool null_ = false;  // the arguments are null, which is {}
  bool seen_arguments_ = false, ready_ = false;
};

}  // namespace weft::text
