#include "base/options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>

#include "base/did_you_mean.h"
#include "base/error.h"
#include "base/option_values.h"

namespace weft {

std::string OptionSet::Option::own_variable() const { return option_variable(own_name()); }

OptionSet::OptionSet(std::string command, std::string summary)
    : command_(std::move(command)), summary_(std::move(summary)) {
  group("General");
  add("--help,-h", &help_, {"", "show this help and end"});
  add("--config", &config_file_,
      {.unit = "FILE",
       .help = "TOML file with options",
       .unset = "weft/config.toml under $XDG_CONFIG_HOME, if present",
       .may_be_empty = false});
  group("Options");
}

void OptionSet::group(std::string heading) { heading_ = std::move(heading); }

OptionSet::Option& OptionSet::declare(const std::string& names, OptionText text) {
  Option option;
  size_t begin = 0;
  while (begin <= names.size()) {
    const size_t end = std::min(names.find(',', begin), names.size());
    const std::string name = names.substr(begin, end - begin);
    WEFT_CHECK(find(name) == nullptr, "option {} is declared twice", name);
    (name.rfind("--", 0) == 0 ? option.long_names : option.short_names).push_back(name);
    begin = end + 1;
  }
  WEFT_CHECK(!option.long_names.empty(), "option '{}' has no long name", names);
  option.heading = heading_;
  option.text = std::move(text);
  options_.push_back(std::move(option));
  return options_.back();
}

template <typename T>
OptionSet::Option& OptionSet::declare(const std::string& names, T* target, OptionText text) {
  Option& option = declare(names, std::move(text));
  option.reset = [target, usual = *target] { *target = usual; };
  return option;
}

void OptionSet::add(const std::string& names, bool* target, OptionText text) {
  Option& option = declare(names, target, std::move(text));
  option.is_switch = true;
  option.assign = [target](const auto& values) -> std::optional<std::string> {
    const auto value = parse_truth(values.back());
    if (!value) return "true or false";
    *target = *value;
    return std::nullopt;
  };
}

void OptionSet::add(const std::string& names, int* target, OptionText text, int min, int max) {
  Option& option = declare(names, target, std::move(text));
  option.default_text = fmt::format("{}", *target);
  option.assign = [=](const auto& values) -> std::optional<std::string> {
    const auto value = parse_whole_number(values.back());
    using Limits = std::numeric_limits<int>;
    if (!value || *value < min || *value > max) {
      return describe_range(min, max, Limits::min(), Limits::max());
    }
    *target = static_cast<int>(*value);
    return std::nullopt;
  };
}

void OptionSet::add(const std::string& names, int64_t* target, OptionText text, int64_t min,
                    int64_t max) {
  Option& option = declare(names, target, std::move(text));
  option.default_text = fmt::format("{}", *target);
  option.assign = [=](const auto& values) -> std::optional<std::string> {
    const auto value = parse_whole_number(values.back());
    using Limits = std::numeric_limits<int64_t>;
    if (!value || *value < min || *value > max) {
      return describe_range(min, max, Limits::min(), Limits::max());
    }
    *target = *value;
    return std::nullopt;
  };
}

void OptionSet::add(const std::string& names, uint64_t* target, OptionText text) {
  Option& option = declare(names, target, std::move(text));
  option.default_text = fmt::format("{}", *target);
  option.assign = [target](const auto& values) -> std::optional<std::string> {
    const auto value = parse_unsigned(values.back());
    if (!value) return fmt::format("a whole number from 0 to {}", UINT64_MAX);
    *target = *value;
    return std::nullopt;
  };
}

void OptionSet::add(const std::string& names, float* target, OptionText text, float min,
                    float max) {
  Option& option = declare(names, target, std::move(text));
  option.default_text = fmt::format("{}", *target);
  option.assign = [=](const auto& values) -> std::optional<std::string> {
    const auto value = parse_number(values.back());
    if (!value || *value < min || *value > max) {
      return fmt::format("a number from {} to {}", min, max);
    }
    *target = static_cast<float>(*value);
    return std::nullopt;
  };
}

void OptionSet::add(const std::string& names, std::string* target, OptionText text) {
  Option& option = declare(names, target, std::move(text));
  option.default_text = *target;
  const std::vector<std::string> choices = option.text.choices;
  option.assign = [=](const auto& values) -> std::optional<std::string> {
    const std::string& value = values.back();
    if (!choices.empty() && std::find(choices.begin(), choices.end(), value) == choices.end()) {
      return fmt::format("one of {}{}", fmt::join(choices, ", "), did_you_mean(value, choices));
    }
    *target = value;
    return std::nullopt;
  };
}

void OptionSet::add(const std::string& names, std::optional<std::string>* target, OptionText text) {
  declare(names, target, std::move(text)).assign = [target](const auto& values) {
    *target = values.back();
    return std::optional<std::string>();
  };
}

void OptionSet::add(const std::string& names, std::vector<std::string>* target, OptionText text) {
  Option& option = declare(names, target, std::move(text));
  option.is_list = true;
  option.assign = [target](const auto& values) {
    *target = values;
    return std::optional<std::string>();
  };
}

void OptionSet::positional(std::string name, std::string* target, std::string help,
                           std::string instead) {
  positionals_.push_back({std::move(name), std::move(help), target, nullptr, std::move(instead)});
}

void OptionSet::positional(std::string name, std::vector<std::string>* target, std::string help) {
  positionals_.push_back({std::move(name), std::move(help), nullptr, target, {}});
}

void OptionSet::environment_only(std::string variable, std::string help) {
  variables_.emplace_back(std::move(variable), std::move(help));
}

void OptionSet::exclude(std::string_view one, std::string_view other,
                        std::function<bool()> differ) {
  WEFT_CHECK(find(one) != nullptr && find(other) != nullptr, "no option {} or {}", one, other);
  exclusions_.push_back({std::string(one), std::string(other), std::move(differ)});
}

void OptionSet::accept_variables(const std::vector<std::string>& variables) {
  foreign_variables_.insert(foreign_variables_.end(), variables.begin(), variables.end());
}

void OptionSet::accept_keys(const std::vector<std::string>& keys,
                            const std::vector<std::string>& tables) {
  foreign_keys_.insert(foreign_keys_.end(), keys.begin(), keys.end());
  foreign_tables_.insert(foreign_tables_.end(), tables.begin(), tables.end());
}

OptionSet::Option* OptionSet::find(std::string_view name) {
  return const_cast<Option*>(std::as_const(*this).find(name));
}

const OptionSet::Option* OptionSet::find(std::string_view name) const {
  for (const Option& option : options_) {
    for (const auto* names : {&option.long_names, &option.short_names}) {
      if (std::find(names->begin(), names->end(), name) != names->end()) return &option;
    }
  }
  return nullptr;
}

std::vector<std::string> OptionSet::all_names() const {
  std::vector<std::string> names;
  for (const Option& option : options_) {
    names.insert(names.end(), option.long_names.begin(), option.long_names.end());
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
  if (option != nullptr) *rest = "=";
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
      if (!rest.empty() && rest[0] != '=') rest.insert(0, "=");
      words.options.push_back(option->own_name() + rest);
    }
    is_value = option != nullptr && !option->is_switch && rest.empty();
  }
  return words;
}

