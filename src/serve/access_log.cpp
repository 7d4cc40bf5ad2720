#include "serve/access_log.h"

#include "base/log.h"
#include "text/utf8.h"

namespace weft::serve {

namespace {

// What asks all the time, and has nothing to say while all is well.
bool is_routine(const AnsweredRequest& answered) {
  return answered.status < 400 &&
         (Access::is_open(answered.method, answered.path) ||
          answered.pattern.starts_with("/weft/") || answered.pattern == "/metrics");
}

}  // namespace

void log_answered(const AnsweredRequest& answered) {
  if (is_routine(answered)) return;
  // A path that nobody knows is the client's own text: its beginning is enough to find it by.
  // It may end within a character, or hold bytes that are none.
  constexpr size_t kMostPathBytes = 200;
  const std::string path =
      text::to_valid_utf8(std::string_view(answered.path).substr(0, kMostPathBytes));
  log_event("request", {{"method", answered.method},
                        {"path", path},
                        {"status", int64_t{answered.status}},
                        {"ms", static_cast<double>(answered.took_ns) * 1e-6},
                        {"in", answered.num_body_bytes},
                        {"out", answered.num_answer_bytes},
                        {"cut", int64_t{answered.cut}},
                        {"principal", answered.principal},
                        {"id", answered.request_id}});
}

}  // namespace weft::serve
