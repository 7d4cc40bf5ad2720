// Where the values of options come from: flags, then the environment, then the config file.
#include <fmt/format.h>

#include <algorithm>

#include "base/did_you_mean.h"
#include "base/error.h"
#include "base/option_file.h"
#include "base/option_values.h"
#include "base/options.h"

extern char** environ;

namespace weft {

Environment process_environment() {
  Environment environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view line(*entry);
    const size_t equals = line.find('=');
    if (equals == std::string_view::npos) continue;
    environment.emplace(line.substr(0, equals), line.substr(equals + 1));
  }
  return environment;
}

std::filesystem::path default_config_path(const Environment& environment) {
  const auto value = [&](const char* name) {
    const auto found = environment.find(name);
    return found == environment.end() ? std::string() : found->second;
  };
  // The XDG base directory specification: a relative path is to be ignored.
  const std::filesystem::path xdg = value("XDG_CONFIG_HOME"), home = value("HOME");
  if (xdg.is_absolute()) return xdg / "weft" / "config.toml";
  if (!home.empty()) return home / ".config" / "weft" / "config.toml";
  return {};
}

void OptionSet::store(Option& option, const std::vector<std::string>& values, Origin origin,
                      const std::string& place) {
  const bool any_empty = std::find(values.begin(), values.end(), "") != values.end();
  if (any_empty && !option.text.may_be_empty) {
    refuse(fmt::format("{} is empty{}", option.own_name(), place),
           fmt::format("{} is expected; leave the option out for none", option.text.unit));
  }
  const std::optional<std::string> expected = option.assign(values);
  if (!expected) {
    option.origin = origin;
    option.place = place;
    return;
  }
  // Only the last of several values was looked at.
  const std::string again =
      values.size() > 1
          ? fmt::format(" (given {}: {}; the last one counts)",
                        values.size() == 2 ? "twice" : fmt::format("{} times", values.size()),
                        fmt::join(values, ", "))
          : "";
  const std::string found = values.back().empty() ? "empty" : fmt::format("'{}'", values.back());
  refuse(fmt::format("{} is {}{}{}", option.own_name(), found, again, place),
         fmt::format("{} is expected", *expected));
}

void OptionSet::take_environment(const Environment& environment) {
  for (Option& option : options_) {
    for (const auto* names : {&option.long_names, &option.opposite_names}) {
      for (const std::string& name : *names) {
        const std::string variable = option_variable(name);
        const auto found = environment.find(variable);
        const bool given = found != environment.end() && !found->second.empty();
        if (!given || option.origin != Origin::kDefault) continue;
        store(option, {option.sense_of(name, found->second)}, Origin::kEnvironment,
              fmt::format(" (from {})", variable));
      }
    }
  }
}

// The nearest known one is sought without WEFT_, which is no likeness.
std::vector<std::string> OptionSet::unknown_variables(const Environment& environment) const {
  constexpr std::string_view kPrefix = "WEFT_", kBuildPrefix = "WEFT_BUILD_";
  std::vector<std::string> known;
  for (const auto& list : {keys(), foreign_keys_}) {
    for (const std::string& key : list) known.push_back(option_variable(key));
  }
  for (const auto& list : {variables(), foreign_variables_}) {
    known.insert(known.end(), list.begin(), list.end());
  }
  std::vector<std::string> words;
  for (const std::string& variable : known) words.push_back(variable.substr(kPrefix.size()));
  std::vector<std::string> warnings;
  for (const auto& [variable, value] : environment) {
    if (!variable.starts_with(kPrefix) || variable.starts_with(kBuildPrefix)) continue;
    if (std::find(known.begin(), known.end(), variable) != known.end()) continue;
    const std::string word = variable.substr(kPrefix.size());
    const auto near = closest_word(word, names_of_same_sense(word, words));
    warnings.push_back(fmt::format("the variable {} is unknown and counts for nothing ({})",
                                   variable,
                                   near ? fmt::format("did you mean {}{}?", kPrefix, *near)
                                        : fmt::format("weft {} --help lists them", command_)));
  }
  return warnings;
}

