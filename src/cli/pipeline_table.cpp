#include "cli/pipeline_table.h"

#include <fmt/format.h>

#include "cli/quantity.h"
#include "cli/text_table.h"

namespace weft::cli {
namespace {

using Json = nlohmann::ordered_json;

std::string row_name(const engine::PipelineReport& report, size_t stage) {
  if (report.pooled) return "pool";
  const Range ranks = report.stages[stage].ranks;
  if (ranks.size() == 1) return fmt::format("{}", stage);
  return fmt::format("{} ({} ranks)", stage, ranks.size());
}

void add_rank(const std::string& name, const engine::RankTimes& times, int64_t reduce_bytes,
              TextTable* table) {
  table->add_row({name, fmt::format("{:.3f}", times.compute_s),
                  fmt::format("{:.3f}", times.all_reduce_s), fmt::format("{:.3f}", times.wait_s),
                  bytes_text(reduce_bytes)});
}

}  // namespace

std::vector<std::string> rank_lines(std::span<const engine::RankTimes> ranks, bool pooled) {
  TextTable table({"rank", "compute s", "all-reduce s", "waiting s", "reduced"});
  if (pooled && ranks.size() > 1) {
    int64_t reduced = 0;
    for (const engine::RankTimes& times : ranks) reduced += times.reduce_bytes;
    add_rank("pool", ranks[0], reduced, &table);
  } else {
    for (size_t i = 0; i < ranks.size(); ++i)
      add_rank(fmt::format("{}", i), ranks[i], ranks[i].reduce_bytes, &table);
  }
  return table.lines();
}

std::vector<std::string> pipeline_lines(const engine::PipelineReport& report,
                                        const std::optional<engine::Forecast>& forecast) {
  std::vector<std::string> headings = {"stage",     "busy %",    "collectives %", "input %",
                                       "nothing %", "sending %", "scheduler %",   "bubble %"};
  if (forecast) headings.emplace_back("predicted %");
  for (const char* heading : {"within %", "fill ms", "drain ms"}) headings.emplace_back(heading);
  TextTable table(headings);
  const auto percent = [](double share) { return fmt::format("{:.1f}", 100.0 * share); };
  for (size_t s = 0; s < report.stages.size(); ++s) {
    const engine::StageTime& t = report.stages[s];
    std::vector<std::string> cells = {row_name(report, s)};
    for (const double seconds :
         {t.busy_s, t.collectives_s, t.input_s, t.nothing_s, t.sending_s, t.scheduler_s})
      cells.push_back(percent(t.window_s > 0 ? seconds / t.window_s : 0.0));
    cells.push_back(percent(t.bubble()));
    if (forecast) cells.push_back(percent(forecast->bubble(s)));
    cells.push_back(percent(t.inner_bubble()));
    cells.push_back(fmt::format("{:.1f}", 1e3 * t.fill_s));
    cells.push_back(fmt::format("{:.1f}", 1e3 * t.drain_s));
    table.add_row(std::move(cells));
  }
  std::vector<std::string> lines = {
      fmt::format("{} steps in {:.3f} s{}", report.num_steps, report.window_s,
                  report.pooled ? ", all ranks on one pool of threads" : "")};
  if (forecast) lines[0] += fmt::format(", predicted {:.3f} s", forecast->window_s);
  for (std::string& line : table.lines()) lines.push_back(std::move(line));
  return lines;
}

Json pipeline_json(const engine::PipelineReport& report,
                   const std::optional<engine::Forecast>& forecast) {
  Json stages = Json::array();
  for (size_t s = 0; s < report.stages.size(); ++s) {
    const engine::StageTime& t = report.stages[s];
    stages.push_back({{"ranks", {t.ranks.begin, t.ranks.end}},
                      {"busy_s", t.busy_s},
                      {"collectives_s", t.collectives_s},
                      {"input_s", t.input_s},
                      {"nothing_s", t.nothing_s},
                      {"sending_s", t.sending_s},
                      {"scheduler_s", t.scheduler_s},
                      {"bubble", t.bubble()},
                      {"inner_bubble", t.inner_bubble()},
                      {"predicted_bubble", forecast ? Json(forecast->bubble(s)) : Json(nullptr)},
                      {"predicted_work_s", forecast ? Json(forecast->work_s[s]) : Json(nullptr)},
                      {"fill_s", t.fill_s},
                      {"drain_s", t.drain_s}});
  }
  return {{"pooled", report.pooled},
          {"window_s", report.window_s},
          {"num_steps", report.num_steps},
          {"predicted_window_s", forecast ? Json(forecast->window_s) : Json(nullptr)},
          {"stages", std::move(stages)}};
}

}  // namespace weft::cli
