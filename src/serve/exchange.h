// One HTTP request and its answer, without the socket: what a route sees. The server
// (serve/http_server.h) makes one a request; a test makes its own.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace weft::serve {

// Who asks. Without keys everyone is the one principal "anonymous".
struct Principal {
  std::string name = "anonymous";
  uint64_t cache_salt = 0;  // of the key; never a caller's
  int32_t priority = 0;     // added to what a request asks for
};

struct HttpRequest {
  std::string method;  // "POST"
  std::string path;    // decoded, without the query: "/v1/models/a b"
  std::string query;   // as sent, without "?"
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
  std::string body;
  Principal principal;
  std::string request_id;  // the client's X-Request-Id where it is fit to print, else drawn
  int64_t arrived_ns = 0;  // base/clock.h
  // What stood for the {names} of the route's pattern (serve/router.h), decoded.
  std::vector<std::pair<std::string, std::string>> path_params;

  // Empty where there is none.
  std::string_view header(std::string_view lower_case_name) const;
  std::string_view path_param(std::string_view name) const;
};

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

// Thread-safe: a route may keep it and answer later, from any thread. An exchange that is dropped
// unanswered is answered with 500.
class Exchange {
 public:
  virtual ~Exchange() = default;

  virtual const HttpRequest& request() const = 0;

  // The whole answer, once.
  virtual void respond(int status, std::string content_type, std::string body,
                       HttpHeaders headers = {}) = 0;

  // Or a stream (chunked). write: false where the client is gone, or does not read and its buffer
  // is full (a bounded number of bytes): then nothing more is sent, and the route should cancel.
  virtual void begin_stream(int status, std::string content_type, HttpHeaders headers = {}) = 0;
  virtual bool write(std::string chunk) = 0;
  virtual void end_stream() = 0;

  // Called once, from any thread, when the client leaves before the answer is complete; at once
  // where it has left already. Must not block.
  virtual void on_gone(std::function<void()> gone) = 0;
  // Whether it has left already: work for it is in vain.
  virtual bool is_gone() const { return false; }

  // Called from any thread, again and again, each time that a stream has said nothing for so long,
  // also before it has begun. Must not block, nor keep the exchange.
  virtual void on_quiet(int64_t /*after_ns*/, std::function<void()> /*quiet*/) {}

  // Called once, from any thread, when the server ends before the answer is complete: what is said
  // within a moment still reaches the client. Must not block, nor keep the exchange.
  virtual void on_shutdown(std::function<void()> /*shutdown*/) {}

  // What is to last until the whole answer was sent, or its client has left.
  virtual void keep(std::shared_ptr<void> /*kept*/) {}

  // The body was read and is not needed any more, by anyone: its memory is given back.
  virtual void release_body() {}
};

// Must not block: what takes long is handed to others.
using Route = std::function<void(std::shared_ptr<Exchange> exchange)>;

}  // namespace weft::serve
