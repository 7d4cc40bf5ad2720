#include "serve/aside.h"

#include <exception>
#include <utility>

#include "base/log.h"
#include "serve/error_object.h"

namespace weft::serve {

Route aside(TaskPool* pool, Route route) {
  return [pool, route = std::move(route)](std::shared_ptr<Exchange> exchange) {
    const bool is_taken = pool->try_post([route, exchange] {
      try {
        route(exchange);
      } catch (const std::exception& error) {  // the exchange, dropped, has answered 500
        log_error("a route failed: {}", error.what());
      }
    });
    if (!is_taken)
      respond_error(*exchange, {.status = 503, .message = "Too much else is being told."},
                    retry_headers(1));
  };
}

}  // namespace weft::serve
