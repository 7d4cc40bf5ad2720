#include "serve/answer.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <ctime>
#include <string_view>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "serve/error_object.h"
#include "serve/status_text.h"

namespace weft::serve {
namespace {

// Memory that an answer keeps for its next pieces.
constexpr size_t kKeptBytes = 8 * 1024;
constexpr size_t kFrameBytes = 20;  // of a chunk: its size in hexadecimal digits, and two line ends

// A field as one line: what could end it is left out.
void append_field(std::string_view name, std::string_view value, std::string* head) {
  const auto append = [&](std::string_view text) {
    for (const char c : text)
      if (static_cast<unsigned char>(c) >= 0x20 || c == '\t') *head += c;
  };
  append(name);
  *head += ": ";
  append(value);
  *head += "\r\n";
}

}  // namespace

Answer::Answer(AnswerForm form, const AnswerLimits& limits,
               std::shared_ptr<const std::atomic<bool>> draining, std::function<void()> wake,
               std::shared_ptr<AnswerBacklog> backlog)
    : form_(std::move(form)),
      limits_(limits),
      draining_(std::move(draining)),
      wake_(std::move(wake)),
      backlog_(backlog ? std::move(backlog) : std::make_shared<AnswerBacklog>()) {}

Answer::~Answer() {
  if (is_in_backlog_) backlog_->note(this, {});
}

std::string Answer::head(int status, const std::string& content_type, const HttpHeaders& headers,
                         bool has_length, size_t length) {
  if (draining_->load(std::memory_order_relaxed)) form_.keep_alive = false;
  if (!has_length && form_.http_1_0) form_.keep_alive = false;
  status_ = status;
  std::string head = fmt::format("HTTP/1.1 {} {}\r\n", status, status_text(status));
  append_field("Date", fmt::format("{:%a, %d %b %Y %H:%M:%S} GMT", fmt::gmtime(std::time(nullptr))),
               &head);
  append_field("X-Request-Id", form_.request_id, &head);
  if (!content_type.empty()) append_field("Content-Type", content_type, &head);
  for (const auto& [name, value] : headers) append_field(name, value, &head);
  append_field("X-Content-Type-Options", "nosniff", &head);
  if (has_length) {
    if (status != 204 && status != 304)
      append_field("Content-Length", std::to_string(length), &head);
  } else if (!form_.http_1_0) {
    append_field("Transfer-Encoding", "chunked", &head);
  }
  if (!form_.keep_alive) append_field("Connection", "close", &head);
  if (form_.keep_alive && form_.http_1_0) append_field("Connection", "keep-alive", &head);
  head += "\r\n";
  return head;
}

std::string Answer::stuck() const {
  return fmt::format("it took nothing for {} s while {} KiB waited for it",
                     static_cast<double>(limits_.slow_ns) * 1e-9, num_waiting() / 1024);
}

// Whether the connection has to be told; it is told once until it takes.
bool Answer::should_wake() { return !std::exchange(woken_, true); }

// What waited for the client's leaving waits no more.
std::function<void()> Answer::finish() {
  phase_ = Phase::kEnded;
  return std::exchange(on_gone_, nullptr);
}

void Answer::respond(int status, const std::string& content_type, const std::string& body,
                     const HttpHeaders& headers) {
  std::function<void()> unneeded;  // its destructor may be anything: not under the mutex
  bool wakes = false;
  {
    const std::lock_guard lock(mutex_);
    WEFT_CHECK(phase_ == Phase::kOpen, "answered twice");
    unneeded = finish();
    if (gone_) return;
    pending_ += head(status, content_type, headers, true, body.size());
    if (!form_.head_only) pending_ += body;
    num_first_ = pending_.size();
    num_bytes_ = static_cast<int64_t>(body.size());
    begin_wait(/*had_waiting=*/false);
    wakes = should_wake();
  }
  if (wakes) wake_();
}

void Answer::begin_stream(int status, const std::string& content_type, const HttpHeaders& headers) {
  bool wakes = false;
  {
    const std::lock_guard lock(mutex_);
    WEFT_CHECK(phase_ == Phase::kOpen, "answered twice");
    phase_ = Phase::kStreaming;
    if (gone_) return;
    pending_ += head(status, content_type, headers, false, 0);
    num_first_ = pending_.size();
    begin_wait(/*had_waiting=*/false);
    wakes = should_wake();
  }
  if (wakes) wake_();
}

bool Answer::is_stuck(int64_t now) const {
  const bool has_much = num_waiting() > limits_.slow_bytes;
  return has_much && progress_ns_ > 0 && now - progress_ns_ > limits_.slow_ns;
}

void Answer::cut(std::string why) {
  gone_ = cut_ = true;
  why_slow_ = std::move(why);
}

// Something was added, to what waited already or not.
void Answer::begin_wait(bool had_waiting) {
  if (!had_waiting) {
    wait_ns_ = now_ns();
    num_taken_ = 0;
  }
  count_backlog();
}

// What it holds in memory, which is more than it has to send.
void Answer::count_backlog() {
  const size_t held = has_waiting() ? pending_.capacity() + in_flight_capacity_ : 0;
  const size_t beyond = held - std::min(held, limits_.slow_bytes);
  if (beyond == 0 && !is_in_backlog_) return;
  is_in_backlog_ = beyond > 0;
  backlog_->note(this, {.num_bytes = static_cast<int64_t>(beyond),
                        .since_ns = wait_ns_,
                        .num_taken = static_cast<int64_t>(num_taken_ + limits_.slow_bytes),
                        .answer = weak_from_this()});
}

bool Answer::write(const std::string& chunk) {
  bool wakes = false, keeps = true;
  {
    const std::lock_guard lock(mutex_);
    WEFT_CHECK(phase_ == Phase::kStreaming, "a piece of no stream");
    if (gone_) return false;
    if (chunk.empty() || form_.head_only) return true;  // an empty chunk would be the end
    const size_t before = pending_.size();
    const bool had_waiting = has_waiting();
    if (is_stuck(now_ns())) {
      cut(stuck());
      wakes = true;
      keeps = false;
    } else if (form_.http_1_0) {
      pending_ += chunk;
    } else {
      pending_.reserve(pending_.size() + chunk.size() + kFrameBytes);  // grows once, not twice
      fmt::format_to(std::back_inserter(pending_), "{:x}\r\n", chunk.size());
      pending_ += chunk;
      pending_ += "\r\n";
    }
    if (keeps) {
      if (num_bytes_ == 0) num_first_ += pending_.size() - before;
      begin_wait(had_waiting);
      last_said_ns_ = now_ns();
      num_bytes_ += static_cast<int64_t>(chunk.size());
      wakes = should_wake();
    }
  }
  if (wakes) wake_();
  return keeps;
}

void Answer::end_stream() {
  std::function<void()> unneeded;
  bool wakes = false;
  {
    const std::lock_guard lock(mutex_);
    WEFT_CHECK(phase_ == Phase::kStreaming, "the end of no stream");
    unneeded = finish();
    if (gone_) return;
    if (!form_.http_1_0 && !form_.head_only) pending_ += "0\r\n\r\n";
    wakes = should_wake();
  }
  if (wakes) wake_();
}

void Answer::on_gone(std::function<void()> gone) {
  {
    const std::lock_guard lock(mutex_);
    if (phase_ == Phase::kEnded) return;
    if (!gone_) {
      on_gone_ = std::move(gone);
      return;
    }
  }
  gone();
}

void Answer::on_quiet(int64_t after_ns, std::function<void()> quiet) {
  const std::lock_guard lock(mutex_);
  if (phase_ == Phase::kEnded || gone_) return;
  on_quiet_ = std::move(quiet);
  quiet_after_ns_ = after_ns;
  last_said_ns_ = now_ns();
}

void Answer::check_quiet(int64_t now) {
  std::function<void()> quiet;
  {
    const std::lock_guard lock(mutex_);
    const bool is_waiting = phase_ != Phase::kEnded && !gone_ && pending_.empty();
    if (!is_waiting || num_in_flight_ > 0 || quiet_after_ns_ == 0) return;
    if (now - last_said_ns_ < quiet_after_ns_) return;
    last_said_ns_ = now;
    quiet = on_quiet_;
  }
  quiet();
}

void Answer::on_shutdown(std::function<void()> shutdown) {
  const std::lock_guard lock(mutex_);
  if (phase_ != Phase::kEnded && !gone_) on_shutdown_ = std::move(shutdown);
}

void Answer::shut_down() {
  std::function<void()> shutdown;
  {
    const std::lock_guard lock(mutex_);
    if (phase_ != Phase::kEnded && !gone_) shutdown = std::exchange(on_shutdown_, nullptr);
  }
  if (shutdown) shutdown();
}

void Answer::keep(std::shared_ptr<void> kept) {
  const std::lock_guard lock(mutex_);
  if (!gone_) kept_.swap(kept);  // otherwise it ends with this call
}

void Answer::abandon() {
  bool is_open = false, wakes = false;
  std::function<void()> unneeded;
  {
    const std::lock_guard lock(mutex_);
    is_open = phase_ == Phase::kOpen;
    if (phase_ == Phase::kStreaming) {  // the client must not take it for a whole answer
      unneeded = finish();
      cut_ = gone_ = wakes = true;
    }
  }
  if (wakes) wake_();
  if (is_open)
    respond(500, "application/json",
            error_json({500, "the server failed to answer", "", "", "internal_error"}), {});
}

bool Answer::is_gone() {
  const std::lock_guard lock(mutex_);
  return gone_;
}

bool Answer::is_cut() {
  const std::lock_guard lock(mutex_);
  return cut_;
}

std::string Answer::why_slow() {
  const std::lock_guard lock(mutex_);
  return why_slow_;
}

void Answer::check_stuck(int64_t now) {
  {
    const std::lock_guard lock(mutex_);
    if (gone_ || !is_stuck(now)) return;
    cut(stuck());
  }
  wake_();
}

void Answer::cut_as_slowest() {
  {
    const std::lock_guard lock(mutex_);
    if (gone_) return;
    cut(fmt::format("nobody was slower, and more than {} KiB wait for all clients",
                    limits_.waiting_bytes / 1024));
  }
  wake_();
}

Answer::Next Answer::take(std::string* out) {
  std::shared_ptr<void> unneeded;  // its destructor may be anything: not under the mutex
  const std::lock_guard lock(mutex_);
  woken_ = false;
  out->clear();
  if (out->capacity() > kKeptBytes) std::string().swap(*out);  // of a burst
  num_first_ -= std::min(num_first_, num_in_flight_);
  num_in_flight_ = in_flight_capacity_ = 0;
  progress_ns_ = 0;
  if (pending_.empty()) count_backlog();
  if (cut_) return Next::kCut;
  if (pending_.empty() && phase_ == Phase::kEnded) unneeded.swap(kept_);
  if (pending_.empty()) return phase_ == Phase::kEnded ? Next::kEnded : Next::kWait;
  std::swap(*out, pending_);
  num_in_flight_ = out->size();
  in_flight_capacity_ = out->capacity();
  progress_ns_ = now_ns();
  count_backlog();
  return Next::kSend;
}

// Its memory is held, and counts, until all of it is sent.
void Answer::note_progress(size_t num_bytes, int64_t now) {
  const std::lock_guard lock(mutex_);
  progress_ns_ = now;
  num_taken_ += num_bytes;
  if (is_in_backlog_) count_backlog();
}

void Answer::leave() {
  std::function<void()> gone;
  std::shared_ptr<void> unneeded;
  {
    const std::lock_guard lock(mutex_);
    gone_ = true;
    gone = std::exchange(on_gone_, nullptr);
    unneeded.swap(kept_);
    std::string().swap(pending_);
    num_first_ = num_in_flight_ = in_flight_capacity_ = 0;
    count_backlog();
  }
  if (gone) gone();
}

}  // namespace weft::serve
