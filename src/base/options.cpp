#include "base/options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>

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
  take_names(names, &option);
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
    if (!value) return "a whole number of at least 0, below 2^64";
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
    if (!value || *value < min || *value > max) return describe_range(min, max);
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
  positionals_.push_back(
      {std::move(name), std::move(help), target, nullptr, std::move(instead), {}});
}

void OptionSet::name_positional(const std::string& names, OptionText text) {
  WEFT_CHECK(!positionals_.empty() && positionals_.back().single != nullptr);
  add(names, positionals_.back().single, std::move(text));
  positionals_.back().option = options_.back().own_name();
}

void OptionSet::positional(std::string name, std::vector<std::string>* target, std::string help) {
  positionals_.push_back({std::move(name), std::move(help), nullptr, target, {}, {}});
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
    for (const std::string& name : option.opposite_names) names.push_back("!" + name);
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

// A word in a positional's place is as good as the flag that names it, and wins over any variable.
void OptionSet::take_word(const Positional& positional, const std::string& word) {
  Option* option = positional.option.empty() ? nullptr : find(positional.option);
  if (option != nullptr && option->origin == Origin::kFlag && *positional.single != word)
    throw Error(ErrorKind::kUsage,
                fmt::format("{} is {} and {} is {}", positional.name, word, positional.option,
                            *positional.single),
                "", "give one of the two");
  *positional.single = word;
  if (option != nullptr) option->origin = Origin::kFlag;
}

void OptionSet::take_positionals(const std::vector<std::string>& words) {
  size_t next = 0;
  for (const Positional& positional : positionals_) {
    if (next >= words.size()) break;
    if (positional.single != nullptr) take_word(positional, words[next++]);
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

void OptionSet::require_positionals(size_t num_words) const {
  if (num_words == 0 && !alone_.empty() && origin(alone_) == Origin::kFlag) return;
  for (size_t i = num_words; i < positionals_.size(); ++i) {
    const Positional& positional = positionals_[i];
    const bool by_other =
        !positional.instead.empty() && origin(positional.instead) == Origin::kFlag;
    const bool by_name =
        !positional.option.empty() && origin(positional.option) != Origin::kDefault;
    if (!by_other && !by_name)
      refuse(fmt::format("{} is missing", positional.name), fmt::format("usage: {}", usage_line()));
  }
}

}  // namespace weft
