// One HTTP/1.1 request out of bytes as they come (RFC 9112), by Boost.Beast's parser and stricter
// than it where two readers could understand one request differently: what is ambiguous is refused,
// not repaired. Knows no socket.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "serve/exchange.h"

namespace weft::serve {

struct RequestLimits {
  size_t header_bytes = 32 * 1024;  // request line and header fields
  size_t num_headers = 100;
  size_t target_bytes = 8 * 1024;
  size_t body_bytes = 16 * 1024 * 1024;
};

class RequestReader {
 public:
  enum class State {
    kHeader,      // wants more of the header
    kHeaderDone,  // once: the request but its body is known; read on with proceed()
    kBody,        // wants more of the body
    kDone,
    kFailed
  };
  struct Failure {
    int status = 400;
    std::string message;
  };

  explicit RequestReader(const RequestLimits& limits);
  ~RequestReader();

  // Takes what it can of data and returns how many bytes it took; the rest is to be given again,
  // with what follows it. Takes nothing in kHeaderDone, kDone and kFailed.
  size_t feed(std::string_view data);
  // After kHeaderDone: on to the body, of which this request may have so many bytes.
  void proceed(size_t body_bytes);

  State state() const { return state_; }
  const Failure& failure() const { return failure_; }

  // From kHeaderDone on, and as far as it was understood in kFailed.
  HttpRequest& request() { return request_; }
  bool keep_alive() const { return keep_alive_; }
  bool is_http_1_0() const { return is_http_1_0_; }
  bool expects_continue() const { return expects_continue_; }
  bool has_body() const;
  std::optional<uint64_t> content_length() const;
  size_t body_bytes() const;  // that have come

 private:
  struct Parser;
  size_t feed_header(std::string_view data);
  size_t feed_body(std::string_view data);
  void take_header();
  bool check_framing(size_t num_hosts, size_t num_lengths, size_t num_codings);
  bool take_authority(std::string_view authority);
  bool take_target(std::string_view target);
  bool fail(int status, std::string message);

  RequestLimits limits_;
  State state_ = State::kHeader;
  Failure failure_;
  HttpRequest request_;
  bool keep_alive_ = false, is_http_1_0_ = false, expects_continue_ = false;
  size_t searched_ = 0;  // bytes of an unfinished header that hold no end
  std::unique_ptr<Parser> parser_;
};

// %-escapes undone; nothing for escapes that are none, control characters and zero bytes.
std::optional<std::string> decode_path(std::string_view path);

}  // namespace weft::serve
