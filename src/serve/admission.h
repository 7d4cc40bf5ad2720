// Who may come in: answers and tokens that were let in and have not ended, against what the engine
// runs and what may queue before it. Beyond that a request is refused at once, instead of waiting
// longer than its client does. A route asks twice:
//
//   Admission::Refusal refusal;
//   std::optional<Ticket> ticket = admission.enter(n, &refusal);  // as it was parsed
//   if (!ticket) return respond_error(exchange, refusal.error, refusal.headers);
//   ... render the template, encode the prompt ...
//   if (!ticket->charge(n * (num_prompt_tokens + max_tokens), &refusal)) ...
//   ... and keeps the ticket until the last answer ended.
//
// so that nothing is rendered, encoded or allocated for a request that has no place. Of a list of
// prompts one comes in so; the others follow as there is room (List). Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "serve/error_object.h"

namespace weft::serve {

struct AdmissionLimits {
  int64_t max_answers = 0;  // in all: those that run and those that wait; 0: any number
  int64_t max_tokens = 0;   // prompts and what they may generate; 0: any number
  // Of answers that may still be in memory; 0: any number. 600 bytes each while an answer is
  // written, by few threads; 128 before and after: a quarter of a GB in all.
  int64_t max_logprobs = 2'000'000;
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

  // Beside the place that a list of prompts entered with: places for more of them at a time, as
  // there is room. All lists together may fill what runs (`width` answers), or a quarter of all
  // places where that is more, and share it evenly; the last quarter of places is never theirs.
  // Who has more than its share when another list comes gives it up as its prompts are answered.
  class List {
   public:
    ~List();
    List(List&&) noexcept;
    List& operator=(List&&) noexcept;
    // For one more prompt, until the ticket's end; none where others need the room.
    [[nodiscard]] std::optional<Ticket> more(int64_t num_tokens);

   private:
    friend class Admission;
    struct Shared;
    explicit List(std::shared_ptr<Shared> shared);
    std::shared_ptr<Shared> shared_;
  };

  explicit Admission(AdmissionLimits limits);

  // Room for so many answers.
  [[nodiscard]] std::optional<Ticket> enter(int64_t num_answers, Refusal* refusal);
  // For who entered with num_choices answers, those of its first prompt.
  [[nodiscard]] List begin_list(int64_t num_choices, int64_t width);
  // Memory for logprobs, each counted once.
  [[nodiscard]] std::optional<Ticket> hold_logprobs(int64_t count, Refusal* refusal);

  // From here on nobody comes in; for ever.
  void close();

  int64_t num_answers() const;
  int64_t num_tokens() const;
  int64_t num_logprobs() const;
  int64_t num_refused() const;
  const AdmissionLimits& limits() const;

 private:
  struct State;
  std::shared_ptr<State> state_;  // tickets may outlive the door
};

}  // namespace weft::serve
