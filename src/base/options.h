// The options of one command, each declared once. One call gives an option its names, unit, help,
// limits and default; from it follow the flags, the environment variable, the key of the config
// file, the check of the range and the line of `--help`:
//
//   OptionSet options("run", "Answer a prompt, or chat in the terminal");
//   options.group("Splitting");
//   options.add("--tensor-parallel-size,--tp,-tp", &tp, {"N", "ranks that share every layer"}, 1,
//   64); options.parse(arguments, process_environment());
//
// The first long name is the option's own: its variable is WEFT_TENSOR_PARALLEL_SIZE, its key in
// the file `tensor-parallel-size` (dashes and underscores are one). Other long names work in all
// three places too. What decides: flag, then environment, then config file, then default; so it is
// too between two options that contradict each other (`exclude`).
//
// The config file is TOML: `--config FILE` (WEFT_CONFIG), otherwise weft/config.toml under
// $XDG_CONFIG_HOME where there is one. Keys at the top hold for every command, those of a table
// [run] for that command alone.
//
// CLI11 splits the command line into names and values; it knows no short name of two letters, so
// `-tp` becomes the long name before it looks. Values are converted here, so that one message
// serves all sources: it names the option, the value, where it came from and what is allowed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace weft {

struct OptionFileEntry;

using Environment = std::map<std::string, std::string, std::less<>>;
Environment process_environment();

// $XDG_CONFIG_HOME/weft/config.toml, or ~/.config/weft/config.toml; empty where neither is set.
std::filesystem::path default_config_path(const Environment& environment);

// Where an option's value came from, the weakest first. kCommandTable: the file's table of that
// command, which decides before the file's top.
enum class Origin { kDefault, kFile, kCommandTable, kEnvironment, kFlag };

struct OptionText {
  std::string unit = {};                  // "N", "FILE"; empty for a switch
  std::string help = {};                  // without a full stop; the default is added
  std::string unset = {};                 // what the default stands for: "all cores"
  std::vector<std::string> choices = {};  // of a string; empty: any
  bool may_be_empty = true;               // of a text; otherwise an empty one is refused
};

class OptionSet {
 public:
  OptionSet(std::string command, std::string summary);

  // Heading of the options that follow.
  void group(std::string heading);

  // names: long ones first, separated by commas: "--max-tokens,-n". The target holds the default
  // until parse() and must outlive it. Of an option given several times the last counts. Whole
  // numbers may end in k, m, g (thousands) or K, M, G (powers of 1024).
  void add(const std::string& names, bool* target, OptionText text);
  void add(const std::string& names, int* target, OptionText text,
           int min = std::numeric_limits<int>::min(), int max = std::numeric_limits<int>::max());
  void add(const std::string& names, int64_t* target, OptionText text,
           int64_t min = std::numeric_limits<int64_t>::min(),
           int64_t max = std::numeric_limits<int64_t>::max());
  void add(const std::string& names, uint64_t* target, OptionText text);
  void add(const std::string& names, float* target, OptionText text, float min, float max);
  void add(const std::string& names, std::string* target, OptionText text);
  void add(const std::string& names, std::optional<std::string>* target, OptionText text);
  // May be given several times. From the environment: one element.
  void add(const std::string& names, std::vector<std::string>* target, OptionText text);

  // Arguments without a dash: exactly one, or (list) one and more.
  // instead: an option's own name; where that flag is given, the argument may be missing.
  void positional(std::string name, std::string* target, std::string help,
                  std::string instead = {});
  void positional(std::string name, std::vector<std::string>* target, std::string help);

  // The last positional of one word may be given by an option as well: "--model,-m".
  void name_positional(const std::string& names, OptionText text);

  // More names for an option, as other programs call it.
  void also_called(std::string_view own_name, const std::string& names);
  // Long names that say the opposite of a switch: --enable-x of --no-x. In all three places.
  void undone_by(std::string_view own_name, const std::string& names);
  // An option of other programs that asks for what holds anyway: a switch, or one that has no value
  // but `value`. The text's help says why.
  void accept(const std::string& names, OptionText text, std::string value = {});
  // Options of other programs without a counterpart: who gives one is told why, and what to do.
  void decline(const std::string& names, std::string why, std::string instead);
  bool has(std::string_view name) const { return find(name) != nullptr; }
  // The name under which an option was declared, by any of its names.
  std::string_view own_name(std::string_view name) const;

  // Where this switch is given as a flag, no argument without a dash is needed.
  void stands_alone(std::string name) { alone_ = std::move(name); }

  // Two options that say different things about one matter: where they come from different sources
  // the weaker one is as good as not given, and a note says so. Two of one source are the command's
  // to refuse. differ: whether they contradict each other, asked when both have their values; none:
  // they always do.
  void exclude(std::string_view one, std::string_view other, std::function<bool()> differ = {});

