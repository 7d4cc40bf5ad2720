#include "serve/xml_parameters.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "serve/structural_tag.h"

namespace weft::serve {
namespace {

using Json = nlohmann::ordered_json;
using Piece = LarkPieces::Piece;

struct Style {
  std::string_view name, before_key, behind_key, close;
};
constexpr Style kStyles[] = {
    {"qwen_xml", "<parameter=", ">", "</parameter>"},
    {"minimax_xml", "<parameter name=\"", "\">", "</parameter>"},
    {"glm_xml", "<arg_key>", "</arg_key><arg_value>", "</arg_value>"},
};

const Style* style_of(std::string_view name) {
  const Style* found = std::ranges::find(kStyles, name, &Style::name);
  return found == std::end(kStyles) ? nullptr : found;
}

// As between the parts of JSON (text/grammar.h, GrammarLimits::json_blanks).
constexpr const char* kBlanks = "( |\\n[ \\t]{0,32})?";

// A reference may lead to another one.
constexpr int kMostReferences = 16;

bool is_among(std::string_view word, std::initializer_list<std::string_view> words) {
  return std::ranges::find(words, word) != words.end();
}

bool says_nothing_of_values(std::string_view key) {
  return is_among(key, {"title", "description", "default", "examples", "deprecated", "readOnly",
                        "writeOnly", "$comment", "$id", "$schema", "$defs", "definitions"});
}

class Writer {
 public:
  Writer(const Style& style, const Json& schema, const Fields& fields, LarkPieces& lark)
      : style_(style), root_(schema), fields_(fields), lark_(lark) {}

  Piece parameters() {
    if (root_ == true) return {};
    if (root_ == false) refuse("false", "nothing is valid under it");
    const Json& object = resolved(root_);
    for (const auto& [key, value] : object.items())
      if (!says_nothing_of_values(key) &&
          !is_among(key, {"type", "properties", "required", "additionalProperties"}))
        refuse(key, "parameters are those of one object with properties");
    if (object.value("type", Json("object")) != Json("object"))
      refuse("type", "parameters are those of an object");
    const Json properties = object.value("properties", Json::object());
    if (!properties.is_object()) refuse("properties", "an object of schemas is expected");
    const std::vector<std::string> required = names_of(object.value("required", Json::array()));
    for (const std::string& name : required)
      if (!properties.contains(name))
        refuse("required", fmt::format("{} is none of the properties", quoted(name)));
    Piece all;
    for (const auto& [name, schema] : properties.items()) {
      const bool is_required = std::ranges::find(required, name) != required.end();
      const Piece one = parameter(name, schema);
      // As a rule: a terminal before it would take blanks for its beginning that are the end's.
      all = LarkPieces::sequence(
          {all, is_required ? one : lark_.repeat(one, 0, 1, /*as_rule=*/true)});
    }
    return all;
  }

 private:
  [[noreturn]] void refuse(std::string_view key, std::string_view why) const {
    fields_.fail("json_schema",
                 fmt::format("the style '{}' cannot honour '{}'", style_.name, key.substr(0, 64)),
                 why);
  }
  static std::string quoted(std::string_view name) { return Json(name.substr(0, 64)).dump(); }

  std::vector<std::string> names_of(const Json& list) const {
    std::vector<std::string> names;
    if (!list.is_array()) refuse("required", "a list of names is expected");
    for (const Json& name : list) {
      if (!name.is_string()) refuse("required", "a list of names is expected");
      names.push_back(name.get<std::string>());
    }
    return names;
  }

  // What follows the last reference.
  const Json& resolved(const Json& schema) const {
    const Json* at = &schema;
    for (int i = 0; at->is_object() && at->contains("$ref"); ++i) {
      const Json& reference = at->at("$ref");
      const std::string path = reference.is_string() ? reference.get<std::string>() : "";
      const bool is_local = path.starts_with("#/$defs/") || path.starts_with("#/definitions/");
      if (!is_local || i == kMostReferences)
        refuse("$ref", "references lead to #/$defs or #/definitions, and not in circles");
      const std::string group = path.substr(2, path.find('/', 2) - 2);
      const std::string name = path.substr(group.size() + 3);
      if (!root_.contains(group) || !root_.at(group).contains(name))
        refuse("$ref", fmt::format("nothing is found at {}", quoted(path)));
      at = &root_.at(group).at(name);
    }
    return *at;
  }

  Piece blanks() const { return lark_.regex(kBlanks); }
  Piece closed(const Piece& piece) const {
    return LarkPieces::sequence({piece, lark_.text(style_.close)});
  }
  Piece among_blanks(const Piece& piece) const {
    return closed(LarkPieces::sequence({blanks(), piece, blanks()}));
  }
  // One terminal with the mark that it stops at, which it would swallow otherwise.
  Piece text(std::optional<int64_t> most, int64_t least) {
    return closed(lark_.free_text({std::string(style_.close)}, most, least));
  }

