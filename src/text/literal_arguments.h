// Arguments of a call that are written otherwise than as JSON, turned into JSON byte by byte:
//
//   Python's    city="Paris", days=[1, 2], metric=True)
//   Gemma's     city:<escape>Paris<escape>,days:[1,2],metric:true}
//
// Literals alone: no expression, name or call is understood, and nothing is ever evaluated.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "text/json_scanner.h"

namespace weft::text {

// Whether Python's call can have an argument of this name, and be read: tools have parameters that
// are no identifiers ("user-id"), so all is one that does not hold what parts arguments.
bool can_be_keyword(std::string_view name);

class LiteralArguments {
 public:
  enum class Dialect { kPython, kGemma };
  using Result = JsonScanner::Result;
  explicit LiteralArguments(Dialect dialect) : dialect_(dialect) {}

  // The next byte, behind the bracket that opens the arguments. Appends to `json`, "{" first.
  // kDone with the bracket that closes them.
  Result push(char c, std::string& json);
  // A keyword, or the end, was seen: these are arguments, so far as one can tell.
  bool certain() const { return certain_; }

 private:
  enum class Frame : uint8_t { kArguments, kDict, kList, kTuple };
  enum class Place {
    kKey,        // a keyword, a dict's key, or the closing bracket
    kInKeyword,  // a bare one
    kSeparator,  // '=' or ':'
    kValue,      // a value; in lists also the closing bracket
    kInString,
    kInEscape,    // behind a backslash
    kInHex,       // digits of \x, \u, \U
    kInOpening,   // of <escape>
    kInWord,      // a number or a constant, up to what follows it
    kAfterValue,  // ',' or the closing bracket
  };

  Result step(char c, std::string& json);
  bool key(char c, std::string& json);
  bool in_keyword(char c, std::string& json);
  bool separator(char c, std::string& json);
  bool value(char c, std::string& json);
  bool in_string(char c, std::string& json);
  bool in_gemma_string(char c, std::string& json);
  bool in_escape(char c, std::string& json);
  bool in_hex(char c, std::string& json);
  bool end_word(std::string& json);
  Result after_value(char c, std::string& json);
  bool open(Frame frame, std::string& json);
  Result close(char c, std::string& json);
  void begin_item(std::string& json);
  void end_string(std::string& json);
  Frame frame() const { return frames_[static_cast<size_t>(depth_)]; }

  Dialect dialect_;
  Place place_ = Place::kKey;
  static constexpr int kMostDepth = 64;
  std::array<Frame, kMostDepth> frames_{};
  int depth_ = -1;
  uint64_t not_first_ = 0;  // bit d: frame d has an item already
  std::string word_;        // keyword, number, constant
  char quote_ = 0;          // of the string that is being read
  bool string_is_key_ = false, certain_ = false;
  size_t matched_ = 0;  // of <escape>
  int hex_left_ = 0;
  uint32_t code_ = 0;
};

}  // namespace weft::text
