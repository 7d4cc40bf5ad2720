// Who may come in: answers and tokens that were let in and have not ended, against what the engine
// runs and what may queue before it. Beyond that a request is refused at once, instead of waiting
// longer than its client does. A route asks twice:
//
//   Admission::Refusal refusal;
//   std::optional<Ticket> ticket = admission.enter(num_prompts * n, &refusal);  // as it was parsed
//   if (!ticket) return respond_error(exchange, refusal.error, refusal.headers);
//   ... render the template, encode the prompt ...
//   if (!ticket->charge(n * (num_prompt_tokens + max_tokens), &refusal)) ...
//   ... and keeps the ticket until the last answer ended.
//
// so that nothing is rendered, encoded or allocated for a request that has no place. Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "serve/error_object.h"

namespace weft::serve {

struct AdmissionLimits {
  int64_t max_answers = 0;  // in all: those that run and those that wait; 0: any number
  int64_t max_tokens = 0;   // prompts and what they may generate; 0: any number
};

class Admission {
 public:
  // What a request is answered with: 429 with Retry-After where there is no room now, 400 where
  // there could never be, 503 while the server drains.
  struct Refusal {
    ErrorObject error;
    HttpHeaders headers;
  };

  // The place of a request. Its end gives back what it holds.
  class Ticket {
   public:
    ~Ticket();
    Ticket(Ticket&&) noexcept;
    Ticket& operator=(Ticket&&) noexcept;
    // More tokens; true: they are held too. param: the field that is to blame where they never fit.
    [[nodiscard]] bool charge(int64_t num_tokens, Refusal* refusal,
                              const char* param = "max_tokens");

   private:
    friend class Admission;
    struct Held;
    explicit Ticket(std::unique_ptr<Held> held);
    std::unique_ptr<Held> held_;
  };

  explicit Admission(AdmissionLimits limits);

  // Room for so many answers (prompts x n).
  [[nodiscard]] std::optional<Ticket> enter(int64_t num_answers, Refusal* refusal);

  // How many prompts of a list, n answers to each, an engine is asked for at a time, the next when
  // one of them is answered: a list longer than all places is served, and leaves room for others.
  // width: answers that run at a time, which a list may fill.
  int64_t prompts_at_once(int64_t num_prompts, int64_t num_choices, int64_t width) const;

  // From here on nobody comes in; for ever.
  void close();

  int64_t num_answers() const;
  int64_t num_tokens() const;
  int64_t num_refused() const;
  const AdmissionLimits& limits() const;

 private:
  struct State;
  std::shared_ptr<State> state_;  // tickets may outlive the door
};

// What so many of them take together at most.
int64_t most_together(std::vector<int64_t> tokens, int64_t count);

}  // namespace weft::serve
