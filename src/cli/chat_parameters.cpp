#include "cli/chat_parameters.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/option_values.h"
#include "engine/sampling.h"

namespace weft::cli {
namespace {

using Json = nlohmann::ordered_json;
using Kind = KnownParameter::Kind;

constexpr std::array kKnown = {
    KnownParameter{"temperature", Kind::kNumber, "0 always takes the likeliest token"},
    KnownParameter{"top_p", Kind::kNumber, "choose among the likeliest of this probability"},
    KnownParameter{"top_k", Kind::kWhole, "choose among the K likeliest; 0: all"},
    KnownParameter{"min_p", Kind::kNumber, "leave out what is below this share of the likeliest"},
    KnownParameter{"typical_p", Kind::kNumber, "choose among the most typical"},
    KnownParameter{"seed", Kind::kWhole, "of the sampling"},
    KnownParameter{"max_tokens", Kind::kWhole, "longest answer"},
    KnownParameter{"min_tokens", Kind::kWhole, "shortest answer"},
    KnownParameter{"stop", Kind::kTexts, "end before this text, or one of a list of texts"},
    KnownParameter{"stop_token_ids", Kind::kJson, "end with one of these: [1, 2]"},
    KnownParameter{"ignore_eos", Kind::kSwitch, "go on to max_tokens"},
    KnownParameter{"include_stop_str_in_output", Kind::kSwitch, "show the stop text too"},
    KnownParameter{"skip_special_tokens", Kind::kSwitch, "leave special tokens out of the text"},
    KnownParameter{"repetition_penalty", Kind::kNumber, "against tokens of prompt and answer"},
    KnownParameter{"presence_penalty", Kind::kNumber, "against tokens of the answer"},
    KnownParameter{"frequency_penalty", Kind::kNumber, "the same, each time that they came"},
    KnownParameter{"logit_bias", Kind::kJson, "{\"id\": bias}"},
    KnownParameter{"bad_words", Kind::kTexts, "never say this, or one of a list of texts"},
    KnownParameter{"allowed_token_ids", Kind::kJson, "say nothing else: [1, 2]"},
    KnownParameter{"logprobs", Kind::kSwitch, "logprobs of the chosen tokens"},
    KnownParameter{"top_logprobs", Kind::kWhole, "and of so many of the likeliest"},
    KnownParameter{"prompt_logprobs", Kind::kWhole, "the same of the prompt's tokens"},
    KnownParameter{"response_format", Kind::kJson, "{\"type\": \"json_object\"}, or a schema"},
    KnownParameter{"structured_outputs", Kind::kJson, "{\"regex\": ...}, choice, grammar"},
};

constexpr std::array<std::pair<std::string_view, std::string_view>, 8> kOtherNames = {{
    {"temp", "temperature"},
    {"num_predict", "max_tokens"},
    {"n_predict", "max_tokens"},
    {"max_completion_tokens", "max_tokens"},
    {"repeat_penalty", "repetition_penalty"},
    {"typical", "typical_p"},
    {"stop_sequences", "stop"},
    {"json_schema", "response_format"},
}};

std::string dumped(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

template <typename T>
Json list_of(std::span<const T> values) {
  Json list = Json::array();
  for (const T& value : values) list.push_back(value);
  return list;
}

[[noreturn]] void refuse(const std::string& name, std::string_view typed,
                         std::string_view expected) {
  throw Error(ErrorKind::kUsage, fmt::format("{} is {}", name, typed.substr(0, 60)),
              fmt::format("{} is expected", expected));
}

bool is_format(const Json& value) {
  const Json type = value.contains("type") ? value.at("type") : Json();
  return type == "json_schema" || type == "json_object" || type == "text" ||
         type == "structural_tag";
}

// A schema alone, as OpenAI's response_format names it.
std::string schema_format(std::string_view schema) {
  return fmt::format(R"({{"type":"json_schema","json_schema":{{"name":"answer","schema":{}}}}})",
                     schema);
}

}  // namespace

constinit const serve::BodyLimits kChatLimits = [] {
  serve::BodyLimits limits;
  limits.choices = 1;
  limits.stops = 256;
  limits.stop_bytes = 1 << 20;
  limits.bad_words = 1 << 16;
  limits.logprobs = engine::kMostLogprobs;
  return limits;
}();

std::span<const KnownParameter> known_parameters() { return kKnown; }

const KnownParameter* find_parameter(std::string_view name) {
  const auto found = std::ranges::find(kKnown, name, &KnownParameter::name);
  return found == kKnown.end() ? nullptr : &*found;
}

std::string canonical_parameter(std::string_view typed) {
  std::string name(typed);
  std::ranges::replace(name, '-', '_');  // as options are written
  for (const auto& [other, own] : kOtherNames)
    if (name == other) return std::string(own);
  return name;
}

const std::string* ChatParameters::find(std::string_view name) const {
  const auto found = std::ranges::find(parameters_, name, &Parameter::name);
  return found == parameters_.end() ? nullptr : &found->json;
}

std::string ChatParameters::json() const {
  std::string text = "{";
  for (const Parameter& parameter : parameters_)
    text += fmt::format("{}{}:{}", text.size() > 1 ? "," : "", dumped(Json(parameter.name)),
                        parameter.json);
  return text + "}";
}

serve::RequestBody ChatParameters::read() const {
  const std::string text = json();
  const nlohmann::json object = serve::parse_json(text, "the parameters");
  serve::RequestBody body;
  body.sampling.max_tokens = serve::kOpenMaxTokens;
  serve::read_terms(serve::Fields(object, "", "", text), kChatLimits, &body);
  return body;
}

void ChatParameters::set_json(std::string name, std::string json) {
  for (Parameter& parameter : parameters_) {
    if (parameter.name != name) continue;
    parameter.json = std::move(json);
    return;
  }
  parameters_.push_back({std::move(name), std::move(json)});
}

void ChatParameters::set_typed(const std::string& name, std::string_view typed) {
  const KnownParameter* known = find_parameter(name);
  const Json value = Json::parse(typed, nullptr, /*allow_exceptions=*/false);
  const Kind kind = known != nullptr ? known->kind : Kind::kTexts;
  switch (kind) {
    case Kind::kNumber:
      if (!value.is_number()) refuse(name, typed, "a number");
      return set_json(name, std::string(typed));
    case Kind::kWhole:
      if (!value.is_number()) refuse(name, typed, "a whole number");
      return set_json(name, std::string(typed));
    case Kind::kSwitch: {
      const std::optional<bool> truth = parse_truth(typed);
      if (!truth) refuse(name, typed, "true or false");
      return set(name, *truth);
    }
    case Kind::kTexts:
      // A number is a text to stop at, but of a parameter that is not known here a number.
      if (value.is_string() || value.is_array() || (known == nullptr && !value.is_discarded()))
        return set_json(name, std::string(typed));
      return set_json(name, dumped(Json(typed)));
    case Kind::kJson:
      if (value.is_discarded()) refuse(name, typed, "JSON");
      // A schema is told from a format by its words.
      if (name == "response_format" && value.is_object() && !is_format(value))
        return set_json(name, schema_format(typed));
      return set_json(name, std::string(typed));
  }
}

void ChatParameters::set(std::string name, int64_t value) {
  set_json(std::move(name), std::to_string(value));
}

// As short as the number allows, which reads back as the same one.
void ChatParameters::set(std::string name, float value) {
  set_json(std::move(name), fmt::format("{}", value));
}

void ChatParameters::set(std::string name, bool value) {
  set_json(std::move(name), value ? "true" : "false");
}

void ChatParameters::set(std::string name, std::span<const std::string> texts) {
  set_json(std::move(name), dumped(list_of(texts)));
}

void ChatParameters::set(std::string name, std::span<const int32_t> ids) {
  set_json(std::move(name), dumped(list_of(ids)));
}

void ChatParameters::set(const text::GrammarSpec& grammar) {
  using Spec = text::GrammarSpec::Kind;
  const auto structured = [&](std::string_view kind, const std::string& json) {
    set_json("structured_outputs", fmt::format(R"({{"{}":{}}})", kind, json));
  };
  switch (grammar.kind) {
    case Spec::kJsonObject:
      return set_json("response_format", R"({"type":"json_object"})");
    case Spec::kJsonSchema:
      if (!Json::accept(grammar.source))
        throw Error(ErrorKind::kUsage, "--json-schema is no JSON", "",
                    "give a schema, or the name of a file that holds one");
      return set_json("response_format", schema_format(grammar.source));
    case Spec::kRegex:
      return structured("regex", dumped(Json(grammar.source)));
    case Spec::kChoice:
      return structured("choice", grammar.source);
    case Spec::kLark:
      return structured("grammar", dumped(Json(grammar.source)));
  }
}

bool ChatParameters::unset(std::string_view name) {
  return std::erase_if(parameters_, [&](const Parameter& p) { return p.name == name; }) > 0;
}

}  // namespace weft::cli
