#include "serve/transport.h"

#include <fmt/format.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <filesystem>
#include <utility>

#include "base/error.h"

namespace weft::serve {
namespace {

namespace asio = boost::asio;

void close_socket(Transport::Socket& socket, bool reset) {
  boost::system::error_code ignored;
  if (reset) socket.set_option(asio::socket_base::linger(true, 0), ignored);
  socket.close(ignored);
}

bool has_ended(Transport::Socket& socket) {
  pollfd state{socket.native_handle(), POLLRDHUP, 0};
  return poll(&state, 1, /*timeout=*/0) > 0;
}

int64_t unsent_of(Transport::Socket& socket) {
  int num_bytes = 0;
  return ioctl(socket.native_handle(), SIOCOUTQ, &num_bytes) == 0 ? num_bytes : 0;
}

class Plain : public Transport {
 public:
  explicit Plain(Socket socket) : socket_(std::move(socket)) {}

  void handshake(OnDone on_done) override {
    asio::post(socket_.get_executor(), [on_done = std::move(on_done)] { on_done({}, 0); });
  }
  void read_some(asio::mutable_buffer into, OnDone on_done) override {
    socket_.async_read_some(into, std::move(on_done));
  }
  void write_some(asio::const_buffer from, OnDone on_done) override {
    socket_.async_write_some(from, std::move(on_done));
  }
  void end_writing() override {
    boost::system::error_code ignored;
    socket_.shutdown(asio::socket_base::shutdown_send, ignored);
  }
  bool peer_has_ended() override { return has_ended(socket_); }
  int64_t num_unsent() override { return unsent_of(socket_); }
  void close(bool reset) override { close_socket(socket_, reset); }

 private:
  Socket socket_;
};

class Tls : public Transport {
 public:
  Tls(Socket socket, asio::ssl::context& context) : stream_(std::move(socket), context) {}

  void handshake(OnDone on_done) override {
    stream_.async_handshake(asio::ssl::stream_base::server,
                            [on_done = std::move(on_done)](const boost::system::error_code& error) {
                              on_done(error, 0);
                            });
  }
  void read_some(asio::mutable_buffer into, OnDone on_done) override {
    stream_.async_read_some(into, std::move(on_done));
  }
  void write_some(asio::const_buffer from, OnDone on_done) override {
    stream_.async_write_some(from, std::move(on_done));
  }
  void end_writing() override {
    stream_.async_shutdown([self = shared_from_this()](const boost::system::error_code&) {});
  }
  bool peer_has_ended() override { return has_ended(stream_.next_layer()); }
  int64_t num_unsent() override { return unsent_of(stream_.next_layer()); }
  void close(bool reset) override { close_socket(stream_.next_layer(), reset); }

 private:
  asio::ssl::stream<Socket> stream_;
};

[[noreturn]] void refuse_file(const char* flag, const std::string& file, std::string_view why) {
  throw Error(ErrorKind::kUsage, fmt::format("{} {} cannot be used", flag, file), why,
              "TLS needs a certificate chain and its key, both in PEM");
}

}  // namespace

std::shared_ptr<Transport> Transport::make(Socket socket, asio::ssl::context* tls) {
  if (tls == nullptr) return std::make_shared<Plain>(std::move(socket));
  return std::make_shared<Tls>(std::move(socket), *tls);
}

std::shared_ptr<asio::ssl::context> load_tls(const std::string& certificate_file,
                                             const std::string& key_file) {
  auto context = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_server);
  context->set_options(asio::ssl::context::default_workarounds | asio::ssl::context::no_sslv2 |
                       asio::ssl::context::no_sslv3 | asio::ssl::context::no_tlsv1 |
                       asio::ssl::context::no_tlsv1_1 | asio::ssl::context::no_compression);
  boost::system::error_code error;
  context->use_certificate_chain_file(certificate_file, error);
  if (error) refuse_file("--ssl-certfile", certificate_file, error.message());
  context->use_private_key_file(key_file, asio::ssl::context::pem, error);
  if (error) refuse_file("--ssl-keyfile", key_file, error.message());
  if (SSL_CTX_check_private_key(context->native_handle()) != 1)
    refuse_file("--ssl-keyfile", key_file, "it is not the key of the certificate");
  return context;
}

}  // namespace weft::serve