void OptionSet::take_file(const std::filesystem::path& path, std::vector<std::string>* notes) {
  const std::vector<OptionFileEntry> entries = read_option_file(path);
  // The command's own table comes first: what it sets, the top of the file does not set again.
  for (const bool top : {false, true}) {
    for (const OptionFileEntry& entry : entries) {
      if (entry.table.empty() == top) {
        take_entry(entry, fmt::format("{}, line {}", path.string(), entry.line));
      }
    }
    settle(notes);
  }
}

void OptionSet::take_entry(const OptionFileEntry& entry, const std::string& place) {
  const auto contains = [](const auto& list, const std::string& item) {
    return std::find(list.begin(), list.end(), item) != list.end();
  };
  const bool top = entry.table.empty();
  if (!top && entry.table != command_) {
    if (contains(foreign_tables_, entry.table)) return;
    refuse(fmt::format("{}: unknown table [{}]{}", place, entry.table,
                       did_you_mean(entry.table, foreign_tables_)),
           "a table is named after a command");
  }
  const std::string name = "--" + option_key(entry.key);
  Option* option = find(name);
  if (option == nullptr) {
    if (top && contains(foreign_keys_, option_key(entry.key))) return;
    refuse_declined(name);
    refuse(fmt::format("{}: unknown option '{}'{}", place, entry.key,
                       did_you_mean(entry.key, names_of_same_sense(entry.key, keys()))));
  }
  if (option->origin != Origin::kDefault) return;
  std::vector<std::string> values = entry.values;
  // pp = [13, 13, 4] reads as the list that the flag takes.
  if (!option->is_list)
    values = {option->sense_of(name, fmt::format("{}", fmt::join(entry.values, ",")))};
  store(*option, values, top ? Origin::kFile : Origin::kCommandTable,
        fmt::format(" (from {})", place));
}

void OptionSet::settle(std::vector<std::string>* notes) {
  for (const Exclusion& exclusion : exclusions_) {
    Option *weaker = find(exclusion.one), *stronger = find(exclusion.other);
    if (weaker->origin > stronger->origin) std::swap(weaker, stronger);
    const bool lost = weaker->origin != Origin::kDefault && weaker->origin != stronger->origin;
    if (!lost || (exclusion.differ && !exclusion.differ())) continue;
    const bool flag = stronger->origin == Origin::kFlag;
    notes->push_back(fmt::format("{}{} is left out: it contradicts {}{}", weaker->own_name(),
                                 weaker->place, stronger->own_name(),
                                 flag ? " on the command line" : stronger->place));
    weaker->reset();
    weaker->origin = Origin::kDefault;
  }
}

OptionSet::Outcome OptionSet::parse(const std::vector<std::string>& arguments,
                                    const Environment& environment) {
  const Split parts = split(arguments);
  const size_t help_index = static_cast<size_t>(find("--help") - options_.data());
  Outcome outcome;
  outcome.help = !parts.values[help_index].empty();
  if (outcome.help) return outcome;
  for (size_t i = 0; i < options_.size(); ++i) {
    if (!parts.values[i].empty()) store(options_[i], parts.values[i], Origin::kFlag, "");
  }
  take_positionals(parts.positionals);
  outcome.warnings = unknown_variables(environment);
  take_environment(environment);
  settle(&outcome.notes);
  const std::filesystem::path usual = default_config_path(environment);
  if (!config_file_.empty()) {
    take_file(config_file_, &outcome.notes);
  } else if (!usual.empty() && std::filesystem::exists(usual)) {
    take_file(usual, &outcome.notes);
  }
  require_positionals(parts.positionals.size());
  return outcome;
}

Origin OptionSet::origin(std::string_view own_name) const {
  const Option* option = find(own_name);
  WEFT_CHECK(option != nullptr, "no option {}", own_name);
  return option->origin;
}

}  // namespace weft
