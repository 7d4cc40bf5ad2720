#include "fleet/grammar_compilations.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/error.h"

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
    const size_t bytes = spec.source.size();
    if (jobs_.size() >= kMostWaiting || bytes > kMostWaitingBytes - waiting_bytes_)
      throw Error(ErrorKind::kBusy, "too many grammars wait to be compiled, try again later",
                  fmt::format("{} of {} bytes do, where up to {} of {} bytes may", jobs_.size(),
                              waiting_bytes_, kMostWaiting, kMostWaitingBytes));
    jobs_.push_back({number, std::move(spec)});
    waiting_bytes_ += bytes;
  }
  changed_.notify_all();
  if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
}

void GrammarCompilations::cancel(uint64_t number) {
  const std::lock_guard lock(mutex_);
  const auto job =
      std::ranges::find_if(jobs_, [&](const Job& each) { return each.number == number; });
  if (job == jobs_.end()) return;
  waiting_bytes_ -= job->spec.source.size();
  jobs_.erase(job);
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
      waiting_bytes_ -= job.spec.source.size();
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
