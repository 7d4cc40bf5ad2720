// How often a value was how large, in fixed buckets: one relaxed addition to a count and one to
// the sum, without a lock, since the thread that steps the engine observes every token.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace weft::serve {

class Histogram {
 public:
  // bounds: ascending; of each bucket the largest value in it. They outlive the histogram.
  explicit Histogram(std::span<const double> bounds)
      : bounds_(bounds), counts_(std::make_unique<std::atomic<uint64_t>[]>(bounds.size() + 1)) {}

  void observe(double value) {
    const auto bucket = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
    counts_[static_cast<size_t>(bucket)].fetch_add(1, std::memory_order_relaxed);
    sum_.fetch_add(value, std::memory_order_relaxed);
  }

  struct Snapshot {
    std::span<const double> bounds;
    std::vector<uint64_t> counts;  // [bounds + 1]: the last of what is above all of them
    double sum = 0;
  };
  Snapshot snapshot() const {
    Snapshot snapshot{bounds_, {}, sum_.load(std::memory_order_relaxed)};
    for (size_t i = 0; i <= bounds_.size(); ++i)
      snapshot.counts.push_back(counts_[i].load(std::memory_order_relaxed));
    return snapshot;
  }

 private:
  std::span<const double> bounds_;
  std::unique_ptr<std::atomic<uint64_t>[]> counts_;  // [bounds + 1]
  std::atomic<double> sum_{0};
};

}  // namespace weft::serve
