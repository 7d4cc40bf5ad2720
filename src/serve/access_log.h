// One line a request (base/log.h): method, path, status, time, bytes, principal, request id. Never
// a query, a field or a body: they may hold what nobody else should read.
#pragma once

#include "serve/http_server.h"

namespace weft::serve {

void log_answered(const AnsweredRequest& answered);

}  // namespace weft::serve
