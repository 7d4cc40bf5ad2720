// One client's connection: requests read in turn, each given to its route, answers sent. Lives on
// one thread; answers come from any (serve/answer.h).
//
//   handshake -> header <-> body -> work -> header ...   -> linger -> closed
//                  \__ refused: work with the refusal, then linger
//
// Every phase but work has a deadline, and so has every write.
#pragma once

#include <boost/asio/io_context.hpp>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>

#include "serve/answer.h"
#include "serve/error_object.h"
#include "serve/http_server.h"
#include "serve/transport.h"

namespace weft::serve {

class Connection;

// What all connections of a server share. An answer, which a route may keep for longer than the
// server lives, keeps it and the thread that it wakes.
struct ServerState : std::enable_shared_from_this<ServerState> {
  HttpServerOptions options;
  OnAnswered on_answered;
  std::atomic<bool> draining{false};
  std::atomic<int64_t> num_connections{0};
  std::atomic<int64_t> num_working{0};
  std::atomic<int64_t> num_body_bytes{0};
  AnswerBacklog backlog;  // of answers that are being sent
};

// One thread of the server and its connections.
struct ServerThread : std::enable_shared_from_this<ServerThread> {
  boost::asio::io_context io{1};
  std::unordered_set<std::shared_ptr<Connection>> connections;
};

// What a connection serves, by its listener.
struct Site {
  HttpSite http;
  bool checks_host = false;
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::shared_ptr<Transport> transport, const Site& site, ServerState& server,
             ServerThread& thread);

  void start();
  // Closes what is over its time, or was left.
  void check_deadline(int64_t now);
  // Tells the route of the answer under way, if one is counted, that the server ends.
  bool shut_down();
  // Ends the answer under way, if one is counted, and then the connection.
  bool cut();
  void close(bool reset);
  // There may be something to send.
  void flush();

 private:
  enum class Phase { kHandshake, kHeader, kBody, kWork, kLinger, kClosed };

  void set_deadline(int64_t milliseconds);
  void read();
  void on_read(const boost::system::error_code& error, size_t num_bytes);
  void process();
  void begin_header();
  void on_header();
  bool may_pass();
  void ask_for_body();
  void count_body();
  void dispatch();
  void begin_answer(bool keep_alive);
  void answer_options();
  bool refuse(const ErrorObject& error, HttpHeaders headers = {});
  void refuse_failure();
  void on_written(const boost::system::error_code& error, size_t num_bytes);
  void note_progress_of_system(int64_t now);
  void send();
  // The bytes stay as they are until on_done.
  void write(std::string_view bytes, Transport::OnDone on_done);
  void finish(bool cut);
  void linger();

  const std::shared_ptr<Transport> transport_;
  const Site& site_;
  ServerState& server_;
  ServerThread& thread_;

  Phase phase_ = Phase::kHandshake;
  int64_t deadline_ns_ = 0;  // 0: none

  std::string chunk_;     // what a read fills
  std::string received_;  // and nobody has taken
  bool reading_ = false;
  std::optional<RequestReader> reader_;
  size_t counted_body_bytes_ = 0;  // in the server's sum
  std::string interim_;            // "100 Continue" on its way

  std::shared_ptr<Answer> answer_;
  Router::Found found_;
  bool is_counted_ = false;  // in the server's num_working
  AnsweredRequest answered_;
  int64_t begun_ns_ = 0;
  std::string sending_;
  size_t sent_ = 0;
  bool writing_ = false;
  int64_t write_deadline_ns_ = 0;  // while writing_
  int64_t num_unsent_ = -1;        // that the system holds, when it was last asked while writing_
};

}  // namespace weft::serve
