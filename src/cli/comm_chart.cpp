#include "cli/comm_chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <string_view>

namespace weft::cli {
namespace {

constexpr double kWidth = 460, kHeight = 300, kLeft = 64, kRight = 16, kBottom = 44;

struct Panel {
  std::string title;
  std::vector<Series> series;
};

// One color a transport, one kind of stroke an algorithm.
std::string_view color_of(std::string_view transport) {
  if (transport == "threads") return "#2a7f62";
  if (transport == "shared memory") return "#2457a6";
  if (transport == "messages") return "#b4581a";
  return "#777777";
}
std::string_view dashes_of(std::string_view algorithm) {
  if (algorithm == "one shot") return "2 3";
  if (algorithm == "two shots") return "7 4";
  return "none";
}

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '&':
        out += "&amp;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::vector<Panel> panels_of(const CommFigures& figures) {
  std::vector<Panel> panels;
  Panel messages{"a message, ranks 0 and 1", {}};
  for (const PairSeries& pair : figures.pairs)
    if (pair.first == 0 && pair.second == 1) messages.series.push_back(pair);
  if (!messages.series.empty()) panels.push_back(messages);
  for (const VerbSeries& series : figures.verbs) {
    const std::string title(name_of(series.verb));
    if (panels.empty() || panels.back().title != title) panels.push_back({title, {}});
    panels.back().series.push_back(series);
  }
  return panels;
}

// Where a panel's bytes and seconds lie on the paper.
class Axes {
 public:
  Axes(const Panel& panel, const std::vector<int64_t>& sizes, double left, double top)
      : left_(left + kLeft), top_(top + 24) {
    first_ = std::log2(static_cast<double>(sizes.front()));
    last_ = std::max(std::log2(static_cast<double>(sizes.back())), first_ + 1);
    double least = 1e9, most = 1e-9;
    for (const Series& series : panel.series)
      for (const double seconds : series.seconds) {
        least = std::min(least, seconds);
        most = std::max(most, seconds);
      }
    low_ = std::floor(std::log10(least));
    high_ = std::max(std::ceil(std::log10(most)), low_ + 1);
  }
  double x(int64_t bytes) const {
    return left_ +
           inner_width() * (std::log2(static_cast<double>(bytes)) - first_) / (last_ - first_);
  }
  double y(double seconds) const {
    return top_ + inner_height() * (high_ - std::log10(seconds)) / (high_ - low_);
  }
  double left() const { return left_; }
  double right() const { return left_ + inner_width(); }
  double bottom() const { return top_ + inner_height(); }
  int low() const { return static_cast<int>(low_); }
  int high() const { return static_cast<int>(high_); }

 private:
  static double inner_width() { return kWidth - kLeft - kRight; }
  static double inner_height() { return kHeight - 24 - kBottom; }
  double left_, top_, first_, last_, low_, high_;
};

std::string seconds_text(int power) {
  if (power >= 0) return fmt::format("{} s", std::pow(10, power));
  if (power >= -3) return fmt::format("{} ms", std::pow(10, power + 3));
  if (power >= -6) return fmt::format("{} us", std::pow(10, power + 6));
  return fmt::format("{} ns", std::pow(10, power + 9));
}

void draw_panel(const Panel& panel, const std::vector<int64_t>& sizes, double left, double top,
                std::string* svg) {
  const Axes axes(panel, sizes, left, top);
  const auto out = std::back_inserter(*svg);
  fmt::format_to(out, "<text x='{:.0f}' y='{:.0f}' class='panel'>{}</text>\n", axes.left(),
                 top + 14, escaped(panel.title));
  for (int power = axes.low(); power <= axes.high(); ++power) {
    const double y = axes.y(std::pow(10, power));
    fmt::format_to(out,
                   "<path class='grid' d='M{:.1f} {:.1f}H{:.1f}'/>"
                   "<text x='{:.1f}' y='{:.1f}' text-anchor='end'>{}</text>\n",
                   axes.left(), y, axes.right(), axes.left() - 6, y + 4, seconds_text(power));
  }
  for (size_t i = 0; i < sizes.size(); i += 2)
    fmt::format_to(out,
                   "<path class='grid' d='M{:.1f} {:.1f}v4'/>"
                   "<text x='{:.1f}' y='{:.1f}' text-anchor='middle'>{}</text>\n",
                   axes.x(sizes[i]), axes.bottom(), axes.x(sizes[i]), axes.bottom() + 18,
                   size_text(sizes[i]));
  for (const Series& series : panel.series) {
    fmt::format_to(out, "<polyline class='line' stroke='{}' stroke-dasharray='{}' points='",
                   color_of(series.transport), dashes_of(series.algorithm));
    for (size_t i = 0; i < sizes.size(); ++i)
      fmt::format_to(out, "{:.1f},{:.1f} ", axes.x(sizes[i]), axes.y(series.seconds[i]));
    *svg += "'/>\n";
  }
}

// What the lines are: those of all_reduce, which has them all. Returns where the panels may begin.
double draw_legend(const CommFigures& figures, std::string* svg) {
  double x = kLeft, y = 48;
  for (const VerbSeries& series : figures.verbs) {
    if (series.verb != Collective::kAllReduce) continue;
    const std::string text = series.algorithm.empty()
                                 ? series.transport
                                 : fmt::format("{}, {}", series.transport, series.algorithm);
    const double width = 50 + 6.4 * static_cast<double>(text.size());
    if (x + width > 2 * kWidth) {
      x = kLeft;
      y += 18;
    }
    fmt::format_to(std::back_inserter(*svg),
                   "<path class='line' stroke='{}' stroke-dasharray='{}' d='M{:.0f} {:.0f}h26'/>"
                   "<text x='{:.0f}' y='{:.0f}'>{}</text>\n",
                   color_of(series.transport), dashes_of(series.algorithm), x, y - 4, x + 32, y,
                   escaped(text));
    x += width;
  }
  return y + 14;
}

}  // namespace

std::string size_text(int64_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  return bytes < 1 << 20 ? fmt::format("{} KiB", bytes >> 10) : fmt::format("{} MiB", bytes >> 20);
}

std::string comm_chart(const CommFigures& figures, const std::string& title) {
  const std::vector<Panel> panels = panels_of(figures);
  std::string body = fmt::format("<text x='{:.0f}' y='22'>{}</text>\n", kLeft, escaped(title));
  const double top = draw_legend(figures, &body);
  for (size_t i = 0; i < panels.size(); ++i)
    draw_panel(panels[i], figures.sizes, static_cast<double>(i % 2) * kWidth,
               top + static_cast<double>(i / 2) * kHeight, &body);
  const auto rows = static_cast<double>((panels.size() + 1) / 2);
  return fmt::format(
      "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {:.0f} {:.0f}'>\n"
      "<style>text{{font:12px sans-serif;fill:#333}}.panel{{font-weight:bold}}"
      ".grid{{stroke:#ddd;fill:none}}.line{{fill:none;stroke-width:1.6}}</style>\n"
      "<rect width='100%' height='100%' fill='white'/>\n{}</svg>\n",
      2 * kWidth, top + rows * kHeight, body);
}

}  // namespace weft::cli
