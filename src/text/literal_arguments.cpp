#include "text/literal_arguments.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <string_view>

namespace weft::text {
namespace {

constexpr std::string_view kEscape = "<escape>";
constexpr size_t kMostWordBytes = 256;

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80) != 0;
}

// Ends no keyword of Python's dialect but as a mistake.
bool parts_arguments(char c) {
  return std::string_view("()[]{},\"'").find(c) != std::string_view::npos ||
         static_cast<unsigned char>(c) < 0x20;
}

void append_escaped(std::string& json, char c) {
  if (c == '"' || c == '\\') {
    json += '\\';
    json += c;
  } else if (c == '\n') {
    json += "\\n";
  } else if (static_cast<unsigned char>(c) < 0x20) {
    fmt::format_to(std::back_inserter(json), "\\u{:04x}", static_cast<int>(c));
  } else {
    json += c;
  }
}

void append_code(std::string& json, uint32_t code) {
  if (code >= 0x10000) {
    code -= 0x10000;
    append_code(json, 0xD800 + (code >> 10));
    code = 0xDC00 + (code & 0x3FF);
  }
  fmt::format_to(std::back_inserter(json), "\\u{:04x}", code);
}

// Python's number as JSON's: "+1" is 1, "1_000" is 1000, ".5" is 0.5, "5." is 5.0. Empty where it
// is none.
std::string json_number(std::string_view word) {
  if (std::ranges::none_of(word, is_digit)) return {};
  std::string number;
  for (size_t i = 0; i < word.size(); ++i) {
    const char before = number.empty() ? 0 : number.back();
    if (word[i] == '+' && i == 0) continue;
    if (word[i] == '_' && i + 1 < word.size() && is_digit(before) && is_digit(word[i + 1]))
      continue;
    if (word[i] == '.' && !is_digit(before)) number += '0';
    if (!is_digit(word[i]) && before == '.') number += '0';
    number += word[i];
  }
  if (!number.empty() && number.back() == '.') number += '0';
  JsonScanner scanner;
  scanner.push('[');
  for (const char c : number)
    if (is_blank(c) || c == ',' || scanner.push(c) != JsonScanner::Result::kMore) return {};
  return scanner.place() == JsonScanner::Place::kInNumber &&
                 scanner.push(']') == JsonScanner::Result::kDone
             ? number
             : "";
}

}  // namespace

bool can_be_keyword(std::string_view name) {
  if (name.empty() || name.size() > kMostWordBytes) return false;
  const bool is_framed = is_blank(name.front()) || is_blank(name.back());
  return !is_framed &&
         std::ranges::none_of(name, [](char c) { return c == '=' || parts_arguments(c); });
}

LiteralArguments::Result LiteralArguments::push(char c, std::string& json) {
  if (depth_ < 0) open(Frame::kArguments, json);
  // What ends a word belongs to what follows it.
  if (place_ == Place::kInWord) {
    const bool part = dialect_ == Dialect::kGemma
                          ? c != ',' && c != '}' && c != ']'
                          : is_letter(c) || is_digit(c) || c == '.' || c == '+' || c == '-';
    if (part) word_ += c;
    if (part) return word_.size() <= kMostWordBytes ? Result::kMore : Result::kBad;
    if (!end_word(json)) return Result::kBad;
  }
  return step(c, json);
}

LiteralArguments::Result LiteralArguments::step(char c, std::string& json) {
  const auto more_if = [](bool good) { return good ? Result::kMore : Result::kBad; };
  switch (place_) {
    case Place::kInKeyword:
      return more_if(in_keyword(c, json));
    case Place::kInString:
      return more_if(dialect_ == Dialect::kGemma ? in_gemma_string(c, json) : in_string(c, json));
    case Place::kInEscape:
      return more_if(in_escape(c, json));
    case Place::kInHex:
      return more_if(in_hex(c, json));
    case Place::kInOpening:
      if (c != kEscape[matched_]) return Result::kBad;
      if (++matched_ == kEscape.size()) {
        matched_ = 0;
        place_ = Place::kInString;
        json += '"';
      }
      return Result::kMore;
    default:
      break;
  }
  if (is_blank(c)) return Result::kMore;
  const bool closes = c == ')' || c == '}' || c == ']';
  if (place_ == Place::kKey) return closes ? close(c, json) : more_if(key(c, json));
  if (place_ == Place::kSeparator) return more_if(separator(c, json));
  if (place_ == Place::kAfterValue) return after_value(c, json);
  const bool in_list = frame() == Frame::kList || frame() == Frame::kTuple;
  return closes && in_list ? close(c, json) : more_if(value(c, json));
}

bool LiteralArguments::key(char c, std::string& json) {
  if (dialect_ == Dialect::kPython && frame() == Frame::kDict) {
    begin_item(json);
    string_is_key_ = true;
    quote_ = c;
    place_ = Place::kInString;
    json += '"';
    return c == '"' || c == '\'';
  }
  word_ = c;
  place_ = Place::kInKeyword;
  return dialect_ == Dialect::kPython ? can_be_keyword(word_) : is_letter(c);
}

bool LiteralArguments::in_keyword(char c, std::string& json) {
  const bool python = dialect_ == Dialect::kPython;
  const bool goes_on = python ? c != '=' && (is_blank(c) || !parts_arguments(c))
                              : is_letter(c) || is_digit(c) || c == '-' || c == '.' || c == '$';
  if (goes_on) {
    word_ += c;
    return word_.size() <= kMostWordBytes;
  }
  while (is_blank(word_.back())) word_.pop_back();
  begin_item(json);
  json += '"';
  for (const char letter : word_) append_escaped(json, letter);
  json += '"';
  place_ = Place::kSeparator;
  return (!python && is_blank(c)) || separator(c, json);
}

