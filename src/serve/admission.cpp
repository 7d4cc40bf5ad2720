#include "serve/admission.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <mutex>
#include <numeric>
#include <utility>

#include "base/clock.h"
#include "base/error.h"

namespace weft::serve {
namespace {

constexpr int64_t kMostLists = 4;  // beside each other, of any length

}  // namespace

struct Admission::State {
  explicit State(AdmissionLimits wanted) : limits(wanted) {}

  const AdmissionLimits limits;
  mutable std::mutex mutex;
  int64_t num_answers = 0, num_tokens = 0, num_refused = 0;
  bool closed = false;
  // How long it takes, on average, until the next answer ends; for Retry-After.
  double seconds_an_answer = 0.1;
  int64_t last_end_ns = 0;

  void leave(int64_t answers, int64_t tokens) {
    const std::lock_guard lock(mutex);
    num_answers -= answers;
    num_tokens -= tokens;
    const int64_t now = now_ns();
    if (last_end_ns > 0 && answers > 0) {
      constexpr double kNewShare = 0.1;
      const double took = seconds_between(last_end_ns, now) / static_cast<double>(answers);
      seconds_an_answer += kNewShare * (std::min(took, 10.0) - seconds_an_answer);
    }
    last_end_ns = now;
  }

  // Until a tenth of those who are in have gone: by then there is room again for a few.
  double seconds_until_room() const {
    const double answers = std::max(1.0, static_cast<double>(num_answers) / 10);
    return std::clamp(answers * seconds_an_answer, 1.0, 60.0);
  }

  bool refuse_full(const std::string& what, Refusal* refusal) {
    ++num_refused;
    *refusal = {{429, what, "", "", "queue_full"}, retry_headers(seconds_until_room())};
    return false;
  }
  bool refuse_for_good(const std::string& what, const char* param, Refusal* refusal) {
    ++num_refused;
    *refusal = {{400, what, "", param, "request_too_large"}, {}};
    return false;
  }
  bool refuse_draining(Refusal* refusal) {
    ++num_refused;
    *refusal = {{503, "the server is shutting down", "", "", "shutting_down"}, retry_headers(5)};
    return false;
  }

  bool take_answers(int64_t count, Refusal* refusal) {
    const std::lock_guard lock(mutex);
    if (closed) return refuse_draining(refusal);
    const int64_t most = limits.max_answers;
    if (most > 0 && count > most)
      return refuse_for_good(
          fmt::format("the request asks for {} answers; the server holds {}", count, most), "n",
          refusal);
    if (most > 0 && num_answers > most - count)
      return refuse_full(
          fmt::format("the server is busy: {} of {} places are taken", num_answers, most), refusal);
    num_answers += count;
    return true;
  }

  bool take_tokens(int64_t count, const char* param, Refusal* refusal) {
    const std::lock_guard lock(mutex);
    const int64_t most = limits.max_tokens;
    if (most > 0 && count > most)
      return refuse_for_good(
          fmt::format("the request may take {} tokens; the server holds {}", count, most), param,
          refusal);
    if (most > 0 && num_tokens > most - count)
      return refuse_full(
          fmt::format("the server is busy: {} of {} tokens are promised", num_tokens, most),
          refusal);
    num_tokens += count;
    return true;
  }
};

struct Admission::Ticket::Held {
  std::shared_ptr<State> state;
  int64_t num_answers = 0, num_tokens = 0;

  ~Held() { state->leave(num_answers, num_tokens); }
};

Admission::Ticket::Ticket(std::unique_ptr<Held> held) : held_(std::move(held)) {}
Admission::Ticket::~Ticket() = default;
Admission::Ticket::Ticket(Ticket&&) noexcept = default;
Admission::Ticket& Admission::Ticket::operator=(Ticket&&) noexcept = default;

bool Admission::Ticket::charge(int64_t num_tokens, Refusal* refusal, const char* param) {
  WEFT_CHECK(num_tokens >= 0, "{} tokens", num_tokens);
  if (!held_->state->take_tokens(num_tokens, param, refusal)) return false;
  held_->num_tokens += num_tokens;
  return true;
}

Admission::Admission(AdmissionLimits limits) : state_(std::make_shared<State>(limits)) {}

std::optional<Admission::Ticket> Admission::enter(int64_t num_answers, Refusal* refusal) {
  WEFT_CHECK(num_answers >= 0, "{} answers", num_answers);
  if (!state_->take_answers(num_answers, refusal)) return std::nullopt;
  return Ticket(std::unique_ptr<Ticket::Held>(new Ticket::Held{state_, num_answers, 0}));
}

int64_t Admission::prompts_at_once(int64_t num_prompts, int64_t num_choices, int64_t width) const {
  const int64_t most = state_->limits.max_answers;
  if (most == 0) return num_prompts;
  const int64_t answers = std::min(most, std::max(width, most / kMostLists));
  return std::clamp<int64_t>(answers / num_choices, 1, std::max<int64_t>(1, num_prompts));
}

void Admission::close() {
  const std::lock_guard lock(state_->mutex);
  state_->closed = true;
}

int64_t Admission::num_answers() const {
  const std::lock_guard lock(state_->mutex);
  return state_->num_answers;
}

int64_t Admission::num_tokens() const {
  const std::lock_guard lock(state_->mutex);
  return state_->num_tokens;
}

int64_t Admission::num_refused() const {
  const std::lock_guard lock(state_->mutex);
  return state_->num_refused;
}

const AdmissionLimits& Admission::limits() const { return state_->limits; }

int64_t most_together(std::vector<int64_t> tokens, int64_t count) {
  const auto end = tokens.begin() + std::min<ptrdiff_t>(count, std::ssize(tokens));
  std::partial_sort(tokens.begin(), end, tokens.end(), std::greater<>());
  return std::accumulate(tokens.begin(), end, int64_t{0});
}

}  // namespace weft::serve
