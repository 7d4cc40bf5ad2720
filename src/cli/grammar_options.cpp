#include "cli/grammar_options.h"

#include <fmt/format.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace weft::cli {
namespace {

std::string read_file(const std::string& path, const char* flag, const char* text_begins) {
  std::ifstream file(path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  if (!file)
    throw Error(ErrorKind::kUsage, fmt::format("cannot read {}", path),
                fmt::format("{} is a file, or a text that {}", flag, text_begins));
  return text;
}

}  // namespace

void GrammarOptions::declare(OptionSet* options) {
  options->add("--json-schema,-j", &schema_,
               {.unit = "FILE|JSON",
                .help = "answer with JSON that is valid under this schema; {} is any JSON",
                .may_be_empty = false});
  options->add("--regex", &regex_,
               {.unit = "REGEX",
                .help = "answer with a text that this matches as a whole",
                .may_be_empty = false});
  options->add("--choice", &choices_,
               {.unit = "TEXT",
                .help = "answer with one of these; is given several times",
                .may_be_empty = false});
  options->add("--grammar", &grammar_,
               {.unit = "FILE|TEXT",
                .help = "answer by this grammar: Lark (start: ...) or GBNF (root ::= ...)",
                .may_be_empty = false});
  const std::vector<const char*> all{"--json-schema", "--regex", "--choice", "--grammar"};
  for (size_t i = 0; i < all.size(); ++i)
    for (size_t j = i + 1; j < all.size(); ++j) options->exclude(all[i], all[j]);
}

std::optional<text::GrammarSpec> GrammarOptions::spec() const {
  using Kind = text::GrammarSpec::Kind;
  if (schema_) {
    const size_t first = schema_->find_first_not_of(" \t\r\n");
    const bool is_text = first != std::string::npos && (*schema_)[first] == '{';
    return text::GrammarSpec{
        Kind::kJsonSchema,
        is_text ? *schema_ : read_file(*schema_, "--json-schema", "begins with {")};
  }
  if (regex_) return text::GrammarSpec{Kind::kRegex, *regex_};
  if (!choices_.empty()) return text::GrammarSpec{Kind::kChoice, nlohmann::json(choices_).dump()};
  if (!grammar_) return std::nullopt;
  const bool is_text = grammar_->find(':') != std::string::npos;
  return text::GrammarSpec{Kind::kLark,
                           is_text ? *grammar_ : read_file(*grammar_, "--grammar", "has a :")};
}

}  // namespace weft::cli
