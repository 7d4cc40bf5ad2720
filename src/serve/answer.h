// The answer to one request on its way from a route, on whatever thread, to the connection that
// sends it. Its buffer is bounded: a client that does not read is cut off, it does not fill memory.
//
//   route threads:      respond | begin_stream, write..., end_stream      on_gone
//                          v pending bytes, under a mutex                    ^
//   connection thread:  take -> socket                                    leave
//
// Stuck is who has more than slow_bytes of a stream waiting for it and has taken nothing for
// slow_ns: a burst of events is no sign of a slow client, however large, while it is being read.
// The head and the first event do not count here: they wait for nobody. For memory's sake all
// answers together, finished ones too, may hold waiting_bytes beyond slow_bytes each; where they
// hold more, the slowest are cut (serve/answer_backlog.h).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "serve/answer_backlog.h"
#include "serve/exchange.h"

namespace weft::serve {

struct AnswerLimits {
  size_t slow_bytes = 64 * 1024;
  int64_t slow_ns = 5'000'000'000;
  // Twice what the shares of 2,000 slow readers take: 130 KiB more for each of them.
  int64_t waiting_bytes = 256 * 1024 * 1024;
};

// How the head of an answer has to be written.
struct AnswerForm {
  std::string request_id;
  bool keep_alive = true;
  bool http_1_0 = false;  // no chunks: the end of the connection is the end of the body
  bool head_only = false;
};

class Answer : public std::enable_shared_from_this<Answer> {
 public:
  // wake: called from any thread when there is something to take, or the client is to be cut.
  // draining: answers begun since say that the connection ends with them. backlog: of all answers;
  // null: this one has its own.
  Answer(AnswerForm form, const AnswerLimits& limits,
         std::shared_ptr<const std::atomic<bool>> draining, std::function<void()> wake,
         std::shared_ptr<AnswerBacklog> backlog = nullptr);
  ~Answer();

  // Of routes: as of Exchange.
  void respond(int status, const std::string& content_type, const std::string& body,
               const HttpHeaders& headers);
  void begin_stream(int status, const std::string& content_type, const HttpHeaders& headers);
  bool write(const std::string& chunk);
  void end_stream();
  void on_gone(std::function<void()> gone);
  void on_quiet(int64_t after_ns, std::function<void()> quiet);
  void on_shutdown(std::function<void()> shutdown);
  void keep(std::shared_ptr<void> kept);
  // The route dropped its exchange: 500 where nothing was begun, a cut where a stream was.
  void abandon();

  bool is_gone();

  // Of the connection.
  enum class Next {
    kWait,  // nothing to send yet
    kSend,  // *out is to be sent; then take again
    kEnded,
    kCut  // the client is to be dropped
  };
  // *out: what was sent before; its memory serves again.
  Next take(std::string* out);
  // The client took a part of it: so many bytes from here, or (0) some that the system had.
  void note_progress(size_t num_bytes, int64_t now);
  // Whether to drop the client now, whatever is under way to it.
  bool is_cut();
  // Tells the route where it has said nothing for long, and nothing waits to be sent.
  void check_quiet(int64_t now);
  // Cuts the client where it is stuck.
  void check_stuck(int64_t now);
  // Cuts it, for nobody is slower and there is no room for all.
  void cut_as_slowest();
  // The server ends: the route, where it listens, may say so.
  void shut_down();
  // Why the client was dropped where that was because it did not read; otherwise empty.
  std::string why_slow();
  // The client has left (or is made to): whoever waits for that is told.
  void leave();

  bool keeps_alive() const { return form_.keep_alive; }  // once it has ended
  int status() const { return status_; }                 // once it has begun
  int64_t num_bytes() const { return num_bytes_; }
  const std::string& request_id() const { return form_.request_id; }

