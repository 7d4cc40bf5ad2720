// A client's connection from its first byte to its end, without a socket: what comes is given to
// serve::Connection in pieces, what it sends is taken apart again. The same bytes must be answered
// the same, however they were cut; all that is sent must be answers, whole ones; and nothing of the
// connection may be left once it is over.
#pragma once

#include <algorithm>
#include <boost/asio/error.hpp>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "serve/connection.h"

namespace weft::fuzz {

using namespace weft::serve;

inline void require_of_connection(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "a connection must %s\n", what);
  std::abort();
}

// Does what it is asked when it is pumped, one thing at a time.
class ScriptedTransport final : public Transport {
 public:
  ScriptedTransport(std::string_view input, size_t piece) : input_(input), piece_(piece) {}

  void handshake(OnDone on_done) override { handshake_ = std::move(on_done); }
  void read_some(boost::asio::mutable_buffer into, OnDone on_done) override {
    into_ = into;
    read_ = std::move(on_done);
  }
  void write_some(boost::asio::const_buffer from, OnDone on_done) override {
    from_ = from;
    write_ = std::move(on_done);
  }
  bool peer_has_ended() override { return input_.empty(); }
  int64_t num_unsent() override { return 0; }
  void end_writing() override {}
  void close(bool) override { is_closed_ = true; }

  // False where there was nothing to do.
  bool pump() {
    if (handshake_) return finish(handshake_, {}, 0);
    if (write_) {  // before a read: a client that waits for its answer
      const size_t taken = std::min(from_.size(), 3 * piece_);
      output.append(static_cast<const char*>(from_.data()), taken);
      return finish(write_, {}, taken);
    }
    if (!read_) return false;
    if (input_.empty() || is_closed_) return finish(read_, boost::asio::error::eof, 0);
    const size_t count = std::min({into_.size(), piece_, input_.size()});
    std::memcpy(into_.data(), input_.data(), count);
    input_.remove_prefix(count);
    return finish(read_, {}, count);
  }

  std::string output;

 private:
  static bool finish(OnDone& done, const boost::system::error_code& error, size_t num_bytes) {
    const OnDone now = std::exchange(done, nullptr);
    now(error, num_bytes);
    return true;
  }

  std::string_view input_;
  const size_t piece_;
  boost::asio::mutable_buffer into_;
  boost::asio::const_buffer from_;
  OnDone handshake_, read_, write_;
  bool is_closed_ = false;
};

// Routes, keys and limits, and what is counted over all connections.
class SmallServer {
 public:
  explicit SmallServer(bool is_guarded) : access_(rules_of_keys({"secret"})) {
    add_routes();
    state->options.request = {
        .header_bytes = 2048, .num_headers = 12, .target_bytes = 256, .body_bytes = 4096};
    state->options.open_body_bytes = 16;
    state->options.pipelined_bytes = 512;
    state->on_answered = [this](const AnsweredRequest& request) { answered.push_back(request); };
    site.http.router = &router_;
    if (is_guarded) site.http.access = &access_;
    site.checks_host = is_guarded;
  }

  std::shared_ptr<ServerState> state = std::make_shared<ServerState>();
  std::shared_ptr<ServerThread> thread = std::make_shared<ServerThread>();
  Site site;
  std::vector<AnsweredRequest> answered;

 private:
  void add_routes() {
    router_.add("GET", "/health", [](const std::shared_ptr<Exchange>& exchange) {
      exchange->respond(200, "text/plain", "well");
    });
    router_.add("POST", "/echo", [](const std::shared_ptr<Exchange>& exchange) {
      exchange->respond(200, "text/plain", exchange->request().body);
    });
    router_.add("GET", "/items/{id*}", [](const std::shared_ptr<Exchange>& exchange) {
      exchange->begin_stream(200, "text/event-stream");
      exchange->write(std::string(exchange->request().path_param("id")));
      exchange->write("more");
      exchange->end_stream();
    });
    router_.add("GET", "/dropped", [](const std::shared_ptr<Exchange>&) {});
  }

  Router router_;
  Access access_;
};

// Takes the next answer off the text: its status and body. method: of its request.
inline std::string take_answer(std::string_view& text, std::string_view method) {
  const size_t end = text.find("\r\n\r\n");
  require_of_connection(end != std::string_view::npos, "end its heads");
  const std::string head(text.substr(0, end + 2));
  text.remove_prefix(end + 4);
  require_of_connection(head.starts_with("HTTP/1.1 ") && head.size() > 12, "begin with a status");
  const std::string status = head.substr(9, 3);
  if (status == "100") return take_answer(text, method);
  const auto number_of = [](std::string_view digits, int base) {
    size_t number = 0;
    std::from_chars(digits.data(), digits.data() + digits.size(), number, base);
    return number;
  };
  const auto take = [&](size_t count) {
    require_of_connection(count <= text.size(), "send whole answers");
    const std::string part(text.substr(0, count));
    text.remove_prefix(count);
    return part;
  };
  if (method == "HEAD" || status == "204") return status;
  const size_t length = head.find("Content-Length: ");
  if (length != std::string::npos) return status + take(number_of(head.substr(length + 16), 10));
  if (head.find("Transfer-Encoding: chunked") == std::string::npos)
    return status + take(text.size());
  std::string body;
  while (true) {
    const size_t line = text.find("\r\n");
    require_of_connection(line != std::string_view::npos, "end its chunks");
    const size_t count = number_of(text.substr(0, line), 16);
    text.remove_prefix(line + 2);
    body += take(count);
    require_of_connection(take(2) == "\r\n", "end its chunks");
    if (count == 0) return status + body;
  }
}

// Everything that a connection answered to these bytes, in order.
inline std::vector<std::string> answers_to(std::string_view input, bool is_guarded, size_t piece) {
  static SmallServer servers[2] = {SmallServer(false), SmallServer(true)};
  SmallServer& server = servers[is_guarded ? 1 : 0];
  server.answered.clear();
  const auto transport = std::make_shared<ScriptedTransport>(input, piece);
  ++server.state->num_connections;
  {
    const auto connection =
        std::make_shared<Connection>(transport, server.site, *server.state, *server.thread);
    server.thread->connections.insert(connection);
    connection->start();
  }
  boost::asio::io_context& io = server.thread->io;
  while (io.restart(), io.poll() > 0 || transport->pump()) {
  }
  require_of_connection(server.thread->connections.empty(), "end with its client");
  require_of_connection(server.state->num_connections == 0, "be counted no longer");
  require_of_connection(server.state->num_working == 0, "leave no request behind");
  require_of_connection(server.state->num_body_bytes == 0, "give the bytes of bodies back");
  std::vector<std::string> answers;
  std::string_view text = transport->output;
  for (const AnsweredRequest& request : server.answered)
    if (!request.cut) answers.push_back(take_answer(text, request.method));
  const bool was_cut = !server.answered.empty() && server.answered.back().cut;
  require_of_connection(text.empty() || was_cut || text.starts_with("HTTP/1.1 100 "),
                        "send answers alone");
  return answers;
}

// The first byte says in pieces of how many bytes the rest comes, and whether keys are asked for.
inline void run_connection(std::string_view input) {
  if (input.empty()) return;
  const unsigned first = static_cast<unsigned char>(input[0]);
  const std::string_view text = input.substr(1);
  const bool is_guarded = first % 2 == 1;
  const auto whole = answers_to(text, is_guarded, SIZE_MAX / 4);
  require_of_connection(whole == answers_to(text, is_guarded, first / 2 % 61 + 1),
                        "answer the same, however the bytes come");
}

}  // namespace weft::fuzz