bool LiteralArguments::separator(char c, std::string& json) {
  const bool equals = dialect_ == Dialect::kPython && frame() == Frame::kArguments;
  json += ": ";
  place_ = Place::kValue;
  certain_ = true;
  return c == (equals ? '=' : ':');
}

bool LiteralArguments::value(char c, std::string& json) {
  const bool python = dialect_ == Dialect::kPython;
  if (frame() == Frame::kList || frame() == Frame::kTuple) begin_item(json);
  string_is_key_ = false;
  if (c == '[') return open(Frame::kList, json);
  if (c == '{') return open(Frame::kDict, json);
  if (c == '(') return python && open(Frame::kTuple, json);
  if (python && (c == '"' || c == '\'')) {
    quote_ = c;
    place_ = Place::kInString;
    json += '"';
    return true;
  }
  if (!python && c == '<') {
    matched_ = 1;
    place_ = Place::kInOpening;
    return true;
  }
  word_ = c;
  place_ = Place::kInWord;
  if (!python) return c != ',' && c != '}' && c != ']';
  return is_letter(c) || is_digit(c) || c == '-' || c == '+' || c == '.';
}

bool LiteralArguments::in_string(char c, std::string& json) {
  if (c == '\\') {
    place_ = Place::kInEscape;
  } else if (c == quote_) {
    end_string(json);
  } else {
    append_escaped(json, c);
  }
  return true;
}

void LiteralArguments::end_string(std::string& json) {
  json += '"';
  place_ = string_is_key_ ? Place::kSeparator : Place::kAfterValue;
}

// '<' is the mark's first byte and no other, so what was matched of it never hides a beginning.
bool LiteralArguments::in_gemma_string(char c, std::string& json) {
  if (c == kEscape[matched_]) {
    if (++matched_ < kEscape.size()) return true;
    matched_ = 0;
    end_string(json);
    return true;
  }
  json += kEscape.substr(0, matched_);
  matched_ = c == kEscape[0] ? 1 : 0;
  if (matched_ == 0) append_escaped(json, c);
  return true;
}

bool LiteralArguments::in_escape(char c, std::string& json) {
  place_ = Place::kInString;
  code_ = 0;
  hex_left_ = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
  if (hex_left_ > 0) {
    place_ = Place::kInHex;
  } else if (c == '\'' || c == '"' || c == '\\') {
    append_escaped(json, c);
  } else if (c == 'n' || c == 't' || c == 'r' || c == 'b' || c == 'f') {
    json += '\\';
    json += c;
  } else if (is_digit(c) || c == 'N') {
    return false;  // octal and named characters: no model was seen to write them
  } else if (c != '\n') {
    json += "\\\\";  // Python keeps the backslash of an escape that it does not know
    append_escaped(json, c);
  }
  return true;
}

bool LiteralArguments::in_hex(char c, std::string& json) {
  const char lower = static_cast<char>(c | 0x20);
  const bool letter = lower >= 'a' && lower <= 'f';
  if (!is_digit(c) && !letter) return false;
  code_ = code_ * 16 + static_cast<uint32_t>(letter ? lower - 'a' + 10 : c - '0');
  if (--hex_left_ > 0) return true;
  place_ = Place::kInString;
  if (code_ > 0x10FFFF) return false;
  append_code(json, code_);
  return true;
}

bool LiteralArguments::end_word(std::string& json) {
  place_ = Place::kAfterValue;
  while (!word_.empty() && is_blank(word_.back())) word_.pop_back();
  const bool python = dialect_ == Dialect::kPython;
  const std::string number = json_number(word_);
  if (word_ == "true" || (python && word_ == "True")) {
    json += "true";
  } else if (word_ == "false" || (python && word_ == "False")) {
    json += "false";
  } else if (word_ == "null" || word_ == "None") {
    json += "null";
  } else if (!number.empty()) {
    json += number;
  } else if (!python) {
    json += '"';
    for (const char c : word_) append_escaped(json, c);
    json += '"';
  } else {
    return false;
  }
  return true;
}

LiteralArguments::Result LiteralArguments::after_value(char c, std::string& json) {
  if (c != ',') return close(c, json);
  const bool in_list = frame() == Frame::kList || frame() == Frame::kTuple;
  place_ = in_list ? Place::kValue : Place::kKey;
  return Result::kMore;
}

bool LiteralArguments::open(Frame frame, std::string& json) {
  if (depth_ + 1 == kMostDepth) return false;
  frames_[static_cast<size_t>(++depth_)] = frame;
  not_first_ &= ~(uint64_t{1} << depth_);
  const bool list = frame == Frame::kList || frame == Frame::kTuple;
  json += list ? '[' : '{';
  place_ = list ? Place::kValue : Place::kKey;
  return true;
}

LiteralArguments::Result LiteralArguments::close(char c, std::string& json) {
  const bool python = dialect_ == Dialect::kPython;
  const bool list = frame() == Frame::kList || frame() == Frame::kTuple;
  const bool round = frame() == Frame::kTuple || (python && frame() == Frame::kArguments);
  if (c != (round ? ')' : list ? ']' : '}')) return Result::kBad;
  json += list ? ']' : '}';
  place_ = Place::kAfterValue;
  certain_ = true;
  return --depth_ < 0 ? Result::kDone : Result::kMore;
}

void LiteralArguments::begin_item(std::string& json) {
  const uint64_t bit = uint64_t{1} << depth_;
  if ((not_first_ & bit) != 0) json += ", ";
  not_first_ |= bit;
}

}  // namespace weft::text
