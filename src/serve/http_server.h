// An HTTP/1.1 server for thousands of connections on a few threads: requests to routes, answers
// and streams back, within limits and deadlines for everything that a client could do slowly or
// without end. Boost.Asio below, Beast's parser; nothing of either shows here.
//
//   HttpServer server({}, on_answered);
//   server.listen({.host = "127.0.0.1", .port = 8000}, site);
//   server.start();
//   ...
//   server.drain();                 // new work: 503; who only looks is still answered
//   server.wait_until_idle(30);
//   server.stop();
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "serve/access.h"
#include "serve/answer.h"
#include "serve/request_reader.h"
#include "serve/router.h"

namespace weft::serve {

// Milliseconds.
struct HttpTimes {
  int64_t handshake = 10'000;  // of TLS
  int64_t idle = 75'000;       // between requests, and before the first
  int64_t header = 15'000;     // from a request's first byte to the end of its header
  int64_t body = 60'000;
  int64_t write = 30'000;  // without any progress
  int64_t linger = 2'000;  // what still comes after a refusal is read and dropped for so long
};

struct HttpServerOptions {
  int num_threads = 1;
  RequestLimits request;
  size_t open_body_bytes = 16 * 1024;  // of a request to a route that needs no key
  AnswerLimits answer;
  HttpTimes times;
  int64_t max_connections = 10'000;
  int64_t max_body_bytes = int64_t{1} << 30;  // of all requests that are being read or answered
  size_t pipelined_bytes = 16 * 1024;         // that are read ahead while a route works
};

// What a listener serves, and to whom. Must outlive the server, and not change while it runs.
struct HttpSite {
  const Router* router = nullptr;
  Access* access = nullptr;                // null: everybody
  std::vector<std::string> allowed_hosts;  // beside this machine's own, where it is checked
  bool for_admins = false;                 // only operators' keys will do (serve/access.h)
};

struct ListenAt {
  std::string host = "127.0.0.1";  // an address or a name, all of whose addresses are taken
  int port = 0;                    // 0: any free one
  std::string unix_path;           // or a Unix socket, readable to its owner alone
  std::string option = "--port";   // that says which port or socket, for who has to choose another
  std::string tls_certificate_file, tls_key_file;
};

// A request that was answered, or whose client left; for logs and metrics.
struct AnsweredRequest {
  std::string method, path;
  std::string_view pattern;  // of the route; empty: none
  int status = 0;            // 499: the client left before it was begun
  int64_t num_body_bytes = 0, num_answer_bytes = 0;
  int64_t took_ns = 0;
  bool cut = false;   // the client left, or was dropped, before the end
  bool slow = false;  // was dropped, for it did not read
  std::string principal, request_id;
};
// Called by the server's threads.
using OnAnswered = std::function<void(const AnsweredRequest& answered)>;

class HttpServer {
 public:
  explicit HttpServer(HttpServerOptions options, OnAnswered on_answered = {});
  ~HttpServer();  // stops

  // Before start(). Returns the port (0: a Unix socket). Error(kCommunication) where the address
  // cannot be had, Error(kUsage) where a file of TLS cannot be used.
  int listen(const ListenAt& at, const HttpSite& site);
  // Whether every listener so far is reached from this machine alone.
  bool is_local() const;
  void start();

  // From here on whatever needs a key and is no GET or HEAD is refused with 503, and connections
  // end with their answer.
  void drain();
  bool is_draining() const;
  // Whether all answers that were begun have ended (but those that need no key).
  bool wait_until_idle(double seconds);
  // Tells the routes of those that have not that the server ends, so that they may tell their
  // clients: an answer ends with an error, not in silence. Returns how many there were.
  int64_t shut_down();
  // Ends those that still have not; their routes are told that the client has gone. Returns how
  // many.
  int64_t cut();
  // Closes everything, joins the threads.
  void stop();

  int64_t num_connections() const;
  int64_t num_working() const;  // requests in routes

 private:
  struct Inside;
  std::unique_ptr<Inside> inside_;
};

}  // namespace weft::serve
