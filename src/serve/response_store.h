// Responses that clients may come back to (/v1/responses with store), kept in memory: so many, and
// so many bytes, the oldest given up first. A response is its owner's alone. Thread-safe.
#pragma once

#include <cstdint>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

namespace weft::serve {

struct ResponseStoreLimits {
  size_t responses = 4096;
  size_t bytes = 64 << 20;  // of their JSON; one response may take an eighth
};

struct StoredResponse {
  std::string owner;     // the principal's name
  std::string object;    // the response as JSON
  std::string messages;  // the conversation up to its end, a JSON array of chat messages
  std::string input;     // its input items, a JSON array
};

class ResponseStore {
 public:
  explicit ResponseStore(ResponseStoreLimits limits = {}) : limits_(limits) {}

  // False where it is too large to be kept.
  bool put(const std::string& id, StoredResponse response);
  // None also where it is another's.
  std::optional<StoredResponse> find(const std::string& id, const std::string& owner) const;
  bool erase(const std::string& id, const std::string& owner);
  size_t num_bytes() const;
  size_t size() const;

 private:
  struct Entry {
    std::string id;
    StoredResponse response;
    size_t bytes = 0;
  };
  using Entries = std::list<Entry>;  // the oldest first
  void erase(Entries::iterator entry);

  const ResponseStoreLimits limits_;
  mutable std::mutex mutex_;
  Entries entries_;
  std::unordered_map<std::string, Entries::iterator> by_id_;
  size_t bytes_ = 0;
};

}  // namespace weft::serve
