#include "serve/admission.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "base/clock.h"
#include "base/error.h"

namespace weft::serve {
namespace {

// Of all places: what lists may take together however few run, and what is never theirs.
constexpr int64_t kQuarter = 4;

}  // namespace

struct Admission::State {
  explicit State(AdmissionLimits wanted) : limits(wanted) {}

  const AdmissionLimits limits;
  mutable std::mutex mutex;
  int64_t num_answers = 0, num_tokens = 0, num_logprobs = 0, num_refused = 0;
  int64_t num_lists = 0, num_list_answers = 0;
  bool closed = false;
  // How long it takes, on average, until the next answer ends; for Retry-After.
  double seconds_an_answer = 0.1;
  int64_t last_end_ns = 0;

  void leave(const Ticket::Held& held);

  void note_end(int64_t answers) {
    const int64_t now = now_ns();
    if (last_end_ns > 0) {
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

struct Admission::List::Shared {
  std::shared_ptr<State> state;
  const int64_t num_choices, width;
  int64_t num_answers;  // that it holds, its first prompt's among them; under the state's mutex

  Shared(std::shared_ptr<State> of, int64_t choices, int64_t most_running)
      : state(std::move(of)), num_choices(choices), width(most_running), num_answers(choices) {
    const std::lock_guard lock(state->mutex);
    ++state->num_lists;
    state->num_list_answers += num_answers;
  }
  ~Shared() {
    const std::lock_guard lock(state->mutex);
    --state->num_lists;
    state->num_list_answers -= num_answers;
  }

  bool has_room(int64_t num_tokens) const {
    const AdmissionLimits& most = state->limits;
    if (most.max_tokens > 0 &&
        state->num_tokens > most.max_tokens - most.max_tokens / kQuarter - num_tokens)
      return false;
    if (most.max_answers == 0) return true;
    const int64_t quarter = std::max<int64_t>(1, most.max_answers / kQuarter);
    const int64_t of_lists = std::min(std::max(width, quarter), most.max_answers - quarter);
    return state->num_answers + num_choices <= most.max_answers - quarter &&
           state->num_list_answers + num_choices <= of_lists &&
           num_answers + num_choices <= of_lists / state->num_lists;
  }
};

struct Admission::Ticket::Held {
  std::shared_ptr<State> state;
  int64_t num_answers = 0, num_tokens = 0, num_logprobs = 0;
  std::shared_ptr<List::Shared> list;  // whose place it is; null: nobody's

  ~Held() { state->leave(*this); }
};

void Admission::State::leave(const Ticket::Held& held) {
  const std::lock_guard lock(mutex);
  num_answers -= held.num_answers;
  num_tokens -= held.num_tokens;
  num_logprobs -= held.num_logprobs;
  if (held.list) {
    held.list->num_answers -= held.num_answers;
    num_list_answers -= held.num_answers;
  }
  if (held.num_answers > 0) note_end(held.num_answers);
}

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
  return Ticket(
      std::unique_ptr<Ticket::Held>(new Ticket::Held{state_, num_answers, 0, 0, nullptr}));
}

Admission::List Admission::begin_list(int64_t num_choices, int64_t width) {
  return List(std::make_shared<List::Shared>(state_, num_choices, width));
}

Admission::List::List(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}
Admission::List::~List() = default;
Admission::List::List(List&&) noexcept = default;
Admission::List& Admission::List::operator=(List&&) noexcept = default;

std::optional<Admission::Ticket> Admission::List::more(int64_t num_tokens) {
  State& state = *shared_->state;
  const int64_t num_choices = shared_->num_choices;
  {
    const std::lock_guard lock(state.mutex);
    if (!shared_->has_room(num_tokens)) return std::nullopt;
    state.num_answers += num_choices;
    state.num_tokens += num_tokens;
    state.num_list_answers += num_choices;
    shared_->num_answers += num_choices;
  }
  return Ticket(std::unique_ptr<Ticket::Held>(
      new Ticket::Held{shared_->state, num_choices, num_tokens, 0, shared_}));
}

std::optional<Admission::Ticket> Admission::hold_logprobs(int64_t count, Refusal* refusal) {
  WEFT_CHECK(count >= 0, "{} logprobs", count);
  {
    const std::lock_guard lock(state_->mutex);
    const int64_t most = state_->limits.max_logprobs, held = state_->num_logprobs;
    // One that is larger than all still has its turn.
    if (most > 0 && held > 0 && count > most - held) {
      state_->refuse_full(
          fmt::format("the server is busy: {} of {} logprobs are promised", held, most), refusal);
      return std::nullopt;
    }
    state_->num_logprobs += count;
  }
  return Ticket(std::unique_ptr<Ticket::Held>(new Ticket::Held{state_, 0, 0, count, nullptr}));
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

int64_t Admission::num_logprobs() const {
  const std::lock_guard lock(state_->mutex);
  return state_->num_logprobs;
}

int64_t Admission::num_refused() const {
  const std::lock_guard lock(state_->mutex);
  return state_->num_refused;
}

const AdmissionLimits& Admission::limits() const { return state_->limits; }

}  // namespace weft::serve
