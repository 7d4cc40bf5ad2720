#include "engine/stage_calibration.h"

#include <algorithm>
#include <bit>
#include <set>

#include "base/clock.h"
#include "engine/batch_run.h"

namespace weft::engine {
namespace {

constexpr int64_t kDecodeSteps = 6;
constexpr int64_t kShortPrompt = 8;
// Prompt tokens that are computed only to have contexts to decode in: below a second on most
// machines.
constexpr int64_t kContextTokens = 2048;
// Step times know no longer steps (engine/step_times.h).
constexpr int64_t kMostTokens = 8192;

std::vector<BatchWorkload> decode_sizes(const CalibrationRange& range) {
  std::vector<BatchWorkload> sizes;
  const int64_t longest = std::max<int64_t>(1, range.context - kDecodeSteps - 1);
  const auto add = [&](int64_t count, int64_t prompt) {
    sizes.push_back(
        {.batch_size = count,
         .input_len = prompt,
         .output_len = std::clamp<int64_t>(range.context - prompt, 1, kDecodeSteps + 1)});
  };
  const int64_t prompt = std::min(kShortPrompt, longest);
  for (int64_t count = 1; count < range.num_decodes; count *= 2) add(count, prompt);
  add(range.num_decodes, prompt);
  if (longest <= 4 * prompt) return sizes;
  // What a position costs that a token attends to: some sequences, with a long context.
  const int64_t depth = std::min(longest, kContextTokens);
  const int64_t count = std::clamp<int64_t>(kContextTokens / depth, 1, range.num_decodes);
  add(static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(count))), depth);
  return sizes;
}

std::vector<BatchWorkload> prompt_sizes(const CalibrationRange& range) {
  std::vector<BatchWorkload> sizes;
  const int64_t longest = std::min(range.chunk_tokens, std::max<int64_t>(1, range.context - 1));
  for (int64_t tokens = std::min<int64_t>(16, longest);; tokens = std::min(2 * tokens, longest)) {
    for (int i = 0; i < 3; ++i) sizes.push_back({.input_len = tokens, .output_len = 1});
    if (tokens == longest) return sizes;
  }
}

class Calibration {
 public:
  Calibration(Replica& replica, cache::BlockPools& pools, int64_t vocab_size)
      : replica_(replica), pools_(pools), vocab_size_(vocab_size) {
    costs_.stages.resize(replica.shape().time_rows().size());
  }

  void measure(const BatchWorkload& workload) {
    BatchRun(replica_, pools_, workload, vocab_size_, [this](const StepPlan& plan, double seconds) {
      learn(record_of(plan), seconds);
    }).run();
  }

  PipelineCosts costs_;

 private:
  void learn(const StepRecord& step, double seconds) {
    // The first of its kind touches memory for the first time.
    const int64_t bucket = std::bit_width(static_cast<uint64_t>(step.load.num_tokens));
    if (seen_.insert(step.load.has_prompt ? -bucket : bucket).second) return;
    double work = 0;
    for (size_t s = 0; s < costs_.stages.size(); ++s) {
      const double own = seconds_between(0, replica_.work_ns()[s]);
      costs_.stages[s].learn(step.load, own);
      work += own;
    }
    costs_.hop.learn({step.load.num_tokens, 0},
                     std::max(0.0, seconds - work) / static_cast<double>(costs_.stages.size()));
  }

  Replica& replica_;
  cache::BlockPools& pools_;
  const int64_t vocab_size_;
  std::set<int64_t> seen_;
};

void set_simulated(const std::vector<double>& stage_seconds, PipelineCosts& costs) {
  for (size_t s = 0; s < costs.stages.size(); ++s) {
    costs.stages[s] = {};
    for (int64_t tokens = 1; tokens <= kMostTokens; tokens *= 2)
      costs.stages[s].learn({tokens, 0}, stage_seconds[s]);
  }
}

}  // namespace

PipelineCosts calibrate_stages(Replica& replica, cache::BlockPools& pools, int64_t vocab_size,
                               const CalibrationRange& range,
                               const std::function<bool(const BatchWorkload&)>& fits,
                               const OnCalibration& on_size) {
  const std::vector<double>& simulated = replica.shape().stage_seconds;
  std::vector<BatchWorkload> sizes =
      decode_sizes(simulated.empty() ? range : CalibrationRange{.context = range.context});
  if (simulated.empty()) {
    for (const BatchWorkload& size : prompt_sizes(range)) sizes.push_back(size);
  }
  std::erase_if(sizes, [&](const BatchWorkload& size) { return !fits(size); });
  Calibration calibration(replica, pools, vocab_size);
  for (size_t i = 0; i < sizes.size(); ++i) {
    calibration.measure(sizes[i]);
    if (on_size) on_size(static_cast<int64_t>(i + 1), static_cast<int64_t>(sizes.size()));
  }
  replica.settle();
  if (!simulated.empty()) set_simulated(simulated, calibration.costs_);
  return std::move(calibration.costs_);
}

}  // namespace weft::engine
