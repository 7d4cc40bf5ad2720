#include "cli/named_model.h"

#include <fmt/format.h>

#include <atomic>
#include <filesystem>
#include <ostream>

#include "base/error.h"
#include "cli/catalogue.h"
#include "cli/interrupt.h"
#include "hub/hub.h"

namespace weft::cli {
namespace {

hub::ModelName require_name(const std::string& typed) {
  if (const auto name = hub::parse_model_name(typed)) return *name;
  throw Error(ErrorKind::kUsage, fmt::format("'{}' is no name of a hub's model", typed),
              "a name is user/repo, user/repo:Q4_K_M or user/repo@revision");
}

std::string fetch(const hub::ModelName& name, const hub::Settings& settings, const Context& context,
                  bool quiet) {
  Console& console = context.console;
  std::ostream says(quiet ? nullptr : console.err.rdbuf());
  std::atomic<bool> stop{false};
  const InterruptAction interrupt(
      [](void* flag) { static_cast<std::atomic<bool>*>(flag)->store(true); }, &stop);
  return hub::fetch(name, settings, {says, console.err_is_terminal, stop}).string();
}

std::string obtain(const hub::ModelName& name, const Context& context, bool quiet) {
  const hub::Settings settings = hub::read_settings(context.environment);
  const auto cached = hub::find_cached(name, settings);
  std::string path = cached ? cached->string() : fetch(name, settings, context, quiet);
  const std::filesystem::path file(path);
  if (!quiet && name.quant.empty() && file.extension() == ".gguf")
    context.console.err << fmt::format(
                               "{} is {}{}", name.text(), file.filename().string(),
                               settings.offline ? ", the GGUF model of it that is here" : "")
                        << std::endl;
  return path;
}

}  // namespace

bool is_hub_name(const std::string& typed) {
  std::error_code ignored;
  if (std::filesystem::exists(typed, ignored)) return false;
  // Someone who names a file of a folder means one on this machine.
  const std::filesystem::path path(typed);
  const bool file = path.extension() == ".gguf" || path.extension() == ".safetensors";
  return (!file || typed.find(':') != std::string::npos) &&
         hub::parse_model_name(typed).has_value();
}

std::string obtain_model(const std::string& typed, const Context& context, bool quiet) {
  if (is_hub_name(typed)) return obtain(require_name(typed), context, quiet);
  return resolve_model(typed, context.environment);
}

std::string obtain_hub_model(const std::string& typed, const Context& context, bool quiet) {
  return obtain(require_name(typed), context, quiet);
}

std::string pull_hub_model(const std::string& typed, const Context& context, bool quiet) {
  return fetch(require_name(typed), hub::read_settings(context.environment), context, quiet);
}

std::string public_name(const std::string& typed) {
  std::error_code ignored;
  if (!std::filesystem::exists(typed, ignored)) return typed;
  const std::filesystem::path path = std::filesystem::weakly_canonical(typed, ignored);
  return path.extension() == ".gguf" ? path.stem() : path.filename();
}

}  // namespace weft::cli
