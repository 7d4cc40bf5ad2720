#include "cli/commands.h"

#include <fmt/format.h>

#include <algorithm>
#include <new>
#include <ostream>

#include "base/did_you_mean.h"
#include "base/error.h"
#include "cli/other_names.h"
#include "cli/version.h"
#include "hub/hub.h"

namespace weft::cli {
namespace {

using Commands = std::vector<std::unique_ptr<Command>>;

Commands all_commands() {
  Commands commands;
  commands.push_back(make_run_command());
  commands.push_back(make_serve_command());
  commands.push_back(make_inspect_command());
  commands.push_back(make_verify_command());
  commands.push_back(make_pull_command());
  commands.push_back(make_pack_command());
  commands.push_back(make_bench_batch_command());
  commands.push_back(make_bench_throughput_command());
  commands.push_back(make_bench_latency_command());
  commands.push_back(make_bench_serve_command());
  commands.push_back(make_bench_kernels_command());
  commands.push_back(make_bench_comm_command());
  for (const auto& command : commands) add_other_names(&command->options());
  return commands;
}

std::vector<std::string> names_of(const Commands& commands) {
  std::vector<std::string> names;
  for (const auto& command : commands) names.push_back(command->options().command());
  return names;
}

std::string overview(const Commands& commands) {
  std::string text =
      "weft runs one language model on any number of ranks, with the same bits for every split\n\n"
      "usage: weft COMMAND [options]\n\n";
  for (const auto& command : commands) {
    text += fmt::format("  {:<18}{}\n", command->options().command(), command->options().summary());
  }
  text +=
      "\n  weft COMMAND --help    the command's options\n"
      "  weft --version         version, compiler and kernel table\n"
      "\nexit codes: 1 lines of a file failed, 2 usage, 3 model, 4 memory, 5 communication, "
      "70 internal, 75 busy, 130 Ctrl-C\n";
  return text;
}

// "bench" alone names several commands: what they are; empty for any other name.
std::string overview_of_group(const Commands& commands, const std::string& name) {
  std::string lines;
  for (const auto& command : commands) {
    const std::string& whole = command->options().command();
    if (whole.starts_with(name + " "))
      lines +=
          fmt::format("  {:<18}{}\n", whole.substr(name.size() + 1), command->options().summary());
  }
  if (lines.empty()) return {};
  return fmt::format(
      "usage: weft {0} COMMAND [options]\n\n{1}\n  weft {0} COMMAND --help    the command's "
      "options\n",
      name, lines);
}

Command& find_command(const Commands& commands, const std::string& name) {
  for (const auto& command : commands) {
    if (command->options().command() == name) return *command;
  }
  throw Error(ErrorKind::kUsage,
              fmt::format("unknown command '{}'{}", name, did_you_mean(name, names_of(commands))),
              "", "weft --help lists the commands");
}

// How many of these words name the command: "bench batch" has two.
size_t words_of_command(const std::vector<std::string>& words) {
  return words[0] == "bench" && words.size() > 1 && !words[1].starts_with('-') ? 2 : 1;
}

std::string command_name(const std::vector<std::string>& words) {
  return words_of_command(words) == 2 ? words[0] + " " + words[1] : words[0];
}

int execute(const Commands& commands, Command& command, const std::vector<std::string>& arguments,
            const Context& context) {
  for (const auto& other : commands) {
    command.options().accept_keys(other->options().keys(), names_of(commands));
    command.options().accept_variables(other->options().variables());
  }
  // This project's own tests read these.
  command.options().accept_variables(
      {"WEFT_TEST_MODELS", "WEFT_TINY_MODELS", "WEFT_FULL_TESTS", "WEFT_PROGRAM"});
  const OptionSet::Outcome outcome = command.options().parse(arguments, context.environment);
  if (outcome.help) {
    context.console.out << command.options().help();
    return 0;
  }
  for (const std::string& warning : outcome.warnings) {
    context.console.err << "weft: warning: " << warning << "\n";
  }
  for (const std::string& note : outcome.notes) context.console.err << "weft: " << note << "\n";
  return command.execute(context);
}

bool asks_for_help(const std::string& word) {
  return word == "--help" || word == "-h" || word == "help";
}

std::string help_about(const Commands& commands, const std::vector<std::string>& topic) {
  if (topic.empty()) return overview(commands);
  const std::string group = topic.size() == 1 ? overview_of_group(commands, topic[0]) : "";
  return group.empty() ? find_command(commands, command_name(topic)).options().help() : group;
}

int dispatch(const std::vector<std::string>& arguments, const Context& context) {
  const Commands commands = all_commands();
  if (arguments.empty()) {
    context.console.err << overview(commands);
    return static_cast<int>(ErrorKind::kUsage);
  }
  const std::string& first = arguments[0];
  if (first == "--version" || first == "-V" || first == "version") {
    context.console.out << version_text(context.engine.isa());
    return 0;
  }
  if (asks_for_help(first)) {
    const std::vector<std::string> topic(arguments.begin() + 1, arguments.end());
    context.console.out << help_about(commands, topic);
    return 0;
  }
  const std::string group = overview_of_group(commands, first);
  if (!group.empty() && arguments.size() == 1) {  // as weft alone: nothing was asked for
    context.console.err << group;
    return static_cast<int>(ErrorKind::kUsage);
  }
  if (!group.empty() && asks_for_help(arguments[1])) {
    context.console.out << help_about(
        commands, arguments.size() > 2 ? std::vector{first, arguments[2]} : std::vector{first});
    return 0;
  }
  const auto rest = arguments.begin() + static_cast<std::ptrdiff_t>(words_of_command(arguments));
  return execute(commands, find_command(commands, command_name(arguments)), {rest, arguments.end()},
                 context);
}

}  // namespace

int run_program(const std::vector<std::string>& arguments, const Context& context) {
  const auto fail = [&](ErrorKind kind, std::string_view message) {
    context.console.out.flush();
    context.console.err << "weft: " << message << std::endl;
    return static_cast<int>(kind);
  };
  try {
    return dispatch(arguments, context);
  } catch (const Error& error) {
    return fail(error.kind(), error.what());
  } catch (const hub::Stopped&) {
    context.console.err << "stopped; what was fetched is kept for the next time" << std::endl;
    return kInterruptedExit;
  } catch (const std::bad_alloc&) {
    return fail(ErrorKind::kMemory, "out of memory");
  } catch (const std::exception& error) {
    return fail(ErrorKind::kInternal, fmt::format("internal error: {}", error.what()));
  }
}

}  // namespace weft::cli
