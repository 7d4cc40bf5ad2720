#include "fleet/grammar_compilations.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace weft::fleet {

GrammarCompilations::~GrammarCompilations() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void GrammarCompilations::submit(uint64_t number, text::GrammarSpec spec) {
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back({number, std::move(spec)});
  }
  changed_.notify_all();
  if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
}

void GrammarCompilations::run() {
  while (true) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      const bool is_due = changed_.wait_for(lock, std::chrono::seconds(1),
                                            [this] { return stopping_ || !jobs_.empty(); });
      if (!is_due) continue;
      if (stopping_) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    compile(std::move(job));
  }
}

void GrammarCompilations::compile(Job job) {
  std::shared_ptr<const text::Grammar> grammar;
  std::optional<Error> error;
  try {
    grammar = grammar_of(job.spec);
  } catch (const Error& e) {
    error = e;
  } catch (const std::exception& e) {
    error = Error(ErrorKind::kInternal, e.what());
  }
  on_done_(job.number, std::move(grammar), std::move(error));
}

std::shared_ptr<const text::Grammar> GrammarCompilations::grammar_of(
    const text::GrammarSpec& spec) {
  const auto known =
      std::find_if(kept_.begin(), kept_.end(), [&](const Kept& kept) { return kept.spec == spec; });
  if (known != kept_.end()) {
    kept_.splice(kept_.begin(), kept_, known);
    return kept_.front().grammar;
  }
  if (compiler_ == nullptr) compiler_ = make_();
  std::shared_ptr<const text::Grammar> grammar = compiler_->compile(spec);
  const auto bytes_of = [](const Kept& kept) {
    return kept.grammar->bytes() + static_cast<int64_t>(kept.spec.source.size());
  };
  kept_.push_front({spec, grammar});
  kept_bytes_ += bytes_of(kept_.front());
  for (; kept_bytes_ > kKeptBytes; kept_.pop_back()) kept_bytes_ -= bytes_of(kept_.back());
  return grammar;
}

}  // namespace weft::fleet
