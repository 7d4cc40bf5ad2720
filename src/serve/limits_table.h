// All limits that a request meets, in one table: `weft serve --limits` prints it. Numbers are read
// from where they hold, never written twice.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "serve/http_server.h"

namespace weft::serve {

// Beyond a limit, in place of an answer's status.
inline constexpr int kEndsConnection = 0, kNoStart = -1;

struct Limit {
  std::string name, value, what;
  int status = 400;  // of the answer beyond it; or one of the above
};

struct QueueLimits {
  int64_t num_requests = 256;
  int64_t num_tokens = 0;  // 0: as many contexts as requests may run and queue
};

// Those of fields that only some requests have (serve/limits_of_fields.cpp).
void add_limits_of_fields(std::vector<Limit>* table);

std::vector<Limit> limits_table(const HttpServerOptions& http, const QueueLimits& queue);

}  // namespace weft::serve
