#include "fleet/grammar_compilations.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>

#include "base/error.h"

namespace weft::fleet {

GrammarCompilations::~GrammarCompilations() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (Worker& worker : workers_) {
    if (worker.thread.joinable()) worker.thread.join();
  }
}

void GrammarCompilations::submit(uint64_t number, text::GrammarSpec spec, std::string owner) {
  {
    const std::lock_guard lock(mutex_);
    const size_t bytes = spec.source.size();
    if (jobs_.size() >= kMostWaiting || bytes > kMostWaitingBytes - waiting_bytes_)
      throw Error(ErrorKind::kBusy, "too many grammars wait to be compiled, try again later",
                  fmt::format("{} of {} bytes do, where up to {} of {} bytes may", jobs_.size(),
                              waiting_bytes_, kMostWaiting, kMostWaitingBytes));
    jobs_.push_back({number, std::move(spec), std::move(owner), Clock::now()});
    waiting_bytes_ += bytes;
  }
  changed_.notify_all();
  for (Worker& worker : workers_) {
    if (!worker.thread.joinable()) worker.thread = std::thread([this, &worker] { run(worker); });
  }
}

void GrammarCompilations::cancel(uint64_t number) {
  const std::lock_guard lock(mutex_);
  const auto job =
      std::ranges::find_if(jobs_, [&](const Job& each) { return each.number == number; });
  if (job == jobs_.end()) return;
  waiting_bytes_ -= job->spec.source.size();
  jobs_.erase(job);
}

void GrammarCompilations::run(Worker& worker) {
  while (true) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      worker.owner.reset();
      const bool is_due = changed_.wait_for(lock, std::chrono::seconds(1),
                                            [this] { return stopping_ || !jobs_.empty(); });
      if (!is_due) continue;
      if (stopping_) return;
      job = take_next(worker);
    }
    compile(std::move(job));
  }
}

GrammarCompilations::Job GrammarCompilations::take_next(Worker& worker) {
  const auto is_busy_for = [this](const std::string& owner) {
    return std::ranges::any_of(workers_, [&](const Worker& each) { return each.owner == owner; });
  };
  auto next =
      std::ranges::find_if(jobs_, [&](const Job& each) { return !is_busy_for(each.owner); });
  if (next == jobs_.end()) next = jobs_.begin();
  Job job = std::move(*next);
  jobs_.erase(next);
  waiting_bytes_ -= job.spec.source.size();
  worker.owner = job.owner;
  return job;
}

void GrammarCompilations::compile(Job job) {
  std::shared_ptr<const text::Grammar> grammar;
  std::optional<Error> error;
  try {
    if (Clock::now() - job.since > longest_wait_)
      throw Error(ErrorKind::kBusy, "too many grammars wait to be compiled, try again later",
                  fmt::format("this one waited longer than {} ms", longest_wait_.count()));
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
  std::shared_ptr<const text::Grammar> grammar = kept(spec);
  if (grammar != nullptr) return grammar;
  grammar = compiler().compile(spec);
  keep(spec, grammar);
  return grammar;
}

std::shared_ptr<const text::Grammar> GrammarCompilations::kept(const text::GrammarSpec& spec) {
  const std::lock_guard lock(mutex_);
  const auto known =
      std::ranges::find_if(kept_, [&](const Kept& kept) { return kept.spec == spec; });
  if (known == kept_.end()) return nullptr;
  kept_.splice(kept_.begin(), kept_, known);
  return known->grammar;
}

void GrammarCompilations::keep(const text::GrammarSpec& spec,
                               const std::shared_ptr<const text::Grammar>& grammar) {
  const auto bytes_of = [](const Kept& kept) {
    return kept.grammar->bytes() + static_cast<int64_t>(kept.spec.source.size());
  };
  std::list<Kept> forgotten;  // let go without the lock
  const std::lock_guard lock(mutex_);
  if (std::ranges::any_of(kept_, [&](const Kept& kept) { return kept.spec == spec; }))
    return;  // the other thread's
  kept_.push_front({spec, grammar});
  kept_bytes_ += bytes_of(kept_.front());
  while (kept_bytes_ > kKeptBytes) {
    kept_bytes_ -= bytes_of(kept_.back());
    forgotten.splice(forgotten.begin(), kept_, std::prev(kept_.end()));
  }
}

text::GrammarCompiler& GrammarCompilations::compiler() {
  const std::lock_guard lock(making_);
  if (compiler_ == nullptr) compiler_ = make_();
  return *compiler_;
}

}  // namespace weft::fleet
