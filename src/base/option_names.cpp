// The names of options: who is called what, in this program and in others.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <utility>

#include "base/did_you_mean.h"
#include "base/error.h"
#include "base/option_values.h"
#include "base/options.h"

namespace weft {
namespace {

std::vector<std::string> split_names(const std::string& names) {
  std::vector<std::string> list;
  size_t begin = 0;
  while (begin <= names.size()) {
    const size_t end = std::min(names.find(',', begin), names.size());
    list.push_back(names.substr(begin, end - begin));
    begin = end + 1;
  }
  return list;
}

bool contains(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

void OptionSet::take_names(const std::string& names, Option* option) const {
  for (const std::string& name : split_names(names)) {
    WEFT_CHECK(find(name) == nullptr, "option {} is declared twice", name);
    (name.rfind("--", 0) == 0 ? option->long_names : option->short_names).push_back(name);
  }
}

void OptionSet::also_called(std::string_view own_name, const std::string& names) {
  Option* option = find(own_name);
  WEFT_CHECK(option != nullptr, "no option {}", own_name);
  take_names(names, option);
}

void OptionSet::undone_by(std::string_view own_name, const std::string& names) {
  Option* option = find(own_name);
  WEFT_CHECK(option != nullptr && option->is_switch, "no switch {}", own_name);
  for (const std::string& name : split_names(names)) {
    WEFT_CHECK(find(name) == nullptr, "option {} is declared twice", name);
    option->opposite_names.push_back(name);
  }
}

void OptionSet::accept(const std::string& names, OptionText text, std::string value) {
  Option& option = declare(names, std::move(text));
  option.is_switch = value.empty();
  option.reset = [] {};
  option.assign = [only = std::move(value),
                   why = option.text.help](const auto& values) -> std::optional<std::string> {
    const bool holds = only.empty() ? parse_truth(values.back()) == true : values.back() == only;
    if (holds) return std::nullopt;
    return fmt::format("nothing but {} ({})", only.empty() ? "true" : only, why);
  };
}

void OptionSet::decline(const std::string& names, std::string why, std::string instead) {
  declined_.push_back({split_names(names), std::move(why), std::move(instead)});
}

void OptionSet::refuse_declined(std::string_view word) const {
  const std::string_view name = word.substr(0, word.find('='));
  for (const Declined& declined : declined_) {
    if (contains(declined.names, name))
      throw Error(ErrorKind::kUsage, fmt::format("weft {} has no {}", command_, name), declined.why,
                  declined.instead);
  }
}

OptionSet::Option* OptionSet::find(std::string_view name) {
  return const_cast<Option*>(std::as_const(*this).find(name));
}

const OptionSet::Option* OptionSet::find(std::string_view name) const {
  for (const Option& option : options_) {
    for (const auto* names : {&option.long_names, &option.short_names, &option.opposite_names}) {
      if (contains(*names, name)) return &option;
    }
  }
  return nullptr;
}

std::vector<std::string> OptionSet::all_names() const {
  std::vector<std::string> names;
  for (const Option& option : options_) {
    for (const auto* list : {&option.long_names, &option.opposite_names})
      names.insert(names.end(), list->begin(), list->end());
  }
  return names;
}

std::vector<std::string> OptionSet::variables() const {
  std::vector<std::string> names;
  for (const auto& [variable, help] : variables_) names.push_back(variable);
  return names;
}

std::vector<std::string> OptionSet::keys() const {
  std::vector<std::string> keys;
  for (const std::string& name : all_names()) keys.push_back(option_key(name));
  return keys;
}

// The option whose two-letter short name `word` is or begins with ("-tp", "-tp=3", "-tp3"), and
// what follows the name.
const OptionSet::Option* OptionSet::find_longer_short_name(const std::string& word,
                                                           std::string* rest) const {
  for (const Option& option : options_) {
    for (const std::string& name : option.short_names) {
      if (name.size() < 3 || word.rfind(name, 0) != 0) continue;
      *rest = word.substr(name.size());
      const bool ends = rest->empty() || rest->front() == '=' ||
                        std::isdigit(static_cast<unsigned char>(rest->front()));
      if (ends) return &option;
    }
  }
  return nullptr;
}

// The option that "--prompt=" gives an empty value. (CLI11 sees no value there.)
const OptionSet::Option* OptionSet::find_emptied(std::string_view word, std::string* rest) const {
  if (word.size() < 4 || word.substr(0, 2) != "--" || word.back() != '=') return nullptr;
  const Option* option = find(word.substr(0, word.size() - 1));
  if (option == nullptr || option->is_switch) return nullptr;
  rest->assign(1, '=');
  return option;
}

// CLI11 would read "-tp" as "-t" with the value "p", so such names become long ones here. A word
// that is the value of the option before it stays as it is; "--" ends the options.
OptionSet::Words OptionSet::expand_short_names(const std::vector<std::string>& arguments) const {
  Words words;
  bool is_value = false;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (is_value) {
      words.options.push_back(argument);
      is_value = false;
      continue;
    }
    if (argument == "--") {
      words.plain.assign(arguments.begin() + static_cast<std::ptrdiff_t>(i) + 1, arguments.end());
      break;
    }
    refuse_declined(argument);
    std::string rest;
    const Option* option = find_longer_short_name(argument, &rest);
    if (option == nullptr) option = find_emptied(argument, &rest);
    if (rest == "=" && !option->is_switch) {
      words.options.insert(words.options.end(), {option->own_name(), ""});
      continue;
    }
    if (option == nullptr) {
      option = find(argument);
      words.options.push_back(argument);
    } else {
      const bool is_glued = !rest.empty() && rest[0] != '=';  // -tp3
      words.options.push_back(fmt::format("{}{}{}", option->own_name(), is_glued ? "=" : "", rest));
    }
    is_value = option != nullptr && !option->is_switch && rest.empty();
  }
  return words;
}

std::string OptionSet::Option::sense_of(std::string_view name, const std::string& value) const {
  const std::optional<bool> truth =
      contains(opposite_names, name) ? parse_truth(value) : std::nullopt;
  return truth ? (*truth ? "false" : "true") : value;
}

std::string_view OptionSet::own_name(std::string_view name) const {
  const Option* option = find(name);
  WEFT_CHECK(option != nullptr, "no option {}", name);
  return option->own_name();
}

void OptionSet::refuse(const std::string& what, const std::string& why) const {
  throw Error(ErrorKind::kUsage, what, why, fmt::format("see weft {} --help", command_));
}

void OptionSet::refuse_unknown(const std::string& word) const {
  const std::string name = word.substr(0, word.find('='));
  if (contains(foreign_keys_, option_key(name)))
    refuse(fmt::format("weft {} has no option {}", command_, name), "only another command has it");
  refuse(fmt::format("unknown option {}{}", name,
                     did_you_mean(name, names_of_same_sense(name, all_names()))));
}

}  // namespace weft
