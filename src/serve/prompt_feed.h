// The prompts of one body on their way to an engine: the first has the place that the request has,
// the others follow as there is room for them (Admission::List), each place going to the next
// prompt when its own was answered. So a list of any length is served, and others come in
// meanwhile.
//
//   PromptFeed feed(service, place);
//   if (!feed.enter(n, &refusal)) ...            // before anything is encoded
//   if (!feed.charge(costs, &refusal, "prompt")) ...
//   feed.start([](size_t prompt) { return engine.generate(...); });
//   feed.answered(prompt);                       // for each that has ended
//
// Thread-safe from start() on.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "serve/openai_service.h"

namespace weft::serve {

class PromptFeed {
 public:
  // Asks an engine, and tells the number that it gave. What it throws comes out of start() or
  // answered().
  using Ask = std::function<uint64_t(size_t prompt)>;

  // place: of one answer, taken at the door.
  PromptFeed(std::shared_ptr<OpenAiService> service, std::shared_ptr<Admission::Ticket> place);

  // Places for the answers to one prompt.
  [[nodiscard]] bool enter(int64_t num_choices, Admission::Refusal* refusal);
  // costs: tokens of each prompt and its answers. param: the field to blame.
  [[nodiscard]] bool charge(std::vector<int64_t> costs, Admission::Refusal* refusal,
                            const char* param);
  void start(Ask ask);
  void answered(size_t prompt);

  // Gives all places back; nothing more is asked for.
  void leave();
  // What was asked for is cancelled, and nothing more is asked for.
  void cancel();
  bool is_cancelled() const;

 private:
  void feed();
  std::optional<size_t> take_next();
  void ask_for(size_t prompt);

  const std::shared_ptr<OpenAiService> service_;
  Ask ask_;
  std::vector<int64_t> costs_;
  int64_t num_choices_ = 1;

  mutable std::mutex mutex_;  // of what follows
  std::shared_ptr<Admission::Ticket> place_;
  std::optional<Admission::Ticket> ticket_;  // of the first prompt's further answers, and tokens
  std::optional<Admission::List> list_;
  std::optional<size_t> in_first_place_;      // who has both
  std::map<size_t, Admission::Ticket> more_;  // who has a place of its own
  std::vector<uint64_t> requests_;
  size_t num_asked_ = 0;
  bool ended_ = false, cancelled_ = false;
};

}  // namespace weft::serve
