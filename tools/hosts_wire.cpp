// The wire between the hosts of tools/hosts, where the kernel has no netem: hands frames from one
// network interface to another after a delay, in the order they came, some of them never.
//
//   hosts_wire DELAY_NS LOSS RATE_BITS INTERFACE...       LOSS: a share; RATE: 0 is no limit
//
// The hosts' ends of the interfaces have the addresses 02:00:00:00:00:NN, NN from 1 on in the order
// of the arguments; a frame for another address goes to all others. Frames are taken as the kernel
// has them, up to 64 KiB long and without checksums (PACKET_VNET_HDR), so that a byte costs little.
// Says "ready" and runs until it is killed.
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <random>
#include <vector>

namespace {

// A virtio_net_hdr, which this program only hands on.
constexpr size_t kHeaderBytes = 10;
constexpr size_t kMostBytes = kHeaderBytes + 14 + 65536 + 256;
// Of what waits for one interface: more is lost, as in a router.
constexpr int64_t kMostWaitingBytes = int64_t{64} << 20;

int64_t now_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

[[noreturn]] void fail(const char* what) {
  perror(what);
  exit(1);
}

struct Frame {
  int64_t due_ns;
  std::vector<char> bytes;
};

struct Port {
  int socket = -1;
  int64_t busy_until_ns = 0;  // of the direction towards its host
  int64_t waiting_bytes = 0;
  std::deque<Frame> waiting;
};

int open_port(const char* interface) {
  const int port = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(ETH_P_ALL));
  if (port < 0) fail("a packet socket");
  const int on = 1, memory = 16 << 20;
  if (setsockopt(port, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) != 0) fail("whole frames");
  if (setsockopt(port, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) != 0)
    fail("incoming frames alone");
  for (const int option : {SO_RCVBUFFORCE, SO_SNDBUFFORCE})
    setsockopt(port, SOL_SOCKET, option, &memory, sizeof(memory));  // the default does, too
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = static_cast<int>(if_nametoindex(interface));
  if (bind(port, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) fail(interface);
  return port;
}

class Wire {
 public:
  Wire(int64_t delay_ns, double loss, int64_t rate_bits)
      : delay_ns_(delay_ns), loss_(loss), rate_bits_(rate_bits) {}

  void add(const char* interface) { ports_.emplace_back().socket = open_port(interface); }

  void run() {
    std::vector<pollfd> polled;
    for (const Port& port : ports_) polled.push_back({port.socket, POLLIN, 0});
    while (true) {
      const int64_t next = deliver();
      timespec wait{}, *limit = nullptr;
      if (next >= 0) {
        const int64_t left = std::max<int64_t>(next - now_ns(), 0);
        wait = {left / 1'000'000'000, static_cast<long>(left % 1'000'000'000)};
        limit = &wait;
      }
      if (ppoll(polled.data(), polled.size(), limit, nullptr) < 0 && errno != EINTR) fail("poll");
      for (size_t i = 0; i < ports_.size(); ++i) take(i);
    }
  }

 private:
  void take(size_t from) {
    // A few, so that what is due elsewhere does not wait long.
    for (int i = 0; i < 16; ++i) {
      const ssize_t size = recv(ports_[from].socket, buffer_, sizeof(buffer_), 0);
      if (size < static_cast<ssize_t>(kHeaderBytes + ETH_HLEN)) return;  // none, or cut off
      const auto* to = reinterpret_cast<const unsigned char*>(buffer_) + kHeaderBytes;
      const bool known = to[0] == 2 && to[5] >= 1 && to[5] <= ports_.size();
      for (size_t port = 0; port < ports_.size(); ++port)
        if (port != from && (!known || port + 1 == to[5])) send_later(ports_[port], size);
    }
  }

  void send_later(Port& port, ssize_t size) {
    if (loss_ > 0 && share_(random_) < loss_) return;
    if (port.waiting_bytes + size > kMostWaitingBytes) return;
    const int64_t now = now_ns();
    int64_t sent = now;
    if (rate_bits_ > 0) {
      sent = std::max(now, port.busy_until_ns) + int64_t{size} * 8 * 1'000'000'000 / rate_bits_;
      port.busy_until_ns = sent;
    }
    port.waiting_bytes += size;
    port.waiting.push_back({sent + delay_ns_, {buffer_, buffer_ + size}});
  }

  // Sends what is due; when the next frame is, or -1.
  int64_t deliver() {
    int64_t next = -1;
    for (Port& port : ports_) {
      while (!port.waiting.empty()) {
        const Frame& frame = port.waiting.front();
        if (frame.due_ns > now_ns()) {
          next = next < 0 ? frame.due_ns : std::min(next, frame.due_ns);
          break;
        }
        // One that the interface does not take (it is down, or full) is lost.
        [[maybe_unused]] const ssize_t sent =
            send(port.socket, frame.bytes.data(), frame.bytes.size(), 0);
        port.waiting_bytes -= static_cast<int64_t>(frame.bytes.size());
        port.waiting.pop_front();
      }
    }
    return next;
  }

  const int64_t delay_ns_;
  const double loss_;
  const int64_t rate_bits_;
  std::vector<Port> ports_;
  std::mt19937 random_{1};
  std::uniform_real_distribution<double> share_{0.0, 1.0};
  char buffer_[kMostBytes];
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) {
    fprintf(stderr, "usage: hosts_wire DELAY_NS LOSS RATE_BITS INTERFACE...\n");
    return 2;
  }
  prctl(PR_SET_TIMERSLACK, 1);
  // A real wire waits for no core. Where this may not be asked for, a busy machine delays more.
  const sched_param before_all_others{50};
  sched_setscheduler(0, SCHED_FIFO, &before_all_others);
  Wire wire(atoll(argv[1]), atof(argv[2]), atoll(argv[3]));
  for (int i = 4; i < argc; ++i) wire.add(argv[i]);
  puts("ready");
  fflush(stdout);
  wire.run();
}