  Piece parameter(const std::string& name, const Json& schema) {
    const bool is_plain = std::ranges::none_of(name, [](unsigned char c) {
      return c <= ' ' || c == '<' || c == '>' || c == '"' || c == 0x7f;
    });
    if (name.empty() || !is_plain) refuse(name, "no mark can hold such a name");
    const std::string open = fmt::format("{}{}{}", style_.before_key, name, style_.behind_key);
    return LarkPieces::sequence({blanks(), lark_.text(open), value(resolved(schema))});
  }

  // With the closing mark. schema: no reference itself.
  Piece value(const Json& schema) {
    if (!schema.is_object()) return any(schema);
    for (const char* several : {"oneOf", "allOf", "not", "if"})
      if (schema.contains(several) && !schema.contains("type"))
        refuse(several, "anyOf can be told apart from a text");
    if (schema.contains("anyOf")) return any_of(schema);
    if (schema.contains("enum") || schema.contains("const")) return constants(schema);
    if (!schema.contains("type")) return any(schema);
    if (schema.at("type").is_array()) return any_type(schema);
    return schema.at("type") == "string" ? string(schema) : json(schema);
  }

  // Of any type, so also a text, as which every other value can be read.
  Piece any(const Json& schema) {
    if (schema.is_boolean() && !schema.get<bool>()) refuse("false", "nothing is valid under it");
    if (schema.is_object())
      for (const auto& [key, value] : schema.items())
        if (!says_nothing_of_values(key)) refuse(key, "a type is expected beside it");
    return text({}, 0);
  }

  Piece any_of(const Json& schema) {
    for (const auto& [key, value] : schema.items())
      if (!says_nothing_of_values(key) && key != "anyOf")
        refuse(key, "anyOf stands without others beside it");
    if (!schema.at("anyOf").is_array() || schema.at("anyOf").empty())
      refuse("anyOf", "a list of schemas is expected");
    std::vector<Piece> pieces;
    for (const Json& branch : schema.at("anyOf")) pieces.push_back(value(resolved(branch)));
    return lark_.either(pieces);
  }

  Piece any_type(const Json& schema) {
    if (schema.at("type").empty()) refuse("type", "one type is expected, or several");
    std::vector<Piece> pieces;
    for (const Json& type : schema.at("type")) {
      Json one = schema;
      one["type"] = type;
      for (const char* key : {"minLength", "maxLength", "pattern", "format"})
        if (type != "string") one.erase(key);
      pieces.push_back(value(one));
    }
    return lark_.either(pieces);
  }

  Piece constants(const Json& schema) {
    const Json values =
        schema.contains("const") ? Json::array({schema.at("const")}) : schema.at("enum");
    if (!values.is_array() || values.empty()) refuse("enum", "a list of values is expected");
    std::vector<Piece> pieces;
    Json others = Json::array();
    for (const Json& each : values) {
      if (!each.is_string()) {
        others.push_back(each);
      } else if (each.get_ref<const std::string&>().find(style_.close) == std::string::npos) {
        pieces.push_back(lark_.text(each.get_ref<const std::string&>()));
      } else {
        refuse("enum", "one of its texts holds the closing mark");
      }
    }
    if (!others.empty()) pieces.push_back(lark_.json(Json{{"enum", others}}.dump()));
    return among_blanks(lark_.either(pieces));
  }

  Piece string(const Json& schema) {
    for (const auto& [key, value] : schema.items())
      if (!says_nothing_of_values(key) &&
          !is_among(key, {"type", "pattern", "minLength", "maxLength"}))
        refuse(key, "of a text it can honour pattern, minLength, maxLength, enum and const");
    const std::optional<int64_t> least = length(schema, "minLength"),
                                 most = length(schema, "maxLength");
    if (least && most && *least > *most) refuse("minLength", "it is above maxLength");
    if (!schema.contains("pattern")) return text(most, least.value_or(0));
    if (least || most) refuse("pattern", "with a length beside it");
    const Json& pattern = schema.at("pattern");
    if (!pattern.is_string() || !LarkPieces::is_regex(pattern.get<std::string>()))
      refuse("pattern", "a regular expression is expected");
    return among_blanks(lark_.regex(pattern.get<std::string>()));
  }

  std::optional<int64_t> length(const Json& schema, const char* key) const {
    if (!schema.contains(key)) return {};
    const Json& value = schema.at(key);
    const bool is_bounded = value.is_number_integer() && value.get<int64_t>() >= 0 &&
                            value.get<int64_t>() <= kMostFormatRepeats;
    if (!is_bounded)
      refuse(key, fmt::format("a number from 0 to {} is expected", kMostFormatRepeats));
    return value.get<int64_t>();
  }

  // A property by itself keeps what the whole schema defines for its references.
  Piece json(Json schema) {
    for (const char* key : {"$defs", "definitions"})
      if (root_.contains(key)) schema[key] = root_.at(key);
    return among_blanks(lark_.json(schema.dump()));
  }

  const Style& style_;
  const Json& root_;
  const Fields& fields_;
  LarkPieces& lark_;
};

}  // namespace

bool is_xml_style(std::string_view style) { return style_of(style) != nullptr; }

Piece xml_parameters(std::string_view style, const Json& schema, const Fields& fields,
                     LarkPieces& lark) {
  return Writer(*style_of(style), schema, fields, lark).parameters();
}

}  // namespace weft::serve
