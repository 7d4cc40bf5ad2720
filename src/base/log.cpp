#include "base/log.h"

#include <fmt/chrono.h>
#include <spdlog/details/os.h>
#include <spdlog/sinks/base_sink.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/line_writer.h"

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

// The logger's name tells log_event which form it has.
constexpr const char* kTextLogger = "weft";
constexpr const char* kJsonLogger = "weft-json";
// Begins a message whose members are JSON already.
constexpr char kMembers = '\x1e';

// Bytes of no ASCII become \u00XX, whatever they are: a line is valid JSON always.
void append_quoted(std::string_view text, std::string* out) {
  *out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') *out += '\\';
    if (byte < 0x20 || byte >= 0x7f)
      fmt::format_to(std::back_inserter(*out), "\\u{:04x}", byte);
    else
      *out += c;
  }
  *out += '"';
}

class JsonFormatter : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    using std::chrono::duration_cast;
    const auto since = message.time.time_since_epoch();
    const auto milliseconds = duration_cast<std::chrono::milliseconds>(since).count() % 1000;
    std::string line =
        fmt::format(R"({{"time":"{:%Y-%m-%dT%H:%M:%S}.{:03}Z","level":"{}",)",
                    fmt::gmtime(spdlog::log_clock::to_time_t(message.time)), milliseconds,
                    fmt::string_view(spdlog::level::to_string_view(message.level).data(),
                                     spdlog::level::to_string_view(message.level).size()));
    const std::string_view text(message.payload.data(), message.payload.size());
    if (text.starts_with(kMembers)) {
      line += text.substr(1);
    } else {
      line += R"("message":)";
      append_quoted(text, &line);
    }
    line += "}\n";
    out.append(line.data(), line.data() + line.size());
  }
  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<JsonFormatter>();
  }
};

// Some 5,000 requests' lines.
constexpr size_t kMostWaitingBytes = size_t{1} << 20;

// Standard error, by a LineWriter.
class PatientSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  bool finish(std::chrono::milliseconds patience) {
    {
      const std::lock_guard lock(mutex_);
      tell_lost(spdlog::log_clock::now());
    }
    return writer_.wait_until_written(patience);
  }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    tell_lost(message.time);
    if (num_lost_ > 0 || !writer_.put(line_of(message))) ++num_lost_;
  }
  void flush_() override {}  // would wait

 private:
  void tell_lost(spdlog::log_clock::time_point time) {
    if (num_lost_ == 0) return;
    const std::string text =
        fmt::format("{} of the log {} dropped: what reads standard error did not keep up",
                    num_lost_ == 1 ? "a line" : fmt::format("{} lines", num_lost_),
                    num_lost_ == 1 ? "was" : "were");
    spdlog::details::log_msg message(time, {}, {}, spdlog::level::warn, text);
    if (writer_.put(line_of(message))) num_lost_ = 0;
  }

  std::string line_of(const spdlog::details::log_msg& message) {
    spdlog::memory_buf_t text;
    message.color_range_start = message.color_range_end = 0;
    formatter_->format(message, text);
    std::string line(text.data(), text.size());
    if (!has_colors_ || message.color_range_end <= message.color_range_start) return line;
    line.insert(message.color_range_end, "\033[m");
    line.insert(message.color_range_start, color_of(message.level));
    return line;
  }

  static const char* color_of(spdlog::level::level_enum level) {
    switch (level) {
      case spdlog::level::debug:
        return "\033[36m";  // cyan
      case spdlog::level::info:
        return "\033[32m";  // green
      case spdlog::level::warn:
        return "\033[33;1m";  // yellow
      default:
        return "\033[31;1m";  // red
    }
  }

  const bool has_colors_ =
      spdlog::details::os::in_terminal(stderr) && spdlog::details::os::is_color_terminal();
  LineWriter writer_{STDERR_FILENO, kMostWaitingBytes};
  int64_t num_lost_ = 0;  // since a line was put
};

// Four digits of 12.34, and all that 123456 has before its point.
void append_number(double number, int num_digits, std::string* out) {
  *out += std::abs(number) >= 1000 ? fmt::format("{:.0f}", number)
                                   : fmt::format("{:.{}g}", number, num_digits);
}

std::string as_members(std::string_view message, std::initializer_list<LogField> fields) {
  std::string text = fmt::format(R"({}"message":)", kMembers);
  append_quoted(message, &text);
  for (const LogField& field : fields) {
    text += ',';
    append_quoted(field.name, &text);
    text += ':';
    if (const auto* words = std::get_if<std::string_view>(&field.value))
      append_quoted(*words, &text);
    else if (const auto* number = std::get_if<int64_t>(&field.value))
      text += std::to_string(*number);
    else
      append_number(std::get<double>(field.value), 6, &text);
  }
  return text;
}

// Words that could be taken for further fields, or end the line, are quoted.
void append_words(std::string_view words, std::string* out) {
  const bool is_plain = !words.empty() && std::ranges::all_of(words, [](char c) {
    return static_cast<unsigned char>(c) > 0x20 && c != 0x7f && c != '"' && c != '=' && c != '\\';
  });
  if (is_plain) {
    *out += words;
    return;
  }
  *out += '"';
  for (const char c : words) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') *out += '\\';
    if (byte < 0x20 || byte == 0x7f)
      fmt::format_to(std::back_inserter(*out), "\\x{:02x}", byte);
    else
      *out += c;
  }
  *out += '"';
}

std::string as_text(std::string_view message, std::initializer_list<LogField> fields) {
  std::string text(message);
  for (const LogField& field : fields) {
    text += fmt::format(" {}=", field.name);
    if (const auto* words = std::get_if<std::string_view>(&field.value))
      append_words(*words, &text);
    else if (const auto* number = std::get_if<int64_t>(&field.value))
      text += std::to_string(*number);
    else
      append_number(std::get<double>(field.value), 4, &text);
  }
  return text;
}

}  // namespace

bool finish_log(std::chrono::milliseconds patience) {
  bool is_finished = true;
  for (const spdlog::sink_ptr& sink : spdlog::default_logger_raw()->sinks())
    if (auto* const patient = dynamic_cast<PatientSink*>(sink.get()))
      is_finished = patient->finish(patience) && is_finished;
  return is_finished;
}

void log_event(std::string_view message, std::initializer_list<LogField> fields) {
  spdlog::logger& logger = *spdlog::default_logger_raw();
  if (!logger.should_log(spdlog::level::info)) return;
  const bool is_json = logger.name() == kJsonLogger;
  const std::string text = is_json ? as_members(message, fields) : as_text(message, fields);
  logger.log(spdlog::level::info, spdlog::string_view_t(text));
}

void start_log(std::string_view level, LogForm form) {
  const auto* found = std::find_if(std::begin(kLevels), std::end(kLevels),
                                   [&](const Level& each) { return each.name == level; });
  if (found == std::end(kLevels))
    throw Error(ErrorKind::kUsage, fmt::format("unknown log level '{}'", level),
                "the levels are debug, info, warn, error and off");
  auto sink = std::make_shared<PatientSink>();
  const bool is_json = form == LogForm::kJson;
  auto logger =
      std::make_shared<spdlog::logger>(is_json ? kJsonLogger : kTextLogger, std::move(sink));
  logger->set_level(found->value);
  // Time of day to the millisecond, level, text: a line is read beside those of other programs.
  if (is_json)
    logger->set_formatter(std::make_unique<JsonFormatter>());
  else
    logger->set_pattern("%H:%M:%S.%e %^%-5l%$ %v");
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace weft
