#include "text/call_object.h"

#include <algorithm>
#include <utility>

namespace weft::text {
namespace {

using Place = JsonScanner::Place;

constexpr size_t kMostNameBytes = 256;

}  // namespace

bool is_tool_name(std::string_view name) {
  return !name.empty() && name.size() <= kMostNameBytes && std::ranges::all_of(name, [](char c) {
    return static_cast<unsigned char>(c) > 0x20 && c != '"' && c != '\'' && c != '\\' && c != 0x7F;
  });
}

CallObject::Result CallObject::push(char c) {
  const Place before = scanner_.place();
  const int depth = scanner_.depth();
  const Result result = scanner_.push(c);
  if (result == Result::kBad) return result;
  const Place after = scanner_.place();
  // A number ends with the byte behind it; all other values end with one of their own.
  const bool ends_number = before == Place::kInNumber && after != Place::kInNumber;
  if (value_ != Value::kNone && depth == 1 && ends_number && !end_value()) return Result::kBad;
  if (depth == 1 && before == Place::kInKey && after == Place::kInKey) {
    if (key_.size() <= kMostNameBytes) key_ += c;
  } else if (depth == 1 && after == Place::kInKey) {
    key_.clear();
  } else if (depth == 1 && before == Place::kValue && after != Place::kValue && !begin_value(c)) {
    return Result::kBad;
  }
  if (value_ == Value::kArguments && !null_) arguments_ += c;
  if (value_ == Value::kName && before == Place::kInString) name_text_ += c;
  if (name_text_.size() > kMostNameBytes + 1) return Result::kBad;
  const bool ended = value_ != Value::kNone && scanner_.depth() == 1 && after == Place::kAfterValue;
  if (ended && !end_value()) return Result::kBad;
  if (result == Result::kDone && !end_object()) return Result::kBad;
  return result;
}

// The value of a key of the call itself.
bool CallObject::begin_value(char c) {
  const bool arguments = key_ == "arguments" || key_ == "parameters";
  value_ = arguments ? Value::kArguments : key_ == "name" ? Value::kName : Value::kOther;
  if (value_ == Value::kName) return c == '"' && name_.empty();
  if (value_ == Value::kOther) return !only_calls_ || key_ == "type" || key_ == "id";
  null_ = c == 'n';
  if (std::exchange(seen_arguments_, true) || (c != '{' && !null_)) return false;
  ready_ = !name_.empty();
  return true;
}

bool CallObject::end_value() {
  const Value value = std::exchange(value_, Value::kNone);
  if (value == Value::kArguments && std::exchange(null_, false)) arguments_ = "{}";
  if (value != Value::kName) return true;
  name_text_.pop_back();  // the quote
  name_ = std::move(name_text_);
  ready_ = seen_arguments_;
  return is_tool_name(name_);
}

bool CallObject::end_object() {
  if (name_.empty()) return false;
  if (!seen_arguments_) arguments_ = "{}";
  ready_ = true;
  return true;
}

}  // namespace weft::text
