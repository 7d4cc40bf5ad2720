#include "serve/metered_client.h"

#include <algorithm>
#include <vector>

#include "base/clock.h"

namespace weft::serve {
namespace {

// One request as its events come, all from the engine's own thread.
class Measured {
 public:
  Measured(std::shared_ptr<Metrics> metrics, size_t num_choices)
      : metrics_(std::move(metrics)), choices_(num_choices) {}

  void take(const fleet::Event& event) {
    const int64_t now = now_ns();
    Choice& choice = choices_[std::min(event.choice, choices_.size() - 1)];
    if (!event.token_ids.empty()) {
      if (first_ns_ == 0) {
        first_ns_ = now;
        metrics_->count_first_token(seconds_between(arrived_ns_, now));
      }
      if (choice.last_ns != 0) metrics_->count_token_gap(seconds_between(choice.last_ns, now));
      choice.last_ns = now;
      choice.num_tokens += static_cast<int64_t>(event.token_ids.size());
    }
    if (event.finish) metrics_->count_choice(*event.finish, choice.num_tokens);
    if (event.ended) end(event, now);
  }

 private:
  struct Choice {
    int64_t last_ns = 0, num_tokens = 0;
  };

  void end(const fleet::Event& event, int64_t now) const {
    Metrics::Times times{.whole = seconds_between(arrived_ns_, now)};
    if (event.scheduled_ns != 0) {
      times.queue = seconds_between(arrived_ns_, event.scheduled_ns);
      times.inference = seconds_between(event.scheduled_ns, now);
    }
    if (first_ns_ != 0) {
      times.prefill = seconds_between(event.scheduled_ns, first_ns_);
      times.decode = seconds_between(first_ns_, now);
    }
    const auto most = std::ranges::max_element(choices_, {}, &Choice::num_tokens);
    metrics_->count_ended(times, most->num_tokens);
  }

  std::shared_ptr<Metrics> metrics_;
  std::vector<Choice> choices_;
  int64_t arrived_ns_ = now_ns(), first_ns_ = 0;
};

}  // namespace

uint64_t MeteredClient::generate(fleet::Generate request, fleet::OnEvent on_event) {
  const Metrics::Asked asked{static_cast<int64_t>(request.prompt_ids.size()), request.sampling.n,
                             request.sampling.max_tokens};
  const auto measured = std::make_shared<Measured>(
      metrics_, static_cast<size_t>(std::max<int64_t>(1, request.sampling.n)));
  const uint64_t number = engine_->generate(
      std::move(request), [measured, on_event = std::move(on_event)](fleet::Event event) {
        measured->take(event);
        on_event(std::move(event));
      });
  metrics_->count_asked(asked);
  return number;
}

uint64_t MeteredClient::embed(fleet::Embed request, fleet::OnEmbedding on_embedding) {
  return engine_->embed(
      std::move(request),
      [metrics = metrics_, on_embedding = std::move(on_embedding)](fleet::Embedding embedding) {
        if (!embedding.error) metrics->count_embedding();
        on_embedding(std::move(embedding));
      });
}

}  // namespace weft::serve
