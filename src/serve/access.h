// Who may ask what. A key belongs to a principal, which has a rate limit, a priority and a salt of
// its own for cached prefixes; keys are kept and compared as SHA-256 sums only, all of them each
// time, so that how long it takes tells nothing.
//
// Every route needs a key where there are any, but those of `is_open`: probes of health, and the
// page's files, which hold nothing. Thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "serve/exchange.h"

namespace weft::serve {

using KeyHash = std::array<std::byte, 32>;
KeyHash hash_key(std::string_view key);
// Takes as long whatever differs.
bool equal_in_constant_time(const KeyHash& one, const KeyHash& other);

// One key. Several may name one principal (a new key beside the old one): the first of them says
// its rate, priority and salt; each says for itself whether it is an operator's.
struct KeyRule {
  std::string name;
  KeyHash hash{};
  double requests_per_minute = 0;  // 0: any number
  int32_t priority = 0;
  bool is_admin = false;
};

// Lines of a file of keys: NAME KEY [REQUESTS-PER-MINUTE [PRIORITY]] [admin], where KEY may be its
// sum as "sha256:" and 64 hexadecimal digits; # begins a comment. Error(kUsage) naming file and
// line, never the key.
std::vector<KeyRule> read_key_file(const std::string& path);
// --api-key: principals "key-1", "key-2", ...
std::vector<KeyRule> rules_of_keys(const std::vector<std::string>& keys);

class Access {
 public:
  explicit Access(const std::vector<KeyRule>& rules);
  ~Access();

  bool has_keys() const;
  // GET and HEAD of /health, /live, /ready, /ping, /, /index.html, /favicon.* and /assets/...
  static bool is_open(std::string_view method, std::string_view path);

  struct Verdict {
    // 401: no key or a wrong one. 403: not an operator's. 429: too many requests of this principal.
    int status = 200;
    Principal principal;
    double retry_after_s = 0;
  };
  // The key is in Authorization (Bearer) or X-Api-Key. What asks for work (POST) counts against the
  // principal's rate. admin: only an operator's key will do; any, where no key is one.
  Verdict check(const HttpRequest& request, int64_t now_ns, bool admin = false);

 private:
  class RateLimit;
  struct Client;
  struct Key {
    KeyHash hash;
    Client* client;
    bool is_admin;
  };
  const Key* find(std::string_view key) const;

  std::vector<Key> keys_;
  bool has_admin_keys_ = false;
  std::vector<std::unique_ptr<Client>> clients_;
};

}  // namespace weft::serve
