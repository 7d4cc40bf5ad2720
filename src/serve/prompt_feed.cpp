#include "serve/prompt_feed.h"

#include <algorithm>
#include <utility>

namespace weft::serve {

PromptFeed::PromptFeed(std::shared_ptr<OpenAiService> service,
                       std::shared_ptr<Admission::Ticket> place)
    : service_(std::move(service)), place_(std::move(place)) {}

bool PromptFeed::enter(int64_t num_choices, Admission::Refusal* refusal) {
  num_choices_ = num_choices;
  ticket_ = service_->enter(num_choices, refusal);
  return ticket_.has_value();
}

// The first place has room for any of them, so that there is always one under way.
bool PromptFeed::charge(std::vector<int64_t> costs, Admission::Refusal* refusal,
                        const char* param) {
  costs_ = std::move(costs);
  const int64_t most = costs_.empty() ? 0 : *std::max_element(costs_.begin(), costs_.end());
  return ticket_->charge(most, refusal, param);
}

void PromptFeed::start(Ask ask) {
  ask_ = std::move(ask);
  if (costs_.size() > 1)
    list_ = service_->admission().begin_list(num_choices_, service_->engine().card().max_num_seqs);
  feed();
}

void PromptFeed::answered(size_t prompt) {
  {
    const std::lock_guard lock(mutex_);
    more_.erase(prompt);
    if (in_first_place_ == prompt) in_first_place_.reset();
  }
  feed();
}

void PromptFeed::feed() {
  while (const std::optional<size_t> next = take_next()) ask_for(*next);
}

std::optional<size_t> PromptFeed::take_next() {
  const std::lock_guard lock(mutex_);
  if (ended_ || num_asked_ == costs_.size()) return std::nullopt;
  if (!in_first_place_) {
    in_first_place_ = num_asked_;
  } else {
    std::optional<Admission::Ticket> place = list_->more(costs_[num_asked_]);
    if (!place) return std::nullopt;
    more_.emplace(num_asked_, std::move(*place));
  }
  return num_asked_++;
}

void PromptFeed::ask_for(size_t prompt) {
  const uint64_t request = ask_(prompt);
  bool is_late = false;
  {
    const std::lock_guard lock(mutex_);
    requests_.push_back(request);
    is_late = cancelled_;
  }
  if (is_late) service_->engine().cancel(request);
}

void PromptFeed::leave() {
  const std::lock_guard lock(mutex_);
  ended_ = true;
  more_.clear();
  list_.reset();
  ticket_.reset();
  place_.reset();
}

void PromptFeed::cancel() {
  std::vector<uint64_t> requests;
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    if (std::exchange(cancelled_, true)) return;
    requests = requests_;
  }
  for (const uint64_t request : requests) service_->engine().cancel(request);
}

bool PromptFeed::is_cancelled() const {
  const std::lock_guard lock(mutex_);
  return cancelled_;
}

}  // namespace weft::serve
