#include "cli/bench_report.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <ostream>

#include "base/error.h"

namespace weft::cli {
namespace {

using Json = nlohmann::ordered_json;

std::string text_of(const Json& object, int indent) {
  return object.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

void BenchOutput::declare(OptionSet* options) {
  options->group("Output");
  options->add("--json", &json, {"", "one JSON object on standard output and nothing else"});
  options->add("--quiet,-q", &quiet, {"", "no banner and no progress"});
  options->add(
      "--output-json", &file,
      {.unit = "FILE", .help = "the JSON object into a file as well", .may_be_empty = false});
}

void BenchOutput::check() const {
  if (file && !std::ofstream(*file, std::ios::app))
    throw Error(ErrorKind::kUsage, fmt::format("{} cannot be written", *file), std::strerror(errno),
                "name another file with --output-json");
}

void BenchOutput::write(const Json& object, const std::vector<std::string>& lines,
                        Console& console) const {
  if (file) {
    std::ofstream out(*file);
    out << text_of(object, 1) << "\n";
    out.close();
    if (!out)
      throw Error(ErrorKind::kUsage, fmt::format("{} could not be written", *file),
                  std::strerror(errno));
  }
  if (json) {
    console.out << text_of(object, -1) << std::endl;
    return;
  }
  for (const std::string& line : lines) console.out << line << "\n";
  console.out.flush();
}

BenchConsole::BenchConsole(const Context& given, bool quiet)
    : given_(given),
      console_{given.console.in,
               given.console.out,
               quiet ? unheard_ : given.console.err,
               given.console.in_is_terminal,
               given.console.out_is_terminal,
               given.console.err_is_terminal,
               given.console.look_at_in} {}

Json model_json(const engine::Engine& engine) {
  return {{"model", engine.model().path},
          {"file_type", engine.model().file_type},
          {"topology", engine.split().topology},
          {"threads_per_rank", engine.threads_per_rank()},
          {"load_s", engine.load_seconds()}};
}

}  // namespace weft::cli
