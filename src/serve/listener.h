// Where connections come in: an address of TCP, several where a name has several, or a Unix socket.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/context.hpp>
#include <functional>
#include <memory>

#include "serve/connection.h"

namespace weft::serve {

class Listener {
 public:
  // next: the thread that shall have the next connection. Errors as of HttpServer::listen.
  Listener(const ListenAt& at, const HttpSite& site, ServerState& server,
           boost::asio::io_context& io, std::function<ServerThread&()> next);
  ~Listener();

  int port() const { return port_; }
  bool is_local() const { return is_local_; }
  // Begins to accept. The rest is called on the thread of io.
  void accept();
  void close();

  struct Door;

 private:
  void open_tcp(const ListenAt& at, boost::asio::io_context& io);
  void open_unix(const ListenAt& at, boost::asio::io_context& io);
  void accept(Door& door);
  void admit(Transport::Socket socket, ServerThread& thread);

  Site site_;
  ServerState& server_;
  std::function<ServerThread&()> next_;
  std::shared_ptr<boost::asio::ssl::context> tls_;
  std::vector<std::unique_ptr<Door>> doors_;
  int port_ = 0;
  bool is_local_ = true;
};

}  // namespace weft::serve
