// HTTP requests as a connection reads them, in pieces of every size: the parser, the target's
// escapes, the host check and the router. A request that was read in one piece must be read the
// same in many: two readers that disagree about where a request ends are how requests are smuggled.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "serve/host_check.h"
#include "serve/request_reader.h"
#include "serve/router.h"

namespace weft::fuzz {

using namespace weft::serve;

inline RequestLimits small_limits() {
  RequestLimits limits;
  limits.header_bytes = 4096;
  limits.num_headers = 20;
  limits.target_bytes = 512;
  limits.body_bytes = 8192;
  return limits;
}

inline const Router& router() {
  static const Router routes = [] {
    Router made;
    const Route nothing = [](const std::shared_ptr<Exchange>&) {};
    made.add("GET", "/", nothing);
    made.add("GET", "/v1/models/{id*}", nothing);
    made.add("POST", "/v1/responses/{id}/cancel", nothing);
    made.add("POST", "/v1/chat/completions", nothing);
    return made;
  }();
  return routes;
}

// All requests of a text, one line each: what was understood of them.
inline std::vector<std::string> read_requests(std::string_view text, size_t piece) {
  std::vector<std::string> requests;
  std::string buffer;
  while (true) {
    RequestReader reader(small_limits());
    while (reader.state() != RequestReader::State::kDone) {
      const size_t taken = reader.feed(buffer);
      buffer.erase(0, taken);
      if (reader.state() == RequestReader::State::kFailed) {
        requests.push_back(std::to_string(reader.failure().status));
        return requests;
      }
      if (reader.state() == RequestReader::State::kHeaderDone) reader.proceed(8192);
      if (taken > 0 || reader.state() == RequestReader::State::kDone) continue;
      if (text.empty()) return requests;
      buffer += text.substr(0, piece);
      text.remove_prefix(std::min(piece, text.size()));
    }
    HttpRequest& request = reader.request();
    check_host(request, {"example.com"});
    const Router::Found found = router().find(request.method, request.path);
    std::string line = request.method + ' ' + request.path + '?' + request.query + ' ' +
                       std::string(found.pattern) + ' ' + std::to_string(reader.keep_alive());
    for (const auto& [name, value] : request.headers) line += '\n' + name + ':' + value;
    requests.push_back(line + '\n' + request.body);
  }
}

// Whether it makes no difference.
inline bool reads_alike(std::string_view text, size_t piece) {
  return read_requests(text, SIZE_MAX) == read_requests(text, piece);
}

}  // namespace weft::fuzz
