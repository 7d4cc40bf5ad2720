#include "base/progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ostream>

namespace weft {
namespace {

constexpr int64_t kSecondNs = 1'000'000'000;
constexpr int64_t kRedrawNs = kSecondNs / 10;
constexpr int64_t kLineNs = 5 * kSecondNs;
constexpr int kBarWidth = 20;
// From when on what was done tells how long the rest takes: work that starts many items at a time
// ends none of them for a while, and then several.
constexpr double kTellingSeconds = 30;
constexpr int64_t kTellingShare = 10;      // one in so many
constexpr const char* kWipe = "\r\x1b[K";  // to the start of the line, and erase it

// An amount, or an amount of a total, in the unit that suits the larger one.
struct Scale {
  double divisor = 1;
  const char* name = "";
  int digits = 0;
};

Scale scale_for(double amount, Progress::Unit unit) {
  if (unit == Progress::Unit::kItems) return {1, "", 0};
  if (amount >= 1e9) return {1e9, " GB", 2};
  if (amount >= 1e6) return {1e6, " MB", 1};
  return {1e3, " kB", 1};
}

std::string amount_text(int64_t amount, const Scale& scale) {
  return fmt::format("{:.{}f}", static_cast<double>(amount) / scale.divisor, scale.digits);
}

std::string done_text(int64_t done, int64_t total, Progress::Unit unit) {
  const Scale scale = scale_for(static_cast<double>(std::max(done, total)), unit);
  if (total <= 0) return amount_text(done, scale) + scale.name;
  return fmt::format("{} of {}{}", amount_text(done, scale), amount_text(total, scale), scale.name);
}

std::string rate_text(int64_t done, double seconds, Progress::Unit unit) {
  const double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0;
  if (unit == Progress::Unit::kItems) return fmt::format("{:.1f}/s", rate);
  return fmt::format("{:.2f} GB/s", rate / 1e9);
}

int percent(int64_t done, int64_t total) {
  return static_cast<int>(
      std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0) * 100);
}

// Empty where nothing can be said yet.
std::string left_text(int64_t done, int64_t total, double seconds) {
  if (done <= 0 || total <= done) return "";
  if (done < total / kTellingShare && seconds < kTellingSeconds) return "";
  const double left = seconds * static_cast<double>(total - done) / static_cast<double>(done);
  // Years say no more than this, and fit no integer.
  const auto whole = static_cast<int64_t>(std::ceil(std::min(left, 359'999.0)));
  if (whole < 100) return fmt::format("{} s left", whole);
  if (whole < 3600) return fmt::format("{}:{:02} min left", whole / 60, whole % 60);
  return fmt::format("{}:{:02} h left", whole / 3600, whole / 60 % 60);
}

}  // namespace

Progress::Progress(std::ostream& out, Options options)
    : out_(out),
      options_(std::move(options)),
      begin_ns_(options_.clock_ns()),
      next_draw_ns_(begin_ns_ + (options_.is_terminal ? kRedrawNs : kLineNs)) {}

Progress::~Progress() {
  const std::lock_guard lock(mutex_);
  if (drawn_) out_ << kWipe << std::flush;
}

void Progress::add(int64_t amount) {
  const int64_t done = done_.fetch_add(amount, std::memory_order_relaxed) + amount;
  const int64_t now = options_.clock_ns();
  int64_t due = next_draw_ns_.load(std::memory_order_relaxed);
  if (now < due) return;
  // Whoever moves the time on draws; the others go on working.
  const int64_t interval = options_.is_terminal ? kRedrawNs : kLineNs;
  if (next_draw_ns_.compare_exchange_strong(due, now + interval, std::memory_order_relaxed))
    draw(done, now);
}

void Progress::draw(int64_t done, int64_t now) {
  const std::lock_guard lock(mutex_);
  if (finished_) return;
  const double seconds = seconds_between(begin_ns_, now);
  if (options_.is_terminal) {
    out_ << kWipe << bar_line(done, seconds) << std::flush;
    drawn_ = true;
  } else {
    out_ << plain_line(done, seconds) << std::endl;
  }
}

void Progress::finish() {
  const std::lock_guard lock(mutex_);
  if (finished_) return;
  finished_ = true;
  const double seconds = seconds_between(begin_ns_, options_.clock_ns());
  const int64_t done = done_.load(std::memory_order_relaxed);
  out_ << (drawn_ ? kWipe : "")
       << fmt::format("{}: {} in {:.2f} s, {}", options_.label, done_text(done, 0, options_.unit),
                      seconds, rate_text(done, seconds, options_.unit))
       << std::endl;
  drawn_ = false;
}

std::string Progress::bar_line(int64_t done, double seconds) const {
  const int64_t total = options_.total;
  std::string line = options_.label;
  if (total > 0) {
    const int filled = percent(done, total) * kBarWidth / 100;
    std::string bar(static_cast<size_t>(filled), '=');
    if (filled < kBarWidth) bar += '>';
    line += fmt::format("  [{:<{}}]  {} %", bar, kBarWidth, percent(done, total));
  }
  line += fmt::format("  {}  {}", done_text(done, total, options_.unit),
                      rate_text(done, seconds, options_.unit));
  if (options_.remark) line += "  " + options_.remark();
  const std::string left = left_text(done, total, seconds);
  return left.empty() ? line : line + "  " + left;
}

std::string Progress::plain_line(int64_t done, double seconds) const {
  const int64_t total = options_.total;
  std::string line = options_.label + ":";
  if (total > 0) line += fmt::format(" {} %,", percent(done, total));
  line += fmt::format(" {}, {}", done_text(done, total, options_.unit),
                      rate_text(done, seconds, options_.unit));
  if (options_.remark) line += ", " + options_.remark();
  const std::string left = left_text(done, total, seconds);
  return left.empty() ? line : line + ", " + left;
}

}  // namespace weft
