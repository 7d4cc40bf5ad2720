// The fields of one JSON object of a request, read with their types: by every route, and by `weft
// run --file` for every line. What is wrong is told as a RequestError (serve/request_error.h) that
// names the place, where there is one, and the field:
//
//   line 12: temperature is "hot": a number is expected
//
// A field that is absent or null is not given. Fields that nobody asks for are nobody's business.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "serve/bounded_json.h"

namespace weft::serve {

class Fields {
 public:
  // object: borrowed. RequestError where it is no object. place: "line 12", or empty; param: what
  // stands before a field's name where an error names it: "messages[0]", or empty. source: the text
  // that the object was parsed from, borrowed, or empty.
  Fields(const nlohmann::json& object, std::string place, std::string param = {},
         std::string_view source = {});

  const std::string& place() const { return place_; }
  // An object inside this one, its fields named NAME.FIELD. value: found under `name`, borrowed.
  Fields inside(const nlohmann::json& value, std::string_view name) const;
  const nlohmann::json& object() const { return object_; }
  // The JSON text of a field that is given, in the order of its author where that is known.
  std::string source(std::string_view name) const;
  // JSON that a text holds, found under `name`.
  nlohmann::json parsed(std::string_view name, const std::string& text) const;
  const nlohmann::json* find(std::string_view name) const;  // null where it is not given
  bool has(std::string_view name) const { return find(name) != nullptr; }

  std::optional<bool> flag(std::string_view name) const;
  // why: where the bounds come from, said with them; may be empty.
  std::optional<int64_t> integer(std::string_view name, int64_t low, int64_t high,
                                 std::string_view why = {}) const;
  std::optional<float> number(std::string_view name) const;
  std::optional<std::string> text(std::string_view name) const;
  std::optional<std::vector<std::string>> texts(std::string_view name) const;
  // A text counts as a list of one.
  std::optional<std::vector<std::string>> text_or_texts(std::string_view name) const;
  std::optional<std::vector<int32_t>> ids(std::string_view name) const;

  // "line 12: NAME is VALUE: EXPECTED".
  [[noreturn]] void refuse(std::string_view name, std::string_view expected) const;
  // "line 12: WHAT", with why where it is not empty. name: the field that is to blame.
  [[noreturn]] void fail(std::string_view name, std::string_view what,
                         std::string_view why = {}) const;
  // "line 12: NAME cannot be honoured".
  [[noreturn]] void refuse_as_missing(std::string_view name, std::string_view why = {}) const;

 private:
  std::string param_of(std::string_view name) const;
  std::string placed(std::string_view text) const;

  const nlohmann::json& object_;
  std::string place_, param_;
  std::string_view source_;        // of the outermost object
  std::vector<std::string> path_;  // of fields, from it to this one
};

// Of a JSON number, the nearest float; none where it is too large for one. What lies beyond a whole
// number, as bounds are, stays beyond it: a top_p of 1.0000000000000002 is no 1.
std::optional<float> float_of(const nlohmann::json& number);

// A token id out of a list; none where it is no whole number that 32 bits hold.
std::optional<int32_t> token_id(const nlohmann::json& value);

}  // namespace weft::serve
