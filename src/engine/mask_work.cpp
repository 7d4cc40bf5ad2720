#include "engine/mask_work.h"

#include <algorithm>

#include "base/clock.h"

namespace weft::engine {
namespace {

template <typename T>
std::span<T> part(std::span<T> all, Range range) {
  return all.subspan(static_cast<size_t>(range.begin), static_cast<size_t>(range.size()));
}

}  // namespace

Range MaskWork::add(std::shared_ptr<GrammarPlace> place, Range guesses, StepPlan& plan) {
  const int64_t num_words = place->num_mask_words();
  const auto begin = static_cast<int64_t>(plan.masks.size());
  const Range words{begin, begin + (1 + guesses.size()) * num_words};
  // Zeros: a row whose mask was not made could choose nothing, and would be noticed.
  plan.masks.resize(static_cast<size_t>(words.end), 0);
  jobs_.push_back({std::move(place), guesses, words});
  return {begin, begin + num_words};
}

void MaskWork::begin(StepPlan& plan) {
  token_ids_ = plan.token_ids;
  masks_ = plan.masks;
  next_.store(0, std::memory_order_relaxed);
  spent_ns_.store(0, std::memory_order_relaxed);
}

void MaskWork::clear() {
  jobs_.clear();
  token_ids_ = {};
  masks_ = {};
}

void MaskWork::help(ThreadTeam& team) {
  const auto num_jobs = static_cast<int64_t>(jobs_.size());
  const int64_t left = num_jobs - static_cast<int64_t>(next_.load(std::memory_order_relaxed));
  team.parallel_for(std::min<int64_t>(left, team.num_threads()),
                    [this](int64_t, int) { make_some(); });
}

void MaskWork::make_some() {
  const int64_t begin_ns = now_ns();
  size_t job = next_.fetch_add(1, std::memory_order_relaxed);
  if (job >= jobs_.size()) return;
  for (; job < jobs_.size(); job = next_.fetch_add(1, std::memory_order_relaxed)) {
    const auto& [place, guesses, words] = jobs_[job];
    place->fill(part(masks_, words), part(token_ids_, guesses));
  }
  spent_ns_.fetch_add(now_ns() - begin_ns, std::memory_order_relaxed);
}

}  // namespace weft::engine
