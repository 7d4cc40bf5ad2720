#include "serve/response_store.h"

#include <utility>

namespace weft::serve {

bool ResponseStore::put(const std::string& id, StoredResponse response) {
  // Beside the texts: list, map and allocations, roughly.
  constexpr size_t kOverheadBytes = 512;
  const size_t bytes = response.object.size() + response.messages.size() + response.input.size() +
                       id.size() + response.owner.size() + kOverheadBytes;
  if (bytes > limits_.bytes / 8) return false;
  const std::lock_guard lock(mutex_);
  if (by_id_.contains(id)) return false;
  entries_.push_back({id, std::move(response), bytes});
  by_id_.emplace(id, std::prev(entries_.end()));
  bytes_ += bytes;
  while (entries_.size() > limits_.responses || bytes_ > limits_.bytes) erase(entries_.begin());
  return true;
}

std::optional<StoredResponse> ResponseStore::find(const std::string& id,
                                                  const std::string& owner) const {
  const std::lock_guard lock(mutex_);
  const auto found = by_id_.find(id);
  if (found == by_id_.end() || found->second->response.owner != owner) return {};
  return found->second->response;
}

bool ResponseStore::erase(const std::string& id, const std::string& owner) {
  const std::lock_guard lock(mutex_);
  const auto found = by_id_.find(id);
  if (found == by_id_.end() || found->second->response.owner != owner) return false;
  erase(found->second);
  return true;
}

void ResponseStore::erase(Entries::iterator entry) {
  bytes_ -= entry->bytes;
  by_id_.erase(entry->id);
  entries_.erase(entry);
}

size_t ResponseStore::num_bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

size_t ResponseStore::size() const {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

}  // namespace weft::serve
