#include "serve/grammar_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <nlohmann/json.hpp>

#include "serve/request_error.h"
#include "serve/structural_tag.h"

namespace weft::serve {
namespace {

using nlohmann::json;
using text::GrammarSpec;
using Kind = text::GrammarSpec::Kind;

constexpr size_t kMaxSchemaName = 64;

// At most one of what the fields ask for.
class Asked {
 public:
  explicit Asked(const Fields& fields) : fields_(fields) {}

  void add(const char* name, std::optional<GrammarSpec> spec) {
    if (!spec) return;
    if (spec_)
      fields_.fail(name, fmt::format("{} and {} are both given", name_, name),
                   "an answer follows one grammar");
    spec_ = std::move(spec);
    name_ = name;
  }
  const char* name() const { return name_; }  // of the field; empty: none asks
  std::optional<GrammarSpec> take() { return std::move(spec_); }

 private:
  const Fields& fields_;
  std::optional<GrammarSpec> spec_;
  const char* name_ = "";
};

// A schema as it is, or as a text that holds one.
std::optional<GrammarSpec> schema(const Fields& fields, const char* name) {
  const json* value = fields.find(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) {
    const json parsed = fields.parsed(name, value->get_ref<const std::string&>());
    if (!parsed.is_object()) fields.refuse(name, "a JSON schema is expected");
    return GrammarSpec{Kind::kJsonSchema, value->get<std::string>()};
  }
  if (!value->is_object()) fields.refuse(name, "a JSON schema is expected");
  return GrammarSpec{Kind::kJsonSchema, fields.source(name)};
}

std::optional<GrammarSpec> source(const Fields& fields, const char* name, Kind kind) {
  const std::optional<std::string> text = fields.text(name);
  if (!text) return std::nullopt;
  if (text->empty()) fields.refuse(name, "a text that is not empty is expected");
  return GrammarSpec{kind, *text};
}

std::optional<GrammarSpec> choice(const Fields& fields, const char* name) {
  const std::optional<std::vector<std::string>> texts = fields.texts(name);
  if (!texts) return std::nullopt;
  if (texts->empty()) fields.refuse(name, "one text at least is expected");
  if (texts->size() > kMostChoices)
    fields.fail(name,
                fmt::format("{} holds {} texts, above {}", name, texts->size(), kMostChoices));
  return GrammarSpec{Kind::kChoice, json(*texts).dump()};
}

std::optional<GrammarSpec> json_object(const Fields& fields, const char* name) {
  if (!fields.flag(name).value_or(false)) return std::nullopt;
  return GrammarSpec{Kind::kJsonObject, ""};
}

void check_schema_name(const Fields& fields) {
  const std::string name = fields.text("name").value_or("");
  const bool fits = !name.empty() && name.size() <= kMaxSchemaName &&
                    std::all_of(name.begin(), name.end(), [](unsigned char c) {
                      return std::isalnum(c) || c == '_' || c == '-';
                    });
  if (!fits) fields.refuse("name", "1 to 64 letters, digits, - or _ are expected");
}

std::optional<GrammarSpec> response_format(const Fields& fields) {
  const json* value = fields.find("response_format");
  if (value == nullptr) return std::nullopt;
  const Fields format = fields.inside(*value, "response_format");
  const std::string type = format.text("type").value_or("");
  if (type == "text") return std::nullopt;
  if (type == "json_object")  // with a schema of its own, as llama.cpp has it
    return format.has("schema") ? schema(format, "schema") : GrammarSpec{Kind::kJsonObject, ""};
  if (type == "structural_tag") return read_structural_tag(format);
  if (type != "json_schema")
    format.refuse("type", "text, json_object, json_schema or structural_tag is expected");
  const json* inner = format.find("json_schema");
  if (inner == nullptr) format.refuse("json_schema", "an object is expected");
  const Fields named = format.inside(*inner, "json_schema");
  check_schema_name(named);
  named.flag("strict");  // an answer is held to the schema either way
  // Without a schema any object will do, as OpenAI has it.
  return named.has("schema") ? schema(named, "schema") : GrammarSpec{Kind::kJsonObject, ""};
}

// An object, or a text that holds one, as vLLM has it.
std::optional<GrammarSpec> structural_tag(const Fields& fields, const char* name) {
  const json* value = fields.find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) return read_structural_tag(fields.inside(*value, name));
  const std::string& text = value->get_ref<const std::string&>();
  const json parsed = fields.parsed(name, text);
  if (!parsed.is_object()) fields.refuse(name, "an object is expected");
  return read_structural_tag(Fields(parsed, "", name, text));
}

constexpr const char* kConstraintsExpected =
    "json, regex, choice, grammar, json_object or structural_tag is expected";

// How many constraints are given. One that is misspelt would be one that nobody holds the answer
// to, so what is unknown is refused.
int num_constraints(const Fields& outputs) {
  constexpr std::array kConstraints{"json",    "regex",       "choice",
                                    "grammar", "json_object", "structural_tag"};
  constexpr std::array kUnheeded{"whitespace_pattern", "disable_any_whitespace",
                                 "disable_additional_properties"};
  int count = 0;
  for (const auto& [name, value] : outputs.object().items()) {
    const auto is_in = [&name = name](const auto& names) {
      return std::find(names.begin(), names.end(), name) != names.end();
    };
    if (is_in(kConstraints)) {
      count += value.is_null() ? 0 : 1;
    } else if (is_in(kUnheeded)) {
      if (!value.is_null() && value != false) outputs.refuse_as_missing(name);
    } else if (name != "disable_fallback") {  // there is none
      const std::string known = name.size() <= kMaxSchemaName ? name : "that";
      outputs.fail(known, fmt::format("there is no field {} here", known), kConstraintsExpected);
    }
  }
  return count;
}

std::optional<GrammarSpec> structured_outputs(const Fields& fields) {
  const json* value = fields.find("structured_outputs");
  if (value == nullptr) return std::nullopt;
  const Fields inner = fields.inside(*value, "structured_outputs");
  if (num_constraints(inner) == 0)
    fields.fail("structured_outputs", "structured_outputs asks for nothing", kConstraintsExpected);
  Asked asked(inner);
  asked.add("structural_tag", structural_tag(inner, "structural_tag"));
  asked.add("json", schema(inner, "json"));
  asked.add("regex", source(inner, "regex", Kind::kRegex));
  asked.add("choice", choice(inner, "choice"));
  asked.add("grammar", source(inner, "grammar", Kind::kLark));
  asked.add("json_object", json_object(inner, "json_object"));
  return asked.take();
}

}  // namespace

std::optional<GrammarSpec> read_grammar(const Fields& fields, std::string* name) {
  if (const json* older = fields.find("guided_decoding"); older != nullptr && !older->empty())
    fields.refuse_as_missing("guided_decoding", "structured_outputs is its successor");
  Asked asked(fields);
  asked.add("response_format", response_format(fields));
  asked.add("structured_outputs", structured_outputs(fields));
  asked.add("guided_json", schema(fields, "guided_json"));
  asked.add("guided_regex", source(fields, "guided_regex", Kind::kRegex));
  asked.add("guided_choice", choice(fields, "guided_choice"));
  asked.add("guided_grammar", source(fields, "guided_grammar", Kind::kLark));
  *name = asked.name();
  return asked.take();
}

}  // namespace weft::serve
