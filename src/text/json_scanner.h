// Reads one JSON object or array byte by byte and says where in it each byte stands: for JSON that
// arrives in pieces and is passed on before it is complete. Strict (RFC 8259, at most 64 brackets
// deep); keeps a few words, whatever the text's length. Bytes above 127 pass in strings unchecked.
#pragma once

#include <cstdint>

namespace weft::text {

class JsonScanner {
 public:
  enum class Result { kMore, kDone, kBad };
  // What the next byte has to be, or is part of.
  enum class Place {
    kValue,       // a value
    kValueOrEnd,  // a value or ']': just behind '['
    kKeyOrEnd,    // a key or '}': just behind '{'
    kKey,         // a key, behind a comma
    kInKey,       // within a key's quotes
    kColon,       // ':'
    kInString,    // within a string's quotes
    kInNumber,
    kInLiteral,   // true, false, null
    kAfterValue,  // ',' or the closing bracket
  };

  // The next byte; the first has to be '{' or '['. kDone with the bracket that ends the value;
  // after that, and after kBad, nothing more may be pushed.
  Result push(char c);

  Place place() const { return place_; }
  int depth() const { return depth_; }  // of open brackets

 private:
  Result open(bool object);
  Result close(bool object);
  bool begin_value(char c);
  bool in_string(char c);
  bool in_number(char c);
  bool number_may_end() const;
  Result after_value(char c);
  bool in_object() const { return (objects_ >> (depth_ - 1) & 1) != 0; }

  enum class Number : uint8_t { kSign, kZero, kInteger, kPoint, kFraction, kE, kESign, kExponent };

  Place place_ = Place::kValue;
  int depth_ = 0;
  uint64_t objects_ = 0;  // bit d: the bracket at depth d + 1 is '{'
  Number number_ = Number::kSign;
  const char* literal_ = nullptr;  // what is left of it
  bool escaped_ = false;
  int hex_left_ = 0;  // digits of \u that are missing
};

}  // namespace weft::text
