#include "serve/http_server.h"

#include <fmt/format.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "serve/connection.h"
#include "serve/listener.h"

namespace weft::serve {

namespace asio = boost::asio;
using std::chrono::milliseconds;

struct HttpServer::Inside {
  Inside(HttpServerOptions options, OnAnswered on_answered) {
    WEFT_CHECK(options.num_threads >= 1, "{} threads", options.num_threads);
    state->options = options;
    state->on_answered = std::move(on_answered);
    for (int i = 0; i < options.num_threads; ++i) threads.push_back(std::make_unique<Running>());
  }

  struct Running {
    const std::shared_ptr<ServerThread> server = std::make_shared<ServerThread>();
    asio::executor_work_guard<asio::io_context::executor_type> guard{server->io.get_executor()};
    asio::steady_timer sweep{server->io};
    std::thread thread;
  };

  // Looks after deadlines. One timer a thread costs less than setting and clearing one for each
  // phase of each connection.
  void sweep(Running& running) {
    running.sweep.expires_after(sweep_period());
    running.sweep.async_wait([this, &running](const boost::system::error_code& error) {
      if (error) return;
      const int64_t now = now_ns();
      const std::vector<std::shared_ptr<Connection>> all(running.server->connections.begin(),
                                                         running.server->connections.end());
      for (const auto& connection : all) connection->check_deadline(now);
      const AnswerLimits& limits = state->options.answer;
      for (const auto& answer :
           state->backlog.take_slowest(limits.waiting_bytes, limits.slow_ns, now))
        answer->cut_as_slowest();
      sweep(running);
    });
  }
  milliseconds sweep_period() const {
    const HttpTimes& t = state->options.times;
    const int64_t least = std::min({t.handshake, t.idle, t.header, t.body, t.write, t.linger});
    return milliseconds(std::clamp<int64_t>(least / 4, 5, 500));
  }

  // On the listener's thread: one more connection, for the threads in turn.
  ServerThread& next_thread() { return *threads[turn++ % threads.size()]->server; }

  template <typename Do>
  void on_every_thread(Do what) {
    for (const auto& running : threads)
      asio::post(running->server->io, [&running = *running, what] { what(running); });
  }

  // Of how many connections it holds, each asked on its own thread.
  int64_t count_connections(bool (Connection::*asked)()) {
    const auto count = std::make_shared<std::atomic<int64_t>>(0);
    const auto done = std::make_shared<std::atomic<size_t>>(0);
    on_every_thread([asked, count, done](Running& running) {
      const std::vector<std::shared_ptr<Connection>> all(running.server->connections.begin(),
                                                         running.server->connections.end());
      for (const auto& connection : all)
        if ((*connection.*asked)()) ++*count;
      ++*done;
    });
    const int64_t end = now_ns() + 2'000'000'000;
    while (*done < threads.size() && now_ns() < end) std::this_thread::sleep_for(milliseconds(2));
    return *count;
  }

  const std::shared_ptr<ServerState> state = std::make_shared<ServerState>();
  std::vector<std::unique_ptr<Running>> threads;
  std::vector<std::unique_ptr<Listener>> listeners;
  size_t turn = 0;
  bool started = false, stopped = false;
};

HttpServer::HttpServer(HttpServerOptions options, OnAnswered on_answered)
    : inside_(std::make_unique<Inside>(std::move(options), std::move(on_answered))) {}

HttpServer::~HttpServer() { stop(); }

int HttpServer::listen(const ListenAt& at, const HttpSite& site) {
  WEFT_CHECK(!inside_->started, "listening begins before the threads do");
  inside_->listeners.push_back(std::make_unique<Listener>(
      at, site, *inside_->state, inside_->threads.front()->server->io,
      [inside = inside_.get()]() -> ServerThread& { return inside->next_thread(); }));
  return inside_->listeners.back()->port();
}

bool HttpServer::is_local() const {
  for (const auto& listener : inside_->listeners)
    if (!listener->is_local()) return false;
  return true;
}

void HttpServer::start() {
  inside_->started = true;
  for (const auto& listener : inside_->listeners) listener->accept();
  for (const auto& running : inside_->threads) {
    inside_->sweep(*running);
    running->thread = std::thread([&io = running->server->io] { io.run(); });
  }
}

void HttpServer::drain() { inside_->state->draining = true; }
bool HttpServer::is_draining() const { return inside_->state->draining; }

bool HttpServer::wait_until_idle(double seconds) {
  const int64_t end = now_ns() + static_cast<int64_t>(seconds * 1e9);
  while (num_working() > 0) {
    if (now_ns() >= end) return false;
    std::this_thread::sleep_for(milliseconds(10));
  }
  return true;
}

int64_t HttpServer::shut_down() { return inside_->count_connections(&Connection::shut_down); }
int64_t HttpServer::cut() { return inside_->count_connections(&Connection::cut); }

void HttpServer::stop() {
  if (std::exchange(inside_->stopped, true)) return;
  inside_->state->draining = true;
  if (!inside_->started) return;
  // Connections are closed by their own threads, which then find nothing more to do.
  asio::post(inside_->threads.front()->server->io, [inside = inside_.get()] {
    for (const auto& listener : inside->listeners) listener->close();
  });
  inside_->on_every_thread([](Inside::Running& running) {
    const std::vector<std::shared_ptr<Connection>> all(running.server->connections.begin(),
                                                       running.server->connections.end());
    for (const auto& connection : all) connection->close(false);
    running.sweep.cancel();
    running.guard.reset();
    running.server->io.stop();
  });
  for (const auto& running : inside_->threads) running->thread.join();
}

int64_t HttpServer::num_connections() const { return inside_->state->num_connections; }
int64_t HttpServer::num_working() const { return inside_->state->num_working; }

}  // namespace weft::serve
