// A connected stream of bytes as a connection sees it: TCP or a Unix socket, plain or under TLS.
// Everything is called on its own thread and answered there. Only the sources of the server's
// insides include this: it brings Asio along.
#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <functional>
#include <memory>
#include <string>

namespace boost::asio::ssl {
class context;
}

namespace weft::serve {

class Transport : public std::enable_shared_from_this<Transport> {
 public:
  using Socket = boost::asio::generic::stream_protocol::socket;
  using OnDone = std::function<void(const boost::system::error_code& error, size_t num_bytes)>;

  // tls: null where it is not spoken; must outlive the transport. An operation's on_done must keep
  // the transport alive.
  static std::shared_ptr<Transport> make(Socket socket, boost::asio::ssl::context* tls);
  virtual ~Transport() = default;

  // Before anything else; at once without TLS.
  virtual void handshake(OnDone on_done) = 0;
  virtual void read_some(boost::asio::mutable_buffer into, OnDone on_done) = 0;
  virtual void write_some(boost::asio::const_buffer from, OnDone on_done) = 0;
  // Whether the peer has ended its side, though there may be more to read before that.
  virtual bool peer_has_ended() = 0;
  // Bytes that were written and have not reached the peer's system; 0 where nobody can tell.
  virtual int64_t num_unsent() = 0;
  // With no write under way: nothing more will be written, and the peer sees an end.
  virtual void end_writing() = 0;
  // At once; what was written and not yet sent is lost where reset is true.
  virtual void close(bool reset) = 0;
};

// Certificate chain and key from PEM files, TLS 1.2 or newer. Error(kUsage) naming the file.
std::shared_ptr<boost::asio::ssl::context> load_tls(const std::string& certificate_file,
                                                    const std::string& key_file);

}  // namespace weft::serve
