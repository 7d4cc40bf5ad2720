#include "text/json_scanner.h"

namespace weft::text {
namespace {

constexpr int kMostDepth = 64;

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

}  // namespace

JsonScanner::Result JsonScanner::push(char c) {
  const auto more_if = [](bool good) { return good ? Result::kMore : Result::kBad; };
  switch (place_) {
    case Place::kInKey:
    case Place::kInString:
      return more_if(in_string(c));
    case Place::kInLiteral:
      if (c != *literal_) return Result::kBad;
      if (*++literal_ == '\0') place_ = Place::kAfterValue;
      return Result::kMore;
    case Place::kInNumber:
      if (in_number(c)) return Result::kMore;
      if (!number_may_end()) return Result::kBad;
      place_ = Place::kAfterValue;
      break;
    default:
      break;
  }
  if (is_blank(c)) return more_if(depth_ > 0);
  switch (place_) {
    case Place::kValueOrEnd:
      if (c == ']') return close(false);
      [[fallthrough]];
    case Place::kValue:
      if (c == '{' || c == '[') return open(c == '{');
      return more_if(depth_ > 0 && begin_value(c));
    case Place::kKeyOrEnd:
      if (c == '}') return close(true);
      [[fallthrough]];
    case Place::kKey:
      place_ = Place::kInKey;
      return more_if(c == '"');
    case Place::kColon:
      place_ = Place::kValue;
      return more_if(c == ':');
    default:
      return after_value(c);
  }
}

JsonScanner::Result JsonScanner::open(bool object) {
  if (depth_ == kMostDepth) return Result::kBad;
  const uint64_t bit = uint64_t{1} << depth_++;
  objects_ = object ? objects_ | bit : objects_ & ~bit;
  place_ = object ? Place::kKeyOrEnd : Place::kValueOrEnd;
  return Result::kMore;
}

JsonScanner::Result JsonScanner::close(bool object) {
  if (in_object() != object) return Result::kBad;
  place_ = Place::kAfterValue;
  return --depth_ == 0 ? Result::kDone : Result::kMore;
}

bool JsonScanner::begin_value(char c) {
  place_ = Place::kInLiteral;
  switch (c) {
    case '"':
      place_ = Place::kInString;
      return true;
    case 't':
      literal_ = "rue";
      return true;
    case 'f':
      literal_ = "alse";
      return true;
    case 'n':
      literal_ = "ull";
      return true;
    default:
      place_ = Place::kInNumber;
      number_ = c == '-' ? Number::kSign : c == '0' ? Number::kZero : Number::kInteger;
      return c == '-' || is_digit(c);
  }
}

bool JsonScanner::in_string(char c) {
  if (hex_left_ > 0) {
    --hex_left_;
    return is_hex(c);
  }
  if (escaped_) {
    escaped_ = false;
    if (c == 'u') hex_left_ = 4;
    return c == '"' || c == '\\' || c == '/' || c == 'b' || c == 'f' || c == 'n' || c == 'r' ||
           c == 't' || c == 'u';
  }
  if (c == '\\') escaped_ = true;
  if (c == '"') place_ = place_ == Place::kInKey ? Place::kColon : Place::kAfterValue;
  return static_cast<unsigned char>(c) >= 0x20;
}

// False where the byte is none of the number.
bool JsonScanner::in_number(char c) {
  const auto go = [this](Number to) {
    number_ = to;
    return true;
  };
  const bool point = c == '.', e = c == 'e' || c == 'E';
  switch (number_) {
    case Number::kSign:
      return is_digit(c) && go(c == '0' ? Number::kZero : Number::kInteger);
    case Number::kZero:
      return (point && go(Number::kPoint)) || (e && go(Number::kE));
    case Number::kInteger:
      return is_digit(c) || (point && go(Number::kPoint)) || (e && go(Number::kE));
    case Number::kPoint:
      return is_digit(c) && go(Number::kFraction);
    case Number::kFraction:
      return is_digit(c) || (e && go(Number::kE));
    case Number::kE:
      return (is_digit(c) && go(Number::kExponent)) ||
             ((c == '+' || c == '-') && go(Number::kESign));
    case Number::kESign:
      return is_digit(c) && go(Number::kExponent);
    case Number::kExponent:
      return is_digit(c);
  }
  return false;
}

bool JsonScanner::number_may_end() const {
  return number_ == Number::kZero || number_ == Number::kInteger || number_ == Number::kFraction ||
         number_ == Number::kExponent;
}

JsonScanner::Result JsonScanner::after_value(char c) {
  if (c == '}') return close(true);
  if (c == ']') return close(false);
  place_ = in_object() ? Place::kKey : Place::kValue;
  return c == ',' ? Result::kMore : Result::kBad;
}

}  // namespace weft::text