void OptionSet::refuse(const std::string& what, const std::string& why) const {
  throw Error(ErrorKind::kUsage, what, why, fmt::format("see weft {} --help", command_));
}

void OptionSet::refuse_unknown(const std::string& word) const {
  const std::string name = word.substr(0, word.find('='));
  if (std::find(foreign_keys_.begin(), foreign_keys_.end(), option_key(name)) !=
      foreign_keys_.end()) {
    refuse(fmt::format("weft {} has no option {}", command_, name), "only another command has it");
  }
  refuse(fmt::format("unknown option {}{}", name, did_you_mean(name, all_names())));
}

OptionSet::Split OptionSet::split(const std::vector<std::string>& arguments) const {
  CLI::App app;
  app.set_help_flag();
  app.allow_extras();
  std::vector<CLI::Option*> handles;
  for (const Option& option : options_) {
    std::vector<std::string> names = option.long_names;
    for (const std::string& name : option.short_names) {
      if (name.size() == 2) names.push_back(name);
    }
    const std::string joined = fmt::format("{}", fmt::join(names, ","));
    CLI::Option* handle =
        option.is_switch ? app.add_flag(joined) : app.add_option(joined)->expected(1);
    handle->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    if (!option.is_switch) handle->expected(1)->allow_extra_args(false);
    handles.push_back(handle);
  }
  Split split;
  app.add_option("words", split.positionals)->expected(0, 1 << 20);
  Words words = expand_short_names(arguments);
  // CLI11 takes a vector from its end.
  std::reverse(words.options.begin(), words.options.end());
  try {
    app.parse(words.options);
  } catch (const CLI::ArgumentMismatch& error) {
    const std::string text = error.what();
    refuse(fmt::format("{} needs a value", text.substr(0, text.find(':'))));
  } catch (const CLI::ParseError& error) {
    refuse(error.what());
  }
  if (!app.remaining().empty()) refuse_unknown(app.remaining().front());
  for (const CLI::Option* handle : handles) split.values.push_back(handle->results());
  split.positionals.insert(split.positionals.end(), words.plain.begin(), words.plain.end());
  return split;
}

void OptionSet::take_positionals(const std::vector<std::string>& words) const {
  if (words.empty() && !alone_.empty() && origin(alone_) == Origin::kFlag) return;
  size_t next = 0;
  for (const Positional& positional : positionals_) {
    if (next >= words.size() && !positional.instead.empty() &&
        origin(positional.instead) == Origin::kFlag)
      continue;
    if (next >= words.size()) {
      refuse(fmt::format("{} is missing", positional.name), fmt::format("usage: {}", usage_line()));
    }
    if (positional.single != nullptr) *positional.single = words[next++];
    if (positional.list != nullptr) {
      positional.list->assign(words.begin() + static_cast<std::ptrdiff_t>(next), words.end());
      next = words.size();
    }
  }
  if (next < words.size()) {
    refuse(fmt::format("unexpected argument '{}'", words[next]),
           fmt::format("usage: {}", usage_line()));
  }
}

}  // namespace weft
