// A grammar for tests of who makes masks, and when: each mask is a hash of the tokens before it.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/error.h"
#include "text/grammar.h"

namespace weft::engine {

// Ids that are multiples of 7 never come; after kFailing the grammar fails.
class CountingGrammar final : public text::Grammar {
 public:
  static constexpr int32_t kFailing = 99;
  struct Counts {
    std::atomic<int> matchers{0}, masks{0}, advances{0};
    std::atomic<int> overlaps{0};  // calls of one matcher at the same time
  };

  static bool forbids(int32_t id) { return id % 7 == 0; }
  static uint32_t word(std::span<const int32_t> ids, size_t index) {
    uint32_t hash = 2166136261u + static_cast<uint32_t>(index);
    for (const int32_t id : ids) hash = (hash ^ static_cast<uint32_t>(id)) * 16777619u;
    return hash;
  }

  std::unique_ptr<text::GrammarMatcher> matcher() const override {
    ++counts_->matchers;
    return std::make_unique<Matcher>(counts_);
  }
  int64_t bytes() const override { return 1; }
  Counts& counts() const { return *counts_; }

 private:
  class Matcher final : public text::GrammarMatcher {
   public:
    explicit Matcher(std::shared_ptr<Counts> counts) : counts_(std::move(counts)) {}
    Matcher(const Matcher& other)
        : text::GrammarMatcher(other), counts_(other.counts_), ids_(other.ids_) {}

    void fill(std::span<uint32_t> mask) override {
      const Call call(*this);
      ++counts_->masks;
      if (std::count(ids_.begin(), ids_.end(), kFailing) > 0)
        throw Error(ErrorKind::kUsage, "it cannot go on");
      for (size_t i = 0; i < mask.size(); ++i) mask[i] = word(ids_, i);
    }
    bool advance(int32_t id) override {
      const Call call(*this);
      ++counts_->advances;
      if (forbids(id)) return false;
      ids_.push_back(id);
      return true;
    }
    void take_back(int64_t count) override {
      const Call call(*this);
      ids_.resize(ids_.size() - static_cast<size_t>(count));
    }
    bool may_end() override { return false; }
    bool must_end() override { return false; }
    std::unique_ptr<text::GrammarMatcher> clone() const override {
      return std::make_unique<Matcher>(*this);
    }

   private:
    struct Call {
      explicit Call(Matcher& of) : matcher(of) {
        if (matcher.is_busy_.exchange(true)) ++matcher.counts_->overlaps;
      }
      ~Call() { matcher.is_busy_ = false; }
      Matcher& matcher;
    };

    std::shared_ptr<Counts> counts_;
    std::vector<int32_t> ids_;
    std::atomic<bool> is_busy_{false};
  };

  std::shared_ptr<Counts> counts_ = std::make_shared<Counts>();
};

}  // namespace weft::engine
