#include "serve/listener.h"

#include <fmt/format.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <optional>

#include "base/error.h"
#include "base/log.h"

namespace weft::serve {
namespace {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;

// Sockets of both families are taken as generic ones: one kind of connection below.
using Acceptor = asio::basic_socket_acceptor<asio::generic::stream_protocol>;

// How much of a stream the kernel may hold unsent, whatever the network could take.
constexpr int kUnsentBytes = 64 * 1024;

[[noreturn]] void refuse(const ListenAt& at, int port, const boost::system::error_code& error) {
  const bool is_socket = !at.unix_path.empty(), is_taken = error == asio::error::address_in_use;
  const std::string where = is_socket ? at.unix_path : fmt::format("{}:{}", at.host, port);
  const std::string mend =
      is_socket && is_taken ? fmt::format("a file lies there: name another path with {}", at.option)
      : is_socket ? fmt::format("{} wants a path in a folder that is there and yours to write in",
                                at.option)
      : is_taken
          ? fmt::format("another program has it: choose another {}, or end that program", at.option)
          : fmt::format("check the address and {}", at.option);
  throw Error(ErrorKind::kCommunication, fmt::format("cannot listen at {}", where), error.message(),
              mend);
}

void set_up(const asio::generic::stream_protocol::endpoint& endpoint, Acceptor* acceptor,
            const ListenAt& at, int port) {
  boost::system::error_code error;
  acceptor->open(endpoint.protocol(), error);
  if (!error && endpoint.protocol().family() == AF_INET6)
    acceptor->set_option(asio::ip::v6_only(false), error);
  if (!error && endpoint.protocol().family() != AF_UNIX)
    acceptor->set_option(asio::socket_base::reuse_address(true), error);
  if (!error) acceptor->bind(endpoint, error);
  if (!error) acceptor->listen(asio::socket_base::max_listen_connections, error);
  if (error) refuse(at, port, error);
}

struct FileId {
  dev_t device = 0;
  ino_t inode = 0;
  bool operator==(const FileId&) const = default;
};

std::optional<FileId> socket_at(const std::string& path) {
  struct stat status {};
  if (lstat(path.c_str(), &status) != 0 || !S_ISSOCK(status.st_mode)) return std::nullopt;
  return FileId{status.st_dev, status.st_ino};
}

// Only what nobody listens at any more is what a server before this one left behind.
void make_way(const asio::local::stream_protocol::endpoint& endpoint, asio::io_context& io) {
  if (!socket_at(endpoint.path())) return;
  asio::local::stream_protocol::socket probe(io);
  boost::system::error_code error;
  probe.open(endpoint.protocol(), error);
  probe.non_blocking(true, error);  // one whose queue is full is alive, too
  probe.connect(endpoint, error);
  if (error == asio::error::connection_refused) {
    unlink(endpoint.path().c_str());
    return;
  }
  throw Error(ErrorKind::kCommunication, fmt::format("cannot listen at {}", endpoint.path()),
              error ? error.message() : "another server listens there",
              "name another socket, or end that server");
}

}  // namespace

struct Listener::Door {
  explicit Door(asio::io_context& io) : acceptor(io), pause(io) {}

  Acceptor acceptor;
  asio::steady_timer pause;
  std::string unix_path;
  std::optional<FileId> unix_file;
  bool is_tcp = false;
};

Listener::Listener(const ListenAt& at, const HttpSite& site, ServerState& server,
                   asio::io_context& io, std::function<ServerThread&()> next)
    : site_{site, false}, server_(server), next_(std::move(next)) {
  if (!at.tls_certificate_file.empty() || !at.tls_key_file.empty())
    tls_ = load_tls(at.tls_certificate_file,
                    at.tls_key_file.empty() ? at.tls_certificate_file : at.tls_key_file);
  if (at.unix_path.empty()) {
    open_tcp(at, io);
    site_.checks_host = is_local_;
  } else {
    open_unix(at, io);
  }
}

Listener::~Listener() = default;

void Listener::open_tcp(const ListenAt& at, asio::io_context& io) {
  boost::system::error_code error;
  tcp::resolver resolver(io);
  const auto found = resolver.resolve(at.host.empty() ? "0.0.0.0" : at.host,
                                      std::to_string(at.port), tcp::resolver::passive, error);
  if (error) refuse(at, at.port, error);
  port_ = at.port;
  std::vector<tcp::endpoint> known;
  for (const auto& entry : found) {
    tcp::endpoint endpoint = entry.endpoint();
    if (std::ranges::find(known, endpoint) != known.end()) continue;
    known.push_back(endpoint);
    endpoint.port(static_cast<uint16_t>(port_));  // of the first, where any would do
    auto door = std::make_unique<Door>(io);
    set_up(endpoint, &door->acceptor, at, port_);
    tcp::endpoint bound;
    auto local = door->acceptor.local_endpoint(error);
    bound.resize(local.size());
    std::memcpy(bound.data(), local.data(), local.size());
    port_ = bound.port();
    is_local_ = is_local_ && endpoint.address().is_loopback();
    door->is_tcp = true;
    doors_.push_back(std::move(door));
  }
}

void Listener::open_unix(const ListenAt& at, asio::io_context& io) {
  const std::string& path = at.unix_path;
  if (path.size() >= 100)
    throw Error(ErrorKind::kUsage, fmt::format("the path {} is too long for a Unix socket", path));
  const asio::local::stream_protocol::endpoint endpoint(path);
  make_way(endpoint, io);
  auto door = std::make_unique<Door>(io);
  const mode_t before = umask(0177);
  try {
    set_up(endpoint, &door->acceptor, at, 0);
  } catch (...) {
    umask(before);
    throw;
  }
  umask(before);
  door->unix_path = path;
  door->unix_file = socket_at(path);
  doors_.push_back(std::move(door));
}

void Listener::accept() {
  for (const auto& door : doors_) accept(*door);
}

void Listener::accept(Door& door) {
  ServerThread& thread = next_();
  door.acceptor.async_accept(
      thread.io,
      [this, &door, &thread](const boost::system::error_code& error, Transport::Socket socket) {
        if (error == asio::error::operation_aborted || !door.acceptor.is_open()) return;
        if (!error) {
          admit(std::move(socket), thread);
          return accept(door);
        }
        // Out of descriptors, most likely: connections that end give some back.
        log_warn("a connection could not be accepted: {}", error.message());
        door.pause.expires_after(std::chrono::milliseconds(100));
        door.pause.async_wait([this, &door](const boost::system::error_code& ended) {
          if (!ended) accept(door);
        });
      });
}

void Listener::admit(Transport::Socket socket, ServerThread& thread) {
  boost::system::error_code ignored;
  if (server_.num_connections.load() >= server_.options.max_connections) {
    socket.close(ignored);
    return;
  }
  ++server_.num_connections;
  socket.non_blocking(true, ignored);
  const int fd = socket.native_handle();
  if (doors_.front()->is_tcp) {
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &kUnsentBytes, sizeof kUnsentBytes);
  }
  auto connection = std::make_shared<Connection>(Transport::make(std::move(socket), tls_.get()),
                                                 site_, server_, thread);
  asio::post(thread.io, [connection, &thread] {
    thread.connections.insert(connection);
    connection->start();
  });
}

void Listener::close() {
  for (const auto& door : doors_) {
    boost::system::error_code ignored;
    door->acceptor.close(ignored);
    door->pause.cancel();
    // Another server may have made its own there since.
    if (door->unix_file && socket_at(door->unix_path) == door->unix_file)
      unlink(door->unix_path.c_str());
  }
}

}  // namespace weft::serve
