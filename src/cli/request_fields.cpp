#include "cli/request_fields.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace weft::cli {
namespace {

using nlohmann::json;

constexpr size_t kMaxShown = 60;  // bytes of a value in a message

// A value as a message shows it: the beginning, cut between characters.
std::string shown(const json& value) {
  std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() <= kMaxShown) return text;
  size_t end = kMaxShown;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, end) + "...";
}

// Whole numbers may be written as 5.0, as other servers have it.
std::optional<int64_t> whole_number(const json& value) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<uint64_t>();
    if (number > uint64_t{INT64_MAX}) return std::nullopt;
    return static_cast<int64_t>(number);
  }
  if (value.is_number_integer()) return value.get<int64_t>();
  if (!value.is_number_float()) return std::nullopt;
  const auto number = value.get<double>();
  if (std::trunc(number) != number || std::fabs(number) > 0x1p53) return std::nullopt;
  return static_cast<int64_t>(number);
}

// What the parser says after its own preamble, without its count of lines, which is always one:
// "column 2: syntax error while parsing value - ...".
std::string reason_of(const json::exception& error) {
  const std::string text = error.what();
  for (const std::string_view preamble : {"parse error at line 1, ", "] "}) {
    const size_t begin = text.find(preamble);
    if (begin != std::string::npos) return text.substr(begin + preamble.size());
  }
  return text;
}

}  // namespace

json parse_json(std::string_view text, std::string_view place) {
  const auto check_depth = [&](int depth, json::parse_event_t, json&) {
    if (depth > kMaxJsonDepth)
      throw Error(ErrorKind::kUsage, fmt::format("{} is nested too deeply", place),
                  fmt::format("at most {} levels are read", kMaxJsonDepth));
    return true;
  };
  try {
    return json::parse(text, check_depth);
  } catch (const json::exception& error) {
    throw Error(ErrorKind::kUsage, fmt::format("{} is no JSON", place), reason_of(error));
  }
}

Fields::Fields(const json& object, std::string place) : object_(object), place_(std::move(place)) {
  if (!object.is_object())
    throw Error(ErrorKind::kUsage,
                fmt::format("{} is {}: an object is expected", place_, shown(object)));
}

const json* Fields::find(std::string_view name) const {
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

std::optional<bool> Fields::flag(std::string_view name) const {
  const json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) refuse(name, "true or false is expected");
  return value->get<bool>();
}

std::optional<int64_t> Fields::integer(std::string_view name, int64_t low, int64_t high) const {
  const json* value = find(name);
  if (value == nullptr) return std::nullopt;
  const std::optional<int64_t> number = whole_number(*value);
  if (!number) refuse(name, "a whole number is expected");
  if (*number < low || *number > high) refuse(name, fmt::format("{} to {} is expected", low, high));
  return number;
}

std::optional<float> Fields::number(std::string_view name) const {
  const json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) refuse(name, "a number is expected");
  const auto number = value->get<double>();
  if (!(std::fabs(number) <= std::numeric_limits<float>::max()))
    refuse(name, "a number that 32 bits hold is expected");
  return static_cast<float>(number);
}

std::optional<std::string> Fields::text(std::string_view name) const {
  const json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) refuse(name, "a text is expected");
  return value->get<std::string>();
}

std::optional<std::vector<std::string>> Fields::texts(std::string_view name) const {
  const json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_array()) refuse(name, "a list of texts is expected");
  std::vector<std::string> list;
  for (const json& entry : *value) {
    if (!entry.is_string()) refuse(name, "a list of texts is expected");
    list.push_back(entry.get<std::string>());
  }
  return list;
}

std::optional<std::vector<std::string>> Fields::text_or_texts(std::string_view name) const {
  const json* value = find(name);
  if (value == nullptr || !value->is_string()) return texts(name);
  return std::vector<std::string>{value->get<std::string>()};
}

std::optional<std::vector<int32_t>> Fields::ids(std::string_view name) const {
  const json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_array()) refuse(name, "a list of token ids is expected");
  std::vector<int32_t> list;
  list.reserve(value->size());
  for (const json& entry : *value) {
    const std::optional<int32_t> id = token_id(entry);
    if (!id) refuse(name, "a list of token ids is expected");
    list.push_back(*id);
  }
  return list;
}

void Fields::refuse(std::string_view name, std::string_view expected) const {
  const json* value = find(name);
  throw Error(ErrorKind::kUsage,
              fmt::format("{}: {} is {}: {}", place_, name,
                          value == nullptr ? "missing" : shown(*value), expected));
}

void Fields::fail(std::string_view what, std::string_view why) const {
  throw Error(ErrorKind::kUsage, fmt::format("{}: {}", place_, what), why);
}

std::optional<int32_t> token_id(const json& value) {
  const std::optional<int64_t> number = whole_number(value);
  if (!number || *number < 0 || *number > INT32_MAX) return std::nullopt;
  return static_cast<int32_t>(*number);
}

}  // namespace weft::cli
