#include "base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>

#include <algorithm>
#include <iterator>
#include <memory>

#include "base/error.h"

namespace weft {
namespace {

struct Level {
  std::string_view name;
  spdlog::level::level_enum value;
};

constexpr Level kLevels[] = {{"debug", spdlog::level::debug},
                             {"info", spdlog::level::info},
                             {"warn", spdlog::level::warn},
                             {"error", spdlog::level::err},
                             {"off", spdlog::level::off}};

}  // namespace

void start_log(std::string_view level) {
  const auto* found = std::find_if(std::begin(kLevels), std::end(kLevels),
                                   [&](const Level& each) { return each.name == level; });
  if (found == std::end(kLevels))
    throw Error(ErrorKind::kUsage, fmt::format("unknown log level '{}'", level),
                "the levels are debug, info, warn, error and off");
  auto sink = std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
  auto logger = std::make_shared<spdlog::logger>("weft", std::move(sink));
  logger->set_level(found->value);
  // Time of day to the millisecond, level, text: a line is read beside those of other programs.
  logger->set_pattern("%H:%M:%S.%e %^%-5l%$ %v");
  logger->flush_on(spdlog::level::warn);
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace weft
