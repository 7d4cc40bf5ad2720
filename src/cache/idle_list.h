// Blocks in the order in which they became idle: a doubly linked list over block ids, all verbs
// O(1), memory taken once.
#pragma once

#include <cstdint>
#include <vector>

#include "base/error.h"

namespace weft::cache {

class IdleList {
 public:
  explicit IdleList(int64_t num_blocks) : links_(static_cast<size_t>(num_blocks) + 1) {
    at(end()) = {end(), end()};
  }

  // Adds a block that is not in the list as the one idle for the shortest time.
  void push(int32_t block) {
    WEFT_CHECK(!contains(block), "block {} is idle", block);
    const int32_t newest = at(end()).older;
    at(block) = {.older = newest, .newer = end()};
    at(newest).newer = block;
    at(end()).older = block;
    ++size_;
  }
  void erase(int32_t block) {
    WEFT_CHECK(contains(block), "block {} is not idle", block);
    at(at(block).older).newer = at(block).newer;
    at(at(block).newer).older = at(block).older;
    at(block) = {};
    --size_;
  }

  bool contains(int32_t block) const { return at(block).newer != kOutside; }
  int64_t size() const { return size_; }
  // From the longest idle on, until end().
  int32_t oldest() const { return at(end()).newer; }
  int32_t newer(int32_t block) const { return at(block).newer; }
  int32_t end() const { return static_cast<int32_t>(links_.size()) - 1; }

 private:
  static constexpr int32_t kOutside = -1;
  struct Link {
    int32_t older = kOutside, newer = kOutside;
  };
  Link& at(int32_t block) { return links_[static_cast<size_t>(block)]; }
  const Link& at(int32_t block) const { return links_[static_cast<size_t>(block)]; }

  std::vector<Link> links_;  // [num_blocks + 1]: the last is both ends
  int64_t size_ = 0;
};

}  // namespace weft::cache
