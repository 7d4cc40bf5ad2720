#include "cli/long_prompt.h"

#include <algorithm>
#include <optional>
#include <unordered_map>

#include "base/clock.h"
#include "base/error.h"
#include "cli/serving.h"
#include "cli/workload.h"

namespace weft::cli {
namespace {

// Tokens of each running answer before its gaps count: the batch has come together by then.
constexpr size_t kSettlingTokens = 8;
constexpr uint64_t kLongStream = uint64_t{1} << 32;  // beside those of the running prompts

double ms_between(int64_t begin_ns, int64_t end_ns) {
  return 1e3 * seconds_between(begin_ns, end_ns);
}

class LongPrompt {
 public:
  LongPrompt(engine::Engine& engine, const LongPromptOptions& options)
      : engine_(engine), options_(options) {}

  LongPromptRun run() {
    for (int64_t i = 0; i < options_.num_alone; ++i) {
      report(LongPromptPhase::kAlone, i, options_.num_alone);
      const ServingRun alone = serve(engine_, {long_request(static_cast<uint64_t>(i))}, {});
      run_.ttft_alone_ms.push_back(1e3 * alone.requests[0].tokens_s.at(0));
    }
    report(LongPromptPhase::kAlone, options_.num_alone, options_.num_alone);
    submit_running();
    const size_t wanted = kSettlingTokens + static_cast<size_t>(options_.gaps_before) + 1;
    step_until([&] { return shortest() >= wanted; },
               [&] {
                 report(LongPromptPhase::kSettling, num_tokens(wanted),
                        options_.num_running * static_cast<int64_t>(wanted));
               });
    const int64_t tokens_before = num_tokens(SIZE_MAX);
    const auto report_among = [&] {
      report(LongPromptPhase::kAmong, num_tokens(SIZE_MAX) - tokens_before, 0);
    };
    const int64_t begin_ns = now_ns();
    const uint64_t long_id =
        engine_.submit(long_request(static_cast<uint64_t>(options_.num_alone)));
    long_id_ = long_id;
    step_until([&] { return long_token_ns_ != 0; }, report_among);
    run_.ttft_ms = ms_between(begin_ns, long_token_ns_);
    // The gaps that it is a part of end with the next token of each.
    const int64_t end_ns = long_token_ns_;
    step_until([&] { return all_after(end_ns); }, report_among);
    collect_gaps(begin_ns, end_ns);
    leave();
    return std::move(run_);
  }

 private:
  engine::Request long_request(uint64_t turn) const {
    // A salt of its own: none finds another's blocks.
    return bench_request(
        random_ids(options_.long_len, options_.seed, kLongStream, engine_.model().vocab_size), 1,
        turn + 1);
  }

  void submit_running() {
    const int64_t output_len = engine_.max_model_len() - options_.input_len;
    for (int64_t i = 0; i < options_.num_running; ++i)
      running_.emplace(engine_.submit(bench_request(
                           random_ids(options_.input_len, options_.seed, static_cast<uint64_t>(i),
                                      engine_.model().vocab_size),
                           output_len, 0)),
                       std::vector<int64_t>());
  }

  void report(LongPromptPhase phase, int64_t done, int64_t total) const {
    if (options_.on_progress) options_.on_progress(phase, done, total);
  }

  template <typename Done, typename Report>
  void step_until(Done done, Report report_step) {
    while (!done()) {
      const bool more = engine_.step([this](const engine::RequestEvent& event) { take(event); });
      if (error_) throw *error_;
      report_step();
      WEFT_CHECK(more || done(), "the running answers ended before the long prompt was computed");
    }
  }

  void take(const engine::RequestEvent& event) {
    const engine::RequestState& state = event.request;
    if (state.error) error_ = state.error;
    if (state.id == long_id_ && long_token_ns_ == 0) long_token_ns_ = now_ns();
    const auto found = running_.find(state.id);
    if (found == running_.end()) return;
    const size_t come = state.choices.at(event.choice).token_ids.size();
    if (found->second.size() < come) found->second.resize(come, now_ns());
    if (state.ended && !error_)
      error_ = Error(ErrorKind::kUsage, "a running answer came to the end of the context",
                     "the long prompt is to arrive and be computed among running answers",
                     "raise --max-model-len");
  }

  size_t shortest() const {
    size_t fewest = SIZE_MAX;
    for (const auto& [id, times] : running_) fewest = std::min(fewest, times.size());
    return fewest;
  }

  // Of all running answers, of each at most so many.
  int64_t num_tokens(size_t at_most) const {
    size_t sum = 0;
    for (const auto& [id, times] : running_) sum += std::min(times.size(), at_most);
    return static_cast<int64_t>(sum);
  }

  bool all_after(int64_t moment_ns) const {
    return std::all_of(running_.begin(), running_.end(),
                       [&](const auto& one) { return one.second.back() > moment_ns; });
  }

  // Those that ended before the long prompt came, and those that its computation is a part of.
  void collect_gaps(int64_t begin_ns, int64_t end_ns) {
    for (const auto& [id, times] : running_) {
      for (size_t i = kSettlingTokens; i < times.size(); ++i) {
        const double gap_ms = ms_between(times[i - 1], times[i]);
        if (times[i] <= begin_ns) {
          run_.gaps_before_ms.push_back(gap_ms);
        } else if (times[i - 1] <= end_ns) {
          run_.gaps_during_ms.push_back(gap_ms);
        }
      }
    }
  }

  void leave() {
    for (const auto& [id, times] : running_) engine_.cancel(id);
    while (engine_.step([](const engine::RequestEvent&) {})) {
    }
  }

  engine::Engine& engine_;
  const LongPromptOptions& options_;
  std::unordered_map<uint64_t, std::vector<int64_t>> running_;  // when each token came
  std::optional<uint64_t> long_id_;
  int64_t long_token_ns_ = 0;
  std::optional<Error> error_;
  LongPromptRun run_;
};

}  // namespace

LongPromptRun run_long_prompt(engine::Engine& engine, const LongPromptOptions& options) {
  return LongPrompt(engine, options).run();
}

}  // namespace weft::cli