 private:
  enum class Phase { kOpen, kStreaming, kEnded };
  std::string head(int status, const std::string& content_type, const HttpHeaders& headers,
                   bool has_length, size_t length);
  size_t num_waiting() const { return pending_.size() + num_in_flight_ - num_first_; }
  bool has_waiting() const { return !pending_.empty() || num_in_flight_ > 0; }
  bool is_stuck(int64_t now) const;
  std::string stuck() const;
  void cut(std::string why);
  void begin_wait(bool had_waiting);
  void count_backlog();
  bool should_wake();
  std::function<void()> finish();

  AnswerForm form_;
  const AnswerLimits limits_;
  const std::shared_ptr<const std::atomic<bool>> draining_;
  const std::function<void()> wake_;
  const std::shared_ptr<AnswerBacklog> backlog_;

  std::mutex mutex_;  // of all that follows
  Phase phase_ = Phase::kOpen;
  std::string pending_;
  size_t num_in_flight_ = 0, in_flight_capacity_ = 0;
  size_t num_first_ = 0;     // bytes of a stream's head and first event among both
  int64_t progress_ns_ = 0;  // of what is in flight; 0: nothing is
  int64_t wait_ns_ = 0;      // since when something waits or is in flight
  size_t num_taken_ = 0;     // bytes meanwhile
  bool is_in_backlog_ = false;
  bool gone_ = false, cut_ = false, woken_ = false;
  std::string why_slow_;
  std::function<void()> on_gone_;
  std::function<void()> on_quiet_, on_shutdown_;
  std::shared_ptr<void> kept_;
  int64_t quiet_after_ns_ = 0, last_said_ns_ = 0;
  int status_ = 0;
  int64_t num_bytes_ = 0;
};

// Bytes that count in a sum for as long as this lives.
class CountedBytes {
 public:
  CountedBytes(std::shared_ptr<std::atomic<int64_t>> sum, size_t num_bytes)
      : sum_(std::move(sum)), num_bytes_(static_cast<int64_t>(num_bytes)) {}
  ~CountedBytes() { release(); }
  CountedBytes(CountedBytes&& other) noexcept
      : sum_(std::move(other.sum_)), num_bytes_(std::exchange(other.num_bytes_, 0)) {}
  CountedBytes& operator=(CountedBytes&&) = delete;
  // They were added before.
  void release() {
    if (num_bytes_ > 0) *sum_ -= std::exchange(num_bytes_, 0);
  }

 private:
  std::shared_ptr<std::atomic<int64_t>> sum_;
  int64_t num_bytes_;
};

// The Exchange that a route is given. Its body counts until it is released, or with it.
class AnswerExchange : public Exchange {
 public:
  AnswerExchange(std::shared_ptr<Answer> answer, HttpRequest request, CountedBytes body_bytes)
      : answer_(std::move(answer)),
        request_(std::move(request)),
        body_bytes_(std::move(body_bytes)) {}
  ~AnswerExchange() override { answer_->abandon(); }

  const HttpRequest& request() const override { return request_; }
  void respond(int status, std::string content_type, std::string body,
               HttpHeaders headers) override {
    answer_->respond(status, content_type, body, headers);
  }
  void begin_stream(int status, std::string content_type, HttpHeaders headers) override {
    answer_->begin_stream(status, content_type, headers);
  }
  bool write(std::string chunk) override { return answer_->write(chunk); }
  void end_stream() override { answer_->end_stream(); }
  void on_gone(std::function<void()> gone) override { answer_->on_gone(std::move(gone)); }
  void on_quiet(int64_t after_ns, std::function<void()> quiet) override {
    answer_->on_quiet(after_ns, std::move(quiet));
  }
  void on_shutdown(std::function<void()> shutdown) override {
    answer_->on_shutdown(std::move(shutdown));
  }
  void keep(std::shared_ptr<void> kept) override { answer_->keep(std::move(kept)); }
  bool is_gone() const override { return answer_->is_gone(); }
  void release_body() override {
    std::string().swap(request_.body);
    body_bytes_.release();
  }

 private:
  const std::shared_ptr<Answer> answer_;
  HttpRequest request_;
  CountedBytes body_bytes_;
};

}  // namespace weft::serve