  // A variable that has no flag; for the help alone.
  void environment_only(std::string variable, std::string help);

  // Keys and tables of the config file that are other commands' business and no mistake here.
  void accept_keys(const std::vector<std::string>& keys, const std::vector<std::string>& tables);
  // Variables that are others' business. (WEFT_BUILD_... always are.)
  void accept_variables(const std::vector<std::string>& variables);

  struct Outcome {
    bool help = false;                  // --help was asked for: no target was touched
    std::vector<std::string> warnings;  // variables that mean nothing
    std::vector<std::string> notes;     // options that lost to one that contradicts them
  };
  // arguments: what follows the command. Throws Error(kUsage).
  Outcome parse(const std::vector<std::string>& arguments, const Environment& environment);

  Origin origin(std::string_view own_name) const;  // after parse(); "--max-tokens"
  std::string help() const;

  const std::string& command() const { return command_; }
  const std::string& summary() const { return summary_; }
  // Long names without their dashes.
  std::vector<std::string> keys() const;
  // Those that have no flag.
  std::vector<std::string> variables() const;

 private:
  struct Option {
    std::vector<std::string> long_names;           // "--tensor-parallel-size"
    std::vector<std::string> short_names;          // "-t", "-tp"
    std::vector<std::string> opposite_names = {};  // "--enable-x" of the switch "--no-x"
    std::string heading;
    OptionText text;
    std::string default_text;
    bool is_switch = false, is_list = false;
    // Converts and stores; the returned text says what is expected where the value is refused.
    std::function<std::optional<std::string>(const std::vector<std::string>& values)> assign;
    std::function<void()> reset;  // back to the default
    Origin origin = Origin::kDefault;
    std::string place;  // " (from WEFT_TP)"; empty for a flag

    const std::string& own_name() const { return long_names.front(); }
    std::string own_variable() const;
    // What a value means that came under this name: its opposite, where the name says it.
    std::string sense_of(std::string_view name, const std::string& value) const;
  };
  struct Positional {
    std::string name, help;
    std::string* single = nullptr;
    std::vector<std::string>* list = nullptr;
    std::string instead = {};
    std::string option = {};  // own name of the option that gives it, too
  };
  struct Declined {
    std::vector<std::string> names;
    std::string why, instead;
  };
  struct Exclusion {
    std::string one, other;
    std::function<bool()> differ;
  };

  Option& declare(const std::string& names, OptionText text);
  template <typename T>
  Option& declare(const std::string& names, T* target, OptionText text);
  void take_names(const std::string& names, Option* option) const;
  Option* find(std::string_view name);
  const Option* find(std::string_view name) const;
  std::vector<std::string> all_names() const;
  const Option* find_longer_short_name(const std::string& word, std::string* rest) const;
  const Option* find_emptied(std::string_view word, std::string* rest) const;
  struct Words {
    std::vector<std::string> options, plain;  // before and after "--"
  };
  Words expand_short_names(const std::vector<std::string>& arguments) const;
  // What CLI11 found: values per option (in declaration order), and the rest.
  struct Split {
    std::vector<std::vector<std::string>> values;
    std::vector<std::string> positionals;
  };
  Split split(const std::vector<std::string>& arguments) const;
  [[noreturn]] void refuse(const std::string& what, const std::string& why = {}) const;
  [[noreturn]] void refuse_unknown(const std::string& word) const;
  void refuse_declined(std::string_view word) const;
  void take_word(const Positional& positional, const std::string& word);
  void take_positionals(const std::vector<std::string>& words);
  // Once all sources were read. num_words: how many came without an option.
  void require_positionals(size_t num_words) const;
  void take_environment(const Environment& environment);
  std::vector<std::string> unknown_variables(const Environment& environment) const;
  void take_file(const std::filesystem::path& path, std::vector<std::string>* notes);
  void take_entry(const OptionFileEntry& entry, const std::string& place);
  // Puts options back to their defaults that lost to one of a stronger source.
  void settle(std::vector<std::string>* notes);
  void store(Option& option, const std::vector<std::string>& values, Origin origin,
             const std::string& place);
  std::string usage_line() const;
  std::vector<std::string> headings() const;  // in the order of the help
  static std::string help_entry(const Option& option);

  std::string command_, summary_, heading_;
  std::vector<Option> options_;
  std::vector<Positional> positionals_;
  std::vector<std::pair<std::string, std::string>> variables_;
  std::vector<Exclusion> exclusions_;
  std::vector<Declined> declined_;
  std::vector<std::string> foreign_keys_, foreign_tables_, foreign_variables_;
  bool help_ = false;
  std::string config_file_;
  std::string alone_;
};

}  // namespace weft
