#include "serve/request_fields.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "serve/json_source.h"
#include "serve/request_error.h"

namespace weft::serve {
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

// A number that is whole, though it may be none that 64 bits hold.
bool is_whole(const json& value) {
  if (!value.is_number_float()) return value.is_number_integer();
  return std::trunc(value.get<double>()) == value.get<double>();
}

}  // namespace

Fields::Fields(const json& object, std::string place, std::string param, std::string_view source)
    : object_(object), place_(std::move(place)), param_(std::move(param)), source_(source) {
  if (object.is_object()) return;
  const std::string what = !place_.empty() ? place_ : param_.empty() ? "the body" : param_;
  throw RequestError(fmt::format("{} is {}: an object is expected", what, shown(object)),
                     {.param = param_});
}

Fields Fields::inside(const json& value, std::string_view name) const {
  Fields inner(value, placed(name), param_of(name), source_);
  inner.path_ = path_;
  inner.path_.emplace_back(name);
  return inner;
}

std::string Fields::source(std::string_view name) const {
  // Not before it is wanted: each look reads the whole text, and a chat has many messages.
  std::string_view written = source_;
  for (const std::string& outer : path_) written = json_source(written, outer);
  written = json_source(written, name);
  return written.empty() ? object_.at(name).dump() : std::string(written);
}

json Fields::parsed(std::string_view name, const std::string& text) const {
  return parse_json(text, placed(name), param_of(name));
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

std::optional<int64_t> Fields::integer(std::string_view name, int64_t low, int64_t high,
                                       std::string_view why) const {
  const json* value = find(name);
  if (value == nullptr) return std::nullopt;
  const std::optional<int64_t> number = whole_number(*value);
  if (!is_whole(*value)) refuse(name, "a whole number is expected");
  if (!number || *number < low || *number > high)
    refuse(name, fmt::format("{} to {} is expected{}{}", low, high, why.empty() ? "" : ": ", why));
  return number;
}

std::optional<float> Fields::number(std::string_view name) const {
  const json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) refuse(name, "a number is expected");
  const std::optional<float> number = float_of(*value);
  if (!number) refuse(name, "a number that 32 bits hold is expected");
  return number;
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
  const std::string what =
      fmt::format("{} is {}: {}", name, value == nullptr ? "missing" : shown(*value), expected);
  throw RequestError(placed(what),
                     {.param = param_of(name),
                      .code = value == nullptr ? "missing_required_parameter" : "invalid_value"});
}

void Fields::fail(std::string_view name, std::string_view what, std::string_view why) const {
  throw RequestError(placed(what), {.param = param_of(name), .why = std::string(why)});
}

void Fields::refuse_as_missing(std::string_view name, std::string_view why) const {
  throw RequestError(
      placed(fmt::format("{} cannot be honoured", name)),
      {.param = param_of(name), .code = "unsupported_parameter", .why = std::string(why)});
}

std::string Fields::param_of(std::string_view name) const {
  return param_.empty() ? std::string(name) : fmt::format("{}.{}", param_, name);
}

std::string Fields::placed(std::string_view text) const {
  return place_.empty() ? std::string(text) : fmt::format("{}: {}", place_, text);
}

std::optional<float> float_of(const json& number) {
  const auto exact = number.get<double>();
  if (!(std::fabs(exact) <= std::numeric_limits<float>::max())) return std::nullopt;
  const auto nearest = static_cast<float>(exact);
  const bool is_beyond = exact < nearest ? exact < 0 : exact > nearest && nearest > 0;
  if (std::trunc(nearest) != nearest || !is_beyond) return nearest;
  if (nearest == 0) return -std::numeric_limits<float>::min();  // less would count as none
  return std::nextafter(nearest, std::copysign(std::numeric_limits<float>::infinity(), nearest));
}

std::optional<int32_t> token_id(const json& value) {
  const std::optional<int64_t> number = whole_number(value);
  if (!number || *number < 0 || *number > INT32_MAX) return std::nullopt;
  return static_cast<int32_t>(*number);
}

}  // namespace weft::serve
