#include "cli/progress_bar.h"

#include <fmt/format.h>

#include <algorithm>
#include <ostream>

#include "cli/quantity.h"

namespace weft::cli {
namespace {

constexpr int kBarWidth = 24;
constexpr auto kDrawInterval = std::chrono::milliseconds(100);
constexpr const char* kWipe = "\r\x1b[K";  // to the start of the line, and erase it

std::string rate_text(int64_t bytes, double seconds) {
  return bytes_text(static_cast<int64_t>(per_second(static_cast<double>(bytes), seconds))) + "/s";
}

}  // namespace

ProgressBar::ProgressBar(std::ostream& out, bool is_terminal, bool visible, std::string label)
    : out_(out),
      is_terminal_(is_terminal),
      visible_(visible),
      label_(std::move(label)),
      start_(std::chrono::steady_clock::now()) {}

ProgressBar::~ProgressBar() {
  if (drawn_) out_ << kWipe << std::flush;
}

double ProgressBar::seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

void ProgressBar::update(int64_t done, int64_t total) {
  const auto now = std::chrono::steady_clock::now();
  if (!visible_ || !is_terminal_ || (drawn_ && now - last_draw_ < kDrawInterval)) return;
  last_draw_ = now;
  drawn_ = true;
  const double share =
      total > 0 ? std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0) : 0;
  const int filled = static_cast<int>(share * kBarWidth);
  std::string bar(static_cast<size_t>(filled), '=');
  if (filled < kBarWidth) bar += '>';
  bar.resize(kBarWidth, ' ');
  out_ << kWipe
       << fmt::format("{}  [{}]  {} of {}  {}", label_, bar, bytes_text(done), bytes_text(total),
                      rate_text(done, seconds()))
       << std::flush;
}

void ProgressBar::finish(int64_t bytes) {
  if (!visible_) return;
  const double elapsed = seconds();
  out_ << (drawn_ ? kWipe : "")
       << fmt::format("{}  {} in {:.2f} s  {}\n", label_, bytes_text(bytes), elapsed,
                      rate_text(bytes, elapsed))
       << std::flush;
  drawn_ = false;
}

}  // namespace weft::cli
