// HTTP to a hub, on libcurl: single requests, and a body in ranges through several connections.
//
// Redirects are followed here and not by libcurl: each hop's address is looked at, so that the
// token goes to the endpoint's own origin (scheme, host and port) alone, and never in clear text to
// another machine. http and https only, never from https back to http.
// Not thread-safe; one thread uses a client.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "hub/hub.h"

namespace weft::hub {

struct Response {
  int status = 0;
  std::map<std::string, std::string> headers;  // lower-case names; the last of several
  std::string body;
  std::string url;  // that answered, after redirects

  std::string_view header(std::string_view name) const;  // empty where absent
};

// Nobody answered, or the answer broke off: worth another try. what: in libcurl's words.
struct TransportError {
  std::string what;
  bool is_certificate = false;  // no other try will help
};

class HttpClient {
 public:
  HttpClient(const Settings& settings, const std::atomic<bool>& stop);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // A small body, of at most max_bytes; more is a TransportError. Tries again where the network or
  // the server stumbles (408, 429, 5xx), as often as the settings say. Throws TransportError,
  // Stopped.
  Response get(const std::string& url, int64_t max_bytes);

  // Where the bytes of `url` lie: follows redirects on the endpoint's own host and stops at one to
  // another, whose address is `location` then. The hub's x-... headers of all hops are merged.
  struct Place {
    Response response;     // the last hop's; status 200, or 3xx before another host
    std::string location;  // to fetch from
  };
  Place locate(const std::string& url);

  // Takes bytes of a body, in order.
  using Sink = std::function<void(std::span<const char> piece)>;
  // What it took for [begin, end) of what lies at `location` to reach the sink.
  // status: of the server's refusal; 0: all bytes came.
  struct RangeResult {
    int status = 0;
    int64_t received = 0;  // in order, by the sink
  };
  // total_bytes: of the whole file. A server that knows no ranges is read from the start. Throws
  // TransportError after as many failures in a row as the settings allow, Stopped, and what the
  // sink throws. By then the sink has received all bytes in order up to some point.
  RangeResult get_range(const std::string& location, int64_t begin, int64_t total_bytes,
                        const Sink& sink);

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

// The parts of an address in its path that are not letters, digits, "-", ".", "_", "~" or "/" as
// %XX.
std::string escaped_path(std::string_view path);

// Scheme, host and port, in lower case: "https://huggingface.co:443". Empty where the address is
// none of http or https.
std::string origin_of(const std::string& url);

// Whether the token may go to `url`: the endpoint's origin, over https or on this machine.
bool may_send_token(const std::string& url, const std::string& endpoint);

// The address that a redirect from `url` leads to; empty where it may not be followed.
std::string redirected(const std::string& url, std::string_view location);

}  // namespace weft::hub
