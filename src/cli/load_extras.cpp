#include "cli/load_extras.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace weft::cli {
namespace {

using Json = nlohmann::json;

constexpr float kAboveZero = std::numeric_limits<float>::min();

// With the digits that were typed.
double as_typed(float value) { return std::strtod(fmt::format("{}", value).c_str(), nullptr); }

std::pair<std::string, std::string> halves(const char* flag, const std::string& text) {
  const size_t sign = text.find('=');
  if (sign == std::string::npos || sign == 0)
    throw Error(ErrorKind::kUsage, fmt::format("{}: '{}' is no KEY=VALUE", flag, text), "",
                fmt::format("give the option once for each: {} a=1 {} b=2", flag, flag));
  return {text.substr(0, sign), text.substr(sign + 1)};
}

// RFC 9110, 5.6.2 and 5.5: nothing that would end the line or begin another one.
bool is_header(const std::string& name, const std::string& value) {
  const auto in_name = [](unsigned char c) {
    return std::isalnum(c) != 0 ||
           std::string_view("!#$%&'*+-.^_`|~").find(static_cast<char>(c)) != std::string_view::npos;
  };
  const auto in_value = [](unsigned char c) { return c == '\t' || (c >= ' ' && c != 0x7f); };
  return std::ranges::all_of(name, in_name) && std::ranges::all_of(value, in_value);
}

}  // namespace

void LoadExtras::declare_request(OptionSet* options) {
  options->add("--temperature", &temperature_, {"T", "of the answers"}, 0.0F, 2.0F);
  options->add("--top-p", &top_p_, {"P", "of the sampling, as the rest of these", "the server's"},
               kAboveZero, 1.0F);
  options->add("--top-k", &top_k_, {"K", "0 or -1: all", "the server's"}, -1);
  options->add("--min-p", &min_p_, {"P", "of the likeliest one's", "the server's"}, 0.0F, 1.0F);
  options->add("--repetition-penalty", &repetition_penalty_, {"X", "above 0", "the server's"},
               kAboveZero, std::numeric_limits<float>::max());
  options->add("--presence-penalty", &presence_penalty_, {"X", "-2 to 2", "the server's"}, -2.0F,
               2.0F);
  options->add("--frequency-penalty", &frequency_penalty_, {"X", "-2 to 2", "the server's"}, -2.0F,
               2.0F);
  options->add("--logprobs", &logprobs_, {"N", "of each token, with N others", "none"}, 0, 1000);
  options->add("--ignore-eos", &ignore_eos_, {"", "answers go on to their full length"});
  options->add("--extra-body", &extra_body_,
               {.unit = "JSON", .help = "an object: more fields of each request", .unset = "none"});
  options->add("--header", &headers_,
               {"NAME=VALUE", "of each request; may be given several times"});
  options->add("--request-id-prefix", &request_id_prefix_,
               {.unit = "TEXT", .help = "X-Request-Id is it and a number", .unset = "none"});
}

void LoadExtras::declare_record(OptionSet* options) {
  options->add("--label", &label_,
               {.unit = "TEXT", .help = "of the run, in its file's name too", .unset = "none"});
  options->add("--metadata", &metadata_,
               {"KEY=VALUE", "beside the figures; may be given several times"});
  options->add("--append-result", &append_result_, {"", "the file may hold others' results"});
}

std::string LoadExtras::fields(const OptionSet& options, bool is_chat) const {
  const auto given = [&](const char* name) { return options.origin(name) != Origin::kDefault; };
  Json fields = {{"temperature", as_typed(temperature_)}};
  if (given("--top-p")) fields["top_p"] = as_typed(top_p_);
  if (given("--top-k")) fields["top_k"] = top_k_;
  if (given("--min-p")) fields["min_p"] = as_typed(min_p_);
  if (given("--repetition-penalty")) fields["repetition_penalty"] = as_typed(repetition_penalty_);
  if (given("--presence-penalty")) fields["presence_penalty"] = as_typed(presence_penalty_);
  if (given("--frequency-penalty")) fields["frequency_penalty"] = as_typed(frequency_penalty_);
  if (given("--logprobs") && is_chat) {
    fields["logprobs"] = true;
    fields["top_logprobs"] = logprobs_;
  } else if (given("--logprobs")) {
    fields["logprobs"] = logprobs_;
  }
  if (ignore_eos_) fields["ignore_eos"] = true;
  if (extra_body_.empty()) return fields.dump();
  const Json extra = Json::parse(extra_body_, nullptr, false);
  if (!extra.is_object())
    throw Error(ErrorKind::kUsage, "--extra-body is no object of JSON", "",
                "give one: --extra-body '{\"min_tokens\": 8}'");
  fields.update(extra);
  return fields.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::vector<std::string> LoadExtras::headers() const {
  std::vector<std::string> lines;
  for (const std::string& text : headers_) {
    const auto [name, value] = halves("--header", text);
    if (!is_header(name, value))
      throw Error(ErrorKind::kUsage, "--header: a name or value has characters that none may have",
                  "names have letters, digits and !#$%&'*+-.^_`|~, values no control characters",
                  "give for example --header X-Team=tests");
    lines.push_back(fmt::format("{}: {}", name, value));
  }
  if (!is_header("X-Request-Id", request_id_prefix_))
    throw Error(ErrorKind::kUsage, "--request-id-prefix has characters that no header may have", "",
                "leave line ends and other control characters out");
  return lines;
}

std::vector<std::pair<std::string, std::string>> LoadExtras::metadata() const {
  std::vector<std::pair<std::string, std::string>> pairs;
  for (const std::string& text : metadata_) pairs.push_back(halves("--metadata", text));
  return pairs;
}

}  // namespace weft::cli
