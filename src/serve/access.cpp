#include "serve/access.h"

#include <algorithm>
#include <cstring>
#include <mutex>

#include "base/error.h"
#include "base/sha256.h"

namespace weft::serve {
namespace {

// The first 8 bytes of a sum of the key's sum: equal for every start of the server, and nothing to
// guess a key by.
uint64_t salt_of(const KeyHash& hash) {
  std::string text = "weft cache salt ";
  text.append(reinterpret_cast<const char*>(hash.data()), hash.size());
  const KeyHash sum = hash_key(text);
  uint64_t salt = 0;
  std::memcpy(&salt, sum.data(), sizeof salt);
  return salt == 0 ? 1 : salt;  // 0 is everybody's
}

std::string_view bearer(std::string_view authorization) {
  constexpr std::string_view kScheme = "bearer ";
  if (authorization.size() < kScheme.size()) return {};
  for (size_t i = 0; i < kScheme.size(); ++i)
    if ((authorization[i] | 0x20) != kScheme[i]) return {};
  authorization.remove_prefix(kScheme.size());
  const size_t begin = authorization.find_first_not_of(' ');
  return begin == std::string_view::npos ? std::string_view() : authorization.substr(begin);
}

// Of an engine: what only counts tokens has none of it.
bool asks_for_work(const HttpRequest& request) {
  return request.method == "POST" && request.path != "/tokenize" && request.path != "/detokenize";
}

}  // namespace

// So many requests at once, and then as many a minute.
class Access::RateLimit {
 public:
  explicit RateLimit(double per_minute) : per_minute_(per_minute), tokens_(burst()) {}

  // 0: go on. Otherwise seconds until there is room.
  double take(int64_t now) {
    if (per_minute_ <= 0) return 0;
    const std::lock_guard lock(mutex_);
    if (last_ns_ > 0) tokens_ = std::min(burst(), tokens_ + seconds_since(now) * per_minute_ / 60);
    last_ns_ = now;
    if (tokens_ < 1) return (1 - tokens_) * 60 / per_minute_;
    tokens_ -= 1;
    return 0;
  }

 private:
  double burst() const { return std::max(1.0, per_minute_); }
  double seconds_since(int64_t now) const {
    return static_cast<double>(std::max<int64_t>(0, now - last_ns_)) * 1e-9;
  }

  const double per_minute_;
  std::mutex mutex_;
  double tokens_;
  int64_t last_ns_ = 0;
};

KeyHash hash_key(std::string_view key) {
  Sha256 sum;
  sum.add(std::as_bytes(std::span(key.data(), key.size())));
  const std::string digits = sum.finish();
  KeyHash hash{};
  for (size_t i = 0; i < hash.size(); ++i)
    hash[i] = static_cast<std::byte>(std::stoi(digits.substr(2 * i, 2), nullptr, 16));
  return hash;
}

bool equal_in_constant_time(const KeyHash& one, const KeyHash& other) {
  volatile unsigned difference = 0;  // no compiler may leave the loop early
  for (size_t i = 0; i < one.size(); ++i)
    difference = difference | std::to_integer<unsigned>(one[i] ^ other[i]);
  return difference == 0;
}

struct Access::Client {
  Principal principal;
  RateLimit rate;
};

Access::Access(const std::vector<KeyRule>& rules) {
  for (const KeyRule& rule : rules) {
    has_admin_keys_ = has_admin_keys_ || rule.is_admin;
    const auto known = std::ranges::find_if(
        clients_, [&](const auto& client) { return client->principal.name == rule.name; });
    if (known != clients_.end()) {
      keys_.push_back({rule.hash, known->get(), rule.is_admin});
      continue;
    }
    clients_.push_back(std::unique_ptr<Client>(new Client{
        {rule.name, salt_of(rule.hash), rule.priority}, RateLimit(rule.requests_per_minute)}));
    keys_.push_back({rule.hash, clients_.back().get(), rule.is_admin});
  }
}

Access::~Access() = default;

bool Access::has_keys() const { return !keys_.empty(); }

bool Access::is_open(std::string_view method, std::string_view path) {
  if (method != "GET" && method != "HEAD") return false;
  constexpr std::string_view kPaths[] = {"/health", "/live", "/ready", "/ping", "/", "/index.html"};
  if (std::ranges::find(kPaths, path) != std::end(kPaths)) return true;
  return path.starts_with("/assets/") ||
         (path.starts_with("/favicon.") && path.find('/', 1) == std::string_view::npos);
}

const Access::Key* Access::find(std::string_view key) const {
  const KeyHash asked = hash_key(key);
  const Key* found = nullptr;
  for (const Key& one : keys_)
    if (equal_in_constant_time(one.hash, asked)) found = &one;
  return found;
}

Access::Verdict Access::check(const HttpRequest& request, int64_t now, bool admin) {
  if (!has_keys() || is_open(request.method, request.path)) return {};
  std::string_view key = bearer(request.header("authorization"));
  if (key.empty()) key = request.header("x-api-key");
  const Key* known = key.empty() ? nullptr : find(key);
  if (known == nullptr) return {.status = 401};
  Client& client = *known->client;
  if (admin && has_admin_keys_ && !known->is_admin) return {403, client.principal, 0};
  const double wait = !admin && asks_for_work(request) ? client.rate.take(now) : 0;
  return {wait > 0 ? 429 : 200, client.principal, wait};
}

}  // namespace weft::serve
