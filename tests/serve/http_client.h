// A client that says exactly what it is told to, byte by byte, and a server for it on loopback.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <string_view>

#include "serve/http_server.h"

namespace weft::serve {

// Deadlines of tests: generous, for instrumented builds on busy machines; nothing waits so long
// that goes well.
inline constexpr int kPatienceMs = 20'000;

class RawClient {
 public:
  explicit RawClient(int port, int receive_buffer = 0) {
    fd_ = socket(AF_INET, SOCK_STREAM, 0);
    if (receive_buffer > 0)
      setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  ~RawClient() { close(); }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  bool send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      text.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }
  // One read; false at the end of the stream, and when nothing comes.
  bool receive(int patience_ms = kPatienceMs) {
    pollfd ready{fd_, POLLIN, 0};
    if (poll(&ready, 1, patience_ms) <= 0) return false;
    char bytes[16 * 1024];
    const ssize_t count = recv(fd_, bytes, sizeof bytes, 0);
    if (count <= 0) return false;
    received_.append(bytes, static_cast<size_t>(count));
    return true;
  }
  // What came up to and with `end`; everything where it never comes.
  std::string read_until(std::string_view end) {
    size_t at = 0, from = 0;
    while ((at = received_.find(end, from)) == std::string::npos) {
      from = received_.size() - std::min(received_.size(), end.size());
      if (!receive()) return std::exchange(received_, {});
    }
    std::string head = received_.substr(0, at + end.size());
    received_.erase(0, at + end.size());
    return head;
  }
  std::string read_all() {
    while (receive()) {
    }
    return std::exchange(received_, {});
  }
  // One answer with a Content-Length, head and body; or the head of a stream.
  std::string read_answer() {
    std::string answer = read_until("\r\n\r\n");
    const size_t at = answer.find("Content-Length: ");
    if (at == std::string::npos) return answer;
    const size_t length = std::stoul(answer.substr(at + 16));
    while (received_.size() < length)
      if (!receive()) break;
    answer += received_.substr(0, length);
    received_.erase(0, length);
    return answer;
  }
  // Whether the server has ended the connection.
  bool ended() { return received_.empty() && !receive(); }
  int fd() const { return fd_; }

 private:
  int fd_ = -1;
  std::string received_;
};

inline std::string get(std::string_view path, std::string_view fields = "") {
  return "GET " + std::string(path) + " HTTP/1.1\r\nHost: localhost\r\n" + std::string(fields) +
         "\r\n";
}

inline std::string post(std::string_view path, std::string_view body,
                        std::string_view fields = "") {
  return "POST " + std::string(path) +
         " HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" +
         std::string(fields) + "\r\n" + std::string(body);
}

template <typename Condition>
bool comes_true(Condition condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(kPatienceMs);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    usleep(1000);
  }
  return true;
}

}  // namespace weft::serve
