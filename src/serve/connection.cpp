#include "serve/connection.h"

#include <fmt/format.h>

#include <boost/asio/post.hpp>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "serve/host_check.h"
#include "serve/request_id.h"

namespace weft::serve {
namespace {

constexpr size_t kChunkBytes = 4 * 1024;
constexpr size_t kBodyChunkBytes = 64 * 1024;
// Memory that an idle connection may keep.
constexpr size_t kKeptBytes = 8 * 1024;

constexpr int kClientLeft = 499;

}  // namespace

Connection::Connection(std::shared_ptr<Transport> transport, const Site& site, ServerState& server,
                       ServerThread& thread)
    : transport_(std::move(transport)), site_(site), server_(server), thread_(thread) {}

void Connection::start() {
  set_deadline(server_.options.times.handshake);
  transport_->handshake(
      [self = shared_from_this()](const boost::system::error_code& error, size_t) {
        if (self->phase_ == Phase::kClosed) return;
        if (error) return self->close(false);
        self->begin_header();
        self->read();
      });
}

void Connection::set_deadline(int64_t milliseconds) {
  deadline_ns_ = now_ns() + milliseconds * 1'000'000;
}

void Connection::check_deadline(int64_t now) {
  // Where nothing is read ahead any more, no read tells that the client has left.
  if (phase_ == Phase::kWork && !reading_ && transport_->peer_has_ended()) return close(false);
  if (writing_) note_progress_of_system(now);
  if (phase_ == Phase::kWork) {
    answer_->check_quiet(now);
    answer_->check_stuck(now);
  }
  if (phase_ == Phase::kClosed) return;
  if (writing_ && now >= write_deadline_ns_) return close(true);
  if (deadline_ns_ == 0 || now < deadline_ns_) return;
  const bool has_begun = phase_ == Phase::kBody || (phase_ == Phase::kHeader && !received_.empty());
  if (!has_begun) return close(false);
  refuse({408, "the request did not come in time", "", "", "request_timeout"});
}

// --- reading

void Connection::read() {
  if (reading_ || phase_ == Phase::kClosed) return;
  // What a client sends ahead waits in its own socket once this is full.
  if (phase_ == Phase::kWork && received_.size() >= server_.options.pipelined_bytes) return;
  const bool reads_much = phase_ == Phase::kBody || phase_ == Phase::kLinger;
  const size_t size = reads_much ? kBodyChunkBytes : kChunkBytes;
  if (chunk_.size() != size) {
    chunk_.resize(size);
    if (!reads_much) chunk_.shrink_to_fit();
  }
  reading_ = true;
  transport_->read_some(
      boost::asio::buffer(chunk_),
      [self = shared_from_this()](const boost::system::error_code& error, size_t num_bytes) {
        self->reading_ = false;
        self->on_read(error, num_bytes);
      });
}

void Connection::on_read(const boost::system::error_code& error, size_t num_bytes) {
  if (phase_ == Phase::kClosed) return;
  if (error) return close(false);
  if (phase_ == Phase::kLinger) return read();
  if (phase_ == Phase::kHeader && received_.empty()) set_deadline(server_.options.times.header);
  received_.append(chunk_, 0, num_bytes);
  process();
  read();
}

void Connection::begin_header() {
  phase_ = Phase::kHeader;
  found_ = {};  // what is refused before its path is known is no route's
  reader_.emplace(server_.options.request);
  set_deadline(received_.empty() ? server_.options.times.idle : server_.options.times.header);
}

void Connection::process() {
  using State = RequestReader::State;
  while (phase_ == Phase::kHeader || phase_ == Phase::kBody) {
    const size_t taken = reader_->feed(received_);
    received_.erase(0, taken);
    if (phase_ == Phase::kBody) count_body();
    if (phase_ == Phase::kWork) return;
    switch (reader_->state()) {
      case State::kHeaderDone:
        on_header();
        break;
      case State::kDone:
        dispatch();
        break;
      case State::kFailed:
        refuse_failure();
        break;
      case State::kHeader:
      case State::kBody:
        if (taken == 0) return;
        break;
    }
  }
}

// The header is known; nothing of the body is read or kept before all of this holds.
void Connection::on_header() {
  HttpRequest& request = reader_->request();
  begun_ns_ = now_ns();
  request.arrived_ns = begun_ns_;
  request.request_id = request_id(request.header("x-request-id"));
  found_ = site_.http.router->find(request.method, request.path);
  if (!may_pass()) return;
  const bool is_open = Access::is_open(request.method, request.path);
  reader_->proceed(is_open ? server_.options.open_body_bytes : server_.options.request.body_bytes);
  if (reader_->state() != RequestReader::State::kBody) return;
  phase_ = Phase::kBody;
  set_deadline(server_.options.times.body);
  if (reader_->expects_continue() && received_.empty()) ask_for_body();
}

bool Connection::may_pass() {
  HttpRequest& request = reader_->request();
  const bool is_open = Access::is_open(request.method, request.path);
  if (site_.checks_host) {
    const std::string problem = check_host(request, site_.http.allowed_hosts);
    if (!problem.empty()) return refuse({403, problem, "", "", "host_not_allowed"});
  }
  if (site_.http.access != nullptr) {
    Access::Verdict verdict = site_.http.access->check(request, begun_ns_, site_.http.for_admins);
    if (verdict.status == 401)
      return refuse(
          {401, "a valid API key is needed: Authorization: Bearer KEY", "", "", "invalid_api_key"},
          {{"WWW-Authenticate", "Bearer"}});
    request.principal = std::move(verdict.principal);
    if (verdict.status == 403)
      return refuse({403, "this key is no operator's (\"admin\" in --api-key-file)", "", "",
                     "admin_key_needed"});
    if (verdict.status == 429)
      return refuse(
          {429, "too many requests of this key within a minute", "", "", "rate_limit_exceeded"},
          retry_headers(verdict.retry_after_s));
  }
  // Who only looks goes on: metrics tell how far the end is.
  const bool looks = request.method == "GET" || request.method == "HEAD";
  if (server_.draining && !is_open && !looks)
    return refuse({503, "the server is shutting down", "", "", "shutting_down"}, retry_headers(5));
  const bool asks_options =
      request.method == "OPTIONS" && (request.path == "*" || !found_.pattern.empty());
  if (found_.route != nullptr || asks_options) return true;
  if (found_.pattern.empty())
    return refuse({404, fmt::format("there is no {}", request.path), "", "", "not_found"});
  return refuse({405, fmt::format("{} does not know {}", request.path, request.method), "", "",
                 "method_not_allowed"},
                {{"Allow", found_.allow}});
}

void Connection::ask_for_body() {
  interim_ = "HTTP/1.1 100 Continue\r\n\r\n";
  write(interim_, [this](const boost::system::error_code& error, size_t num_bytes) {
    if (phase_ == Phase::kClosed) return;
    if (error || num_bytes < interim_.size()) return close(true);
    flush();  // what was answered meanwhile
  });
}

// What clients send is bounded over all of them, too.
void Connection::count_body() {
  const size_t now = reader_->body_bytes();
  const auto added = static_cast<int64_t>(now - counted_body_bytes_);
  counted_body_bytes_ = now;
  if (server_.num_body_bytes.fetch_add(added) + added > server_.options.max_body_bytes)
    refuse({503, "the server has too many bodies in hand", "", "", "overloaded"}, retry_headers(1));
}

// --- answering

void Connection::begin_answer(bool keep_alive) {
  phase_ = Phase::kWork;
  deadline_ns_ = 0;
  const HttpRequest& request = reader_->request();
  AnswerForm form{request.request_id, keep_alive, reader_->is_http_1_0(), request.method == "HEAD"};
  auto wake = [weak = weak_from_this(), thread = thread_.shared_from_this()] {
    boost::asio::post(thread->io, [weak] {
      if (const auto self = weak.lock()) self->flush();
    });
  };
  const auto server = server_.shared_from_this();
  answer_ = std::make_shared<Answer>(
      std::move(form), server_.options.answer,
      std::shared_ptr<const std::atomic<bool>>(server, &server->draining), std::move(wake),
      std::shared_ptr<AnswerBacklog>(server, &server->backlog));
  answered_ = {};
  answered_.method = request.method;
  answered_.path = request.path;
  answered_.pattern = found_.pattern;
  answered_.principal = request.principal.name;
  answered_.request_id = request.request_id;
  answered_.num_body_bytes = static_cast<int64_t>(counted_body_bytes_);
}

void Connection::dispatch() {
  begin_answer(reader_->keep_alive());
  HttpRequest& request = reader_->request();
  if (found_.route == nullptr) return answer_options();
  is_counted_ = !Access::is_open(request.method, request.path);
  if (is_counted_) ++server_.num_working;
  request.path_params = std::move(found_.path_params);
  const Route& route = *found_.route;
  try {
    const auto server = server_.shared_from_this();
    CountedBytes counted({server, &server->num_body_bytes}, std::exchange(counted_body_bytes_, 0));
    route(std::make_shared<AnswerExchange>(answer_, std::move(request), std::move(counted)));
  } catch (const std::exception& error) {  // the exchange, dropped, has answered 500
    log_error("a route failed: {} (request {})", error.what(), answered_.request_id);
  }
}

void Connection::answer_options() { answer_->respond(204, "", "", {{"Allow", found_.allow}}); }

// Answers in place of a route. The connection goes on only where the request was read whole. Always
// false.
bool Connection::refuse(const ErrorObject& error, HttpHeaders headers) {
  HttpRequest& request = reader_->request();
  if (request.request_id.empty()) request.request_id = request_id(request.header("x-request-id"));
  if (phase_ == Phase::kHeader && begun_ns_ == 0) begun_ns_ = now_ns();
  const bool was_read =
      reader_->state() == RequestReader::State::kHeaderDone && !reader_->has_body();
  begin_answer(was_read && reader_->keep_alive());
  answer_->respond(error.status, "application/json", error_json(error), headers);
  return false;
}

void Connection::refuse_failure() {
  const RequestReader::Failure& failure = reader_->failure();
  refuse({failure.status, failure.message, "", "", ""});
}

void Connection::flush() {
  if (answer_ == nullptr || phase_ != Phase::kWork) return;
  if (writing_) {
    if (answer_->is_cut()) close(true);
    return;
  }
  switch (answer_->take(&sending_)) {
    case Answer::Next::kWait:
      return;
    case Answer::Next::kSend:
      sent_ = 0;
      return send();
    case Answer::Next::kEnded:
      return finish(false);
    case Answer::Next::kCut:
      return close(true);
  }
}

void Connection::send() {
  write(std::string_view(sending_).substr(sent_),
        [this](const boost::system::error_code& error, size_t num_bytes) {
          on_written(error, num_bytes);
        });
}

// Its deadline is its own: a request may run out of time, be refused or be answered meanwhile.
void Connection::write(std::string_view bytes, Transport::OnDone on_done) {
  writing_ = true;
  num_unsent_ = -1;
  write_deadline_ns_ = now_ns() + server_.options.times.write * 1'000'000;
  transport_->write_some(boost::asio::buffer(bytes),
                         [self = shared_from_this(), on_done = std::move(on_done)](
                             const boost::system::error_code& error, size_t num_bytes) {
                           self->writing_ = false;
                           on_done(error, num_bytes);
                         });
}

// A write ends only where the system has room again for tens of KiB: a client that reads little,
// and goes on reading, is known by what is left of earlier ones.
void Connection::note_progress_of_system(int64_t now) {
  const int64_t unsent = transport_->num_unsent();
  if (unsent < std::exchange(num_unsent_, unsent)) {
    write_deadline_ns_ = now + server_.options.times.write * 1'000'000;
    if (answer_ != nullptr) answer_->note_progress(0, now);
  }
}

void Connection::on_written(const boost::system::error_code& error, size_t num_bytes) {
  if (phase_ == Phase::kClosed) return;
  if (error) return close(false);
  sent_ += num_bytes;
  answer_->note_progress(num_bytes, now_ns());
  sent_ < sending_.size() ? send() : flush();
}

// The answer was sent whole, or (cut) will not be.
void Connection::finish(bool cut) {
  const std::shared_ptr<Answer> answer = std::exchange(answer_, nullptr);
  if (cut) answer->leave();
  answered_.status = answer->status() == 0 ? kClientLeft : answer->status();
  answered_.num_answer_bytes = answer->num_bytes();
  answered_.took_ns = now_ns() - begun_ns_;
  answered_.cut = cut;
  const std::string why_slow = cut ? answer->why_slow() : "";
  answered_.slow = !why_slow.empty();
  if (answered_.slow)
    log_warn("a client was dropped: {} (request {})", why_slow, answered_.request_id);
  begun_ns_ = 0;
  server_.num_body_bytes -= static_cast<int64_t>(std::exchange(counted_body_bytes_, 0));
  if (std::exchange(is_counted_, false)) --server_.num_working;
  if (server_.on_answered) server_.on_answered(answered_);
  if (cut) return;
  if (sending_.capacity() > kKeptBytes) std::string().swap(sending_);
  if (!answer->keeps_alive()) return linger();
  begin_header();
  process();
  read();
}

// --- ending

// Closing a socket with unread bytes would reset it, and take the answer from a client that still
// sends its body.
void Connection::linger() {
  phase_ = Phase::kLinger;
  set_deadline(server_.options.times.linger);
  std::string().swap(received_);
  transport_->end_writing();
  read();
}

bool Connection::shut_down() {
  if (!is_counted_ || answer_ == nullptr) return false;
  const std::shared_ptr<Answer> answer = answer_;
  answer->shut_down();
  return true;
}

bool Connection::cut() {
  const bool was_counted = is_counted_;
  close(true);
  return was_counted;
}

void Connection::close(bool reset) {
  if (phase_ == Phase::kClosed) return;
  const auto self = shared_from_this();
  const bool works = phase_ == Phase::kWork && answer_ != nullptr;
  phase_ = Phase::kClosed;
  if (works) finish(true);
  server_.num_body_bytes -= static_cast<int64_t>(std::exchange(counted_body_bytes_, 0));
  transport_->close(reset);
  thread_.connections.erase(self);
  --server_.num_connections;
}

}  // namespace weft::serve
