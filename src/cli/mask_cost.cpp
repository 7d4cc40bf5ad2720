#include "cli/mask_cost.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/clock.h"
#include "base/error.h"

namespace weft::cli {
namespace {

class Run {
 public:
  Run(engine::Engine& engine, const std::vector<engine::Request>& requests) : engine_(engine) {
    num_without_token_ = requests.size();
    for (const engine::Request& request : requests) engine_.submit(request);
  }

  MaskRun measure() {
    while (engine_.step([this](const engine::RequestEvent& event) { take(event); })) note_step();
    if (error_) throw *error_;
    if (end_.steps <= begin_.steps)
      throw Error(ErrorKind::kUsage, "no step decodes for all requests at once", "",
                  "raise --max-num-seqs to --num-prompts, or --output-len");
    const auto steps = static_cast<double>(end_.steps - begin_.steps);
    return {1e3 * seconds_between(begin_.at_ns, end_.at_ns) / steps,
            1e3 * (end_.scheduler_s - begin_.scheduler_s) / steps,
            1e3 * (end_.mask_s - begin_.mask_s) / steps, end_.steps - begin_.steps};
  }

 private:
  struct Mark {
    int64_t at_ns = 0, steps = 0;
    double scheduler_s = 0, mask_s = 0;
  };
  Mark mark() const {
    const engine::EngineStats stats = engine_.stats();
    return {now_ns(), stats.num_steps, stats.scheduler_s, stats.mask_s};
  }

  void take(const engine::RequestEvent& event) {
    const engine::RequestState& state = event.request;
    if (event.first_new_token == 0 && !state.choices[0].token_ids.empty()) --num_without_token_;
    if (!state.ended) return;
    ends_ = true;
    if (state.error && !error_) error_ = state.error;
    if (state.choices[0].finish == engine::FinishReason::kStop && !error_)
      error_ =
          Error(ErrorKind::kUsage,
                fmt::format("an answer ended after {} tokens", state.choices[0].token_ids.size()),
                "its grammar allows no more, and answers of unequal lengths are not compared",
                "give a grammar of longer answers, or lower --output-len");
  }

  // The clock runs from the step that gave the last request its first token to the last one before
  // any answer's end.
  void note_step() {
    if (num_without_token_ > 0) return;
    if (begin_.at_ns == 0) {
      begin_ = end_ = mark();
    } else if (!ends_) {
      end_ = mark();
    }
  }

  engine::Engine& engine_;
  size_t num_without_token_ = 0;
  bool ends_ = false;
  Mark begin_, end_;
  std::optional<Error> error_;
};

}  // namespace

std::vector<double> MaskCost::ratios() const {
  std::vector<double> ratios;
  for (const Turn& turn : turns) ratios.push_back(turn.ratio());
  return ratios;
}

MaskCost measure_mask_cost(engine::Engine& engine, const MaskCostOptions& options) {
  const auto run = [&](const std::vector<engine::Request>& requests) {
    const MaskRun measured = Run(engine, requests).measure();
    if (options.on_run) options.on_run();
    return measured;
  };
  MaskCost cost;
  for (int64_t i = 0; i < options.num_turns; ++i) {
    const std::vector<engine::Request> requests = options.requests(i);
    std::vector<engine::Request> masked = requests;
    const auto count =
        static_cast<size_t>(std::llround(options.ratio * static_cast<double>(requests.size())));
    for (size_t r = 0; r < count; ++r) masked[r].grammar = options.grammar;
    MaskCost::Turn turn;
    if (i % 2 == 0) turn.without = run(requests);
    turn.with = run(masked);
    if (i % 2 == 1) turn.without = run(requests);
    cost.turns.push_back(turn);
  }
  return cost;
}

OrderedJson mask_cost_json(const MaskCost& cost) {
  const auto run_json = [](const MaskRun& run) -> OrderedJson {
    return {{"step_ms", run.step_ms},
            {"scheduler_ms", run.scheduler_ms},
            {"mask_ms", run.mask_ms},
            {"num_steps", run.num_steps}};
  };
  OrderedJson turns = OrderedJson::array();
  for (const MaskCost::Turn& turn : cost.turns)
    turns.push_back({{"with", run_json(turn.with)},
                     {"without", run_json(turn.without)},
                     {"ratio", turn.ratio()}});
  const std::vector<double> ratios = cost.ratios();
  return {{"step_ratio", percentile(ratios, 50)},
          {"least_step_ratio", percentile(ratios, 0)},
          {"most_step_ratio", percentile(ratios, 100)},
          {"turns", std::move(turns)}};
}

std::string mask_cost_line(const MaskCost& cost) {
  std::vector<double> with, without, masks;
  for (const MaskCost::Turn& turn : cost.turns) {
    with.push_back(turn.with.step_ms);
    without.push_back(turn.without.step_ms);
    masks.push_back(turn.with.mask_ms);
  }
  const std::vector<double> ratios = cost.ratios();
  return fmt::format(
      "a step takes {:.3f} ms with masks, {:.3f} ms without (medians): {:.3f} times ({:.3f} to "
      "{:.3f}); masks take {:.3f} ms of all threads together",
      percentile(with, 50), percentile(without, 50), percentile(ratios, 50), percentile(ratios, 0),
      percentile(ratios, 100), percentile(masks, 50));
}

}  // namespace weft::cli
