// Lines for whoever runs the program, on standard error; standard output belongs to the answers.
// A thin face over spdlog: its default logger is the one place where the process's log goes.
// Nobody waits for whoever reads the log (line_writer.h): where 1 MiB waits to be read, further
// lines are dropped, and a line says how many once there is room again. Thread-safe. Not for hot
// paths: a line formats and takes a lock.
#pragma once

#include <spdlog/spdlog.h>

#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <utility>
#include <variant>

namespace weft {

// Text: time, level, message. JSON: an object a line, {"time","level","message"} and fields.
enum class LogForm { kText, kJson };

// level: "debug", "info", "warn", "error" or "off"; Error(kUsage) naming the levels otherwise.
// Called once, before other threads start; until then spdlog's own defaults hold.
void start_log(std::string_view level, LogForm form = LogForm::kText);

// Until every line is written; false where its reader takes longer. For the end of the program.
bool finish_log(std::chrono::milliseconds patience);

// Something that happened, with its figures by name: "message name=value ..." as text, members of
// the line's object as JSON. At level info.
struct LogField {
  std::string_view name;
  std::variant<std::string_view, int64_t, double> value;
};
void log_event(std::string_view message, std::initializer_list<LogField> fields);

template <typename... Args>
void log_debug(fmt::format_string<Args...> text, Args&&... args) {
  spdlog::debug(text, std::forward<Args>(args)...);
}

template <typename... Args>
void log_info(fmt::format_string<Args...> text, Args&&... args) {
  spdlog::info(text, std::forward<Args>(args)...);
}

template <typename... Args>
void log_warn(fmt::format_string<Args...> text, Args&&... args) {
  spdlog::warn(text, std::forward<Args>(args)...);
}

template <typename... Args>
void log_error(fmt::format_string<Args...> text, Args&&... args) {
  spdlog::error(text, std::forward<Args>(args)...);
}

}  // namespace weft
