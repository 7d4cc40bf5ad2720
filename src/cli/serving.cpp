#include "cli/serving.h"

#include <algorithm>
#include <optional>
#include <unordered_map>

#include "base/clock.h"
#include "base/error.h"

namespace weft::cli {
namespace {

class Serving {
 public:
  Serving(engine::Engine& engine, const std::vector<engine::Request>& requests,
          const ServingOptions& options)
      : engine_(engine), requests_(requests), options_(options) {
    run_.requests.resize(requests.size());
  }

  ServingRun run() {
    begin_ns_ = now_ns();
    if (options_.batching == Batching::kContinuous) {
      answer({0, static_cast<int64_t>(requests_.size())});
    } else {
      const auto count = static_cast<int64_t>(requests_.size());
      for (int64_t begin = 0; begin < count; begin += options_.batch_size)
        answer({begin, std::min(count, begin + options_.batch_size)});
    }
    run_.seconds = seconds();
    return std::move(run_);
  }

 private:
  double seconds() const { return seconds_between(begin_ns_, now_ns()); }

  // Submits those in the range as the concurrency allows, and steps until all have ended.
  void answer(Range range) {
    const int64_t longest = longest_answer(range);
    const auto most =
        static_cast<size_t>(options_.max_concurrency > 0 ? options_.max_concurrency : range.size());
    int64_t next = range.begin;
    while (next < range.end || !open_.empty()) {
      for (; next < range.end && open_.size() < most; ++next)
        submit(static_cast<size_t>(next), longest);
      const auto before = static_cast<int64_t>(open_.size());
      engine_.step([this](const engine::RequestEvent& event) { take(event); });
      if (error_) throw *error_;
      if (options_.on_step) options_.on_step(before - static_cast<int64_t>(open_.size()));
    }
    while (engine_.step([](const engine::RequestEvent&) {})) {
    }
  }

  int64_t longest_answer(Range range) const {
    int64_t longest = 0;
    for (int64_t i = range.begin; i < range.end; ++i)
      longest = std::max(longest, requests_[static_cast<size_t>(i)].sampling.max_tokens);
    return longest;
  }

  void submit(size_t index, int64_t longest) {
    engine::Request request = requests_[index];
    if (options_.batching == Batching::kStatic) request.sampling.max_tokens = longest;
    // All requests are there from the beginning; with a limit each comes when another has ended.
    run_.requests[index].arrived_s = options_.max_concurrency > 0 ? seconds() : 0.0;
    open_.emplace(engine_.submit(std::move(request)), index);
  }

  void take(const engine::RequestEvent& event) {
    const engine::RequestState& state = event.request;
    const auto found = open_.find(state.id);
    if (found == open_.end()) return;
    if (state.error) {
      error_ = state.error;
      open_.erase(found);
      return;
    }
    Served& served = run_.requests[found->second];
    const auto wanted = static_cast<size_t>(requests_[found->second].sampling.max_tokens);
    const size_t come = std::min(wanted, state.choices.at(event.choice).token_ids.size());
    if (served.tokens_s.size() < come) served.tokens_s.resize(come, seconds());
    if (!state.ended) return;
    served.ended_s = seconds();
    served.prompt_tokens = state.num_prompt_tokens;
    served.cached_tokens = state.num_cached_tokens;
    open_.erase(found);
  }

  engine::Engine& engine_;
  const std::vector<engine::Request>& requests_;
  const ServingOptions& options_;
  std::unordered_map<uint64_t, size_t> open_;  // the engine's numbers, and places in requests_
  int64_t begin_ns_ = 0;
  std::optional<Error> error_;  // of a request; thrown once the step is over
  ServingRun run_;
};

}  // namespace

ServingRun serve(engine::Engine& engine, const std::vector<engine::Request>& requests,
                 const ServingOptions& options) {
  return Serving(engine, requests, options).run();
}

}  // namespace weft::cli
