#include "fleet/prefix_snapshot.h"

#include <algorithm>
#include <utility>

namespace weft::fleet {

void SaltOwners::note(uint64_t salt, std::string_view principal) {
  const auto found = recent_.find(salt);
  if (found != recent_.end()) {
    if (found->second != principal) found->second = principal;
    return;
  }
  if (recent_.size() >= kRemembered) older_ = std::exchange(recent_, {});
  recent_.emplace(salt, principal);
}

std::string_view SaltOwners::of(uint64_t salt) const {
  for (const auto* known : {&recent_, &older_}) {
    const auto found = known->find(salt);
    if (found != known->end()) return found->second;
  }
  return {};
}

std::shared_ptr<const PrefixSnapshot> PrefixWatch::young(int64_t now) const {
  const std::lock_guard lock(mutex_);
  return now < young_until_ns_ ? last_ : nullptr;
}

std::shared_ptr<const PrefixSnapshot> PrefixWatch::keep(cache::PrefixOutline outline,
                                                        const SaltOwners& owners, int64_t begin_ns,
                                                        int64_t end_ns) {
  const auto snapshot = std::make_shared<PrefixSnapshot>();
  snapshot->made_ns = begin_ns;
  for (const cache::PrefixRun& run : outline.runs)
    snapshot->run_principals.emplace_back(owners.of(run.salt));
  for (const cache::PrefixShare& share : outline.shares)
    snapshot->share_principals.emplace_back(owners.of(share.salt));
  snapshot->outline = std::move(outline);
  const std::lock_guard lock(mutex_);
  last_ = snapshot;
  young_until_ns_ = end_ns + std::max(kYoungNs, kShare * (end_ns - begin_ns));
  return snapshot;
}

}  // namespace weft::fleet
