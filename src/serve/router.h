// Which route answers a request: a method and a pattern of the path.
//
//   router.add("GET", "/v1/models/{id*}", show_model);
//
// {name} stands for one part of the path, {name*} for all that is left of it, slashes too, but not
// for nothing (names of models have slashes). Among several patterns that fit the one that says
// more in words wins: parts are compared from the left, a word before {name} before {name*}.
//
// Which routes need no key is not the router's to say: serve/access.h has the one list.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "serve/exchange.h"

namespace weft::serve {

class Router {
 public:
  // Methods in capitals. HEAD is answered by the route of GET. One route a method and pattern.
  void add(std::string method, std::string pattern, Route route);

  struct Found {
    const Route* route = nullptr;  // null: 405 where the path is known, else 404
    std::string_view pattern;      // empty: no such path
    std::vector<std::pair<std::string, std::string>> path_params;
    std::string allow;  // "GET, HEAD, OPTIONS": what the path knows
  };
  // path: decoded. Valid while the router is, and nothing is added.
  Found find(std::string_view method, std::string_view path) const;

  struct Entry {
    std::string method, pattern;
    Route route;
  };
  const std::vector<Entry>& entries() const { return entries_; }

 private:
  std::vector<Entry> entries_;
};

}  // namespace weft::serve
