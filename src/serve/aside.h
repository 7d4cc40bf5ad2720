// A route that takes longer than the network's threads may wait: a thread of the pool runs it.
#pragma once

#include "serve/exchange.h"
#include "serve/task_pool.h"

namespace weft::serve {

// 503 where too much waits already. The pool outlives the route.
Route aside(TaskPool* pool, Route route);

}  // namespace weft::serve
