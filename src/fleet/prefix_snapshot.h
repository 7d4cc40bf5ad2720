// The prefix cache as its view shows it (cache/prefix_outline.h), with the name of whoever began
// each part: numbers, and no token of anybody's.
//
// Only the stepping thread may look at the cache, and it has better to do. So an outline is made
// when somebody asks, serves whoever asks in the next half second, and where it was costly longer:
// the stepping thread gives at most 1 / kShare of its time, whatever the cache holds and however
// many ask.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "cache/prefix_outline.h"

namespace weft::fleet {

struct PrefixSnapshot {
  int64_t made_ns = 0;  // base/clock.h
  cache::PrefixOutline outline;
  // Of runs and shares; empty: whose it is has been forgotten.
  std::vector<std::string> run_principals, share_principals;
};
// Called once, by the thread that asked or by the client's own; must not block. Null: there is none
// to be had, as while the engine is being ended.
using OnPrefixes = std::function<void(std::shared_ptr<const PrefixSnapshot> snapshot)>;

// Which principal asked under which salt: the last kRemembered salts at the least, twice as many at
// most. Thread rule: one thread.
class SaltOwners {
 public:
  static constexpr size_t kRemembered = 2048;

  void note(uint64_t salt, std::string_view principal);
  // Empty where it is not known.
  std::string_view of(uint64_t salt) const;

 private:
  std::unordered_map<uint64_t, std::string> recent_, older_;
};

// The outline that was made last.
class PrefixWatch {
 public:
  static constexpr int64_t kYoungNs = 500'000'000;
  static constexpr int64_t kShare = 200;

  // Null where it is too old. Any thread.
  std::shared_ptr<const PrefixSnapshot> young(int64_t now) const;
  // That of [begin, end]. The stepping thread's.
  std::shared_ptr<const PrefixSnapshot> keep(cache::PrefixOutline outline, const SaltOwners& owners,
                                             int64_t begin_ns, int64_t end_ns);

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const PrefixSnapshot> last_;
  int64_t young_until_ns_ = 0;
};

}  // namespace weft::fleet
