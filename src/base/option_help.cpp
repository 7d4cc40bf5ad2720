// The text of `weft COMMAND --help`: options in their groups, each with its variable.
#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "base/options.h"

namespace weft {
namespace {

constexpr size_t kHelpColumn = 34;  // where the words begin; longer names get a line of their own
constexpr size_t kHelpWidth = 100;

// `text` broken at spaces, each line after the first indented to the help column.
std::string wrapped(const std::string& text) {
  std::istringstream words(text);
  std::string word, out;
  size_t column = kHelpColumn;
  while (words >> word) {
    if (column > kHelpColumn && column + 1 + word.size() > kHelpWidth) {
      out += "\n" + std::string(kHelpColumn, ' ');
      column = kHelpColumn;
    }
    if (column > kHelpColumn) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
  }
  return out;
}

std::string entry(const std::string& left, const std::string& right) {
  const std::string indented = "  " + left;
  const bool fits = indented.size() + 1 < kHelpColumn;
  const std::string gap =
      fits ? std::string(kHelpColumn - indented.size(), ' ') : "\n" + std::string(kHelpColumn, ' ');
  return indented + gap + wrapped(right) + "\n";
}

}  // namespace

std::string OptionSet::usage_line() const {
  std::string line = "weft " + command_;
  for (const Positional& positional : positionals_) {
    line += " " + positional.name + (positional.list != nullptr ? "..." : "");
  }
  return line + " [options]";
}

// What is the same for every command comes last.
std::vector<std::string> OptionSet::headings() const {
  std::vector<std::string> headings;
  for (const Option& option : options_) {
    if (std::find(headings.begin(), headings.end(), option.heading) == headings.end()) {
      headings.push_back(option.heading);
    }
  }
  std::rotate(headings.begin(), headings.begin() + 1, headings.end());
  return headings;
}

std::string OptionSet::help_entry(const Option& option) {
  std::vector<std::string> names = option.long_names;
  names.insert(names.end(), option.short_names.begin(), option.short_names.end());
  std::string left = fmt::format("{}", fmt::join(names, ", "));
  if (!option.text.unit.empty()) left += " " + option.text.unit;
  std::string right = option.text.help;
  if (!option.text.choices.empty()) {
    right += fmt::format("; one of {}", fmt::join(option.text.choices, ", "));
  }
  if (!option.opposite_names.empty())
    right += fmt::format("; {} says the opposite", fmt::join(option.opposite_names, ", "));
  const std::string& usual = option.text.unset.empty() ? option.default_text : option.text.unset;
  if (!usual.empty()) right += fmt::format(" (default: {})", usual);
  if (option.own_name() != "--help") right += fmt::format(" [{}]", option.own_variable());
  return entry(left, right);
}

std::string OptionSet::help() const {
  std::string text = fmt::format("weft {}: {}\n\nusage: {}\n", command_, summary_, usage_line());
  for (const Positional& positional : positionals_) text += entry(positional.name, positional.help);
  for (const std::string& heading : headings()) {
    text += "\n" + heading + ":\n";
    for (const Option& option : options_) {
      if (option.heading == heading) text += help_entry(option);
    }
  }
  if (!variables_.empty()) {
    text += "\nEnvironment only:\n";
    for (const auto& [variable, help] : variables_) text += entry(variable, help);
  }
  text +=
      "\nA flag wins over the environment ([WEFT_...]), that over the config file (TOML, keys "
      "named\n"
      "like the flags), and that over the default; so it is too where two options contradict each\n"
      "other.\n";
  return text;
}

}  // namespace weft
