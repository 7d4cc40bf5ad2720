#include "hub/range_fetch.h"

#include <fmt/format.h>

#include <algorithm>

namespace weft::hub {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kMaxHops = 5;

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

bool is_passing(int status) { return status == 408 || status == 429 || status >= 500; }

}  // namespace

RangeFetch::RangeFetch(const Settings& settings, const std::atomic<bool>& stop, CURLM* multi)
    : settings_(settings),
      stop_(stop),
      multi_(multi),
      num_lanes_allowed_(static_cast<size_t>(std::max(1, settings.num_connections))) {}

HttpClient::RangeResult RangeFetch::run(const std::string& location, int64_t begin,
                                        int64_t total_bytes, const HttpClient::Sink& sink) {
  sink_ = &sink;
  location_ = location;
  written_ = planned_ = begin;
  total_ = total_bytes;
  lanes_.resize(num_lanes_allowed_);
  while (written_ < total_ && refused_with_ == 0) {
    if (stop_.load()) throw Stopped{};
    plan_chunks();
    start_lanes();
    drive(multi_);
    for (Lane& lane : lanes_) {
      if (lane.chunk != nullptr && lane.transfer->is_done()) settle(lane);
    }
    hand_on();
  }
  return {refused_with_, written_ - begin};
}

void RangeFetch::plan_chunks() {
  while (planned_ < total_ && chunks_.size() < num_lanes_allowed_) {
    const int64_t end = has_ranges_ ? std::min(total_, planned_ + settings_.chunk_bytes) : total_;
    chunks_.emplace(planned_, Chunk{planned_, end});
    planned_ = end;
  }
}

void RangeFetch::start_lanes() {
  const auto now = Clock::now();
  size_t num_busy = static_cast<size_t>(
      std::ranges::count_if(lanes_, [](const Lane& lane) { return lane.chunk != nullptr; }));
  for (auto& [begin, chunk] : chunks_) {
    if (num_busy >= num_lanes_allowed_) return;
    if (chunk.lane >= 0 || chunk.is_whole() || chunk.not_before > now) continue;
    const auto free =
        std::ranges::find_if(lanes_, [](const Lane& lane) { return lane.chunk == nullptr; });
    if (free == lanes_.end()) return;
    chunk.lane = static_cast<int>(free - lanes_.begin());
    free->chunk = &chunk;
    free->url = location_;
    free->num_hops = 0;
    if (!free->transfer) free->transfer = std::make_unique<Transfer>(settings_);
    begin_transfer(*free);
    ++num_busy;
  }
}

void RangeFetch::begin_transfer(Lane& lane) {
  const Chunk& chunk = *lane.chunk;
  const int64_t from = chunk.begin + chunk.received;
  lane.is_checked = lane.is_refused = false;
  lane.skip = has_ranges_ ? 0 : from;
  Transfer::Request request;
  request.url = lane.url;
  // Of a whole file no range is asked: the plainest request for the smallest files.
  if (has_ranges_ && (from > 0 || chunk.end < total_))
    request.range = fmt::format("{}-{}", from, chunk.end - 1);
  request.on_body = [this, &lane](std::span<const char> piece) { return take(lane, piece); };
  lane.transfer->start(multi_, std::move(request));
}

// Whether the answer's status and range are those of what was asked for.
bool RangeFetch::is_expected(const Lane& lane) const {
  const Chunk& chunk = *lane.chunk;
  const int64_t from = chunk.begin + chunk.received;
  const bool asked_all = !has_ranges_ || (from == 0 && chunk.end == total_);
  if (lane.transfer->status() == 200) return asked_all;
  return lane.transfer->status() == 206 && !asked_all &&
         lane.transfer->header("content-range") ==
             fmt::format("bytes {}-{}/{}", from, chunk.end - 1, total_);
}

bool RangeFetch::take(Lane& lane, std::span<const char> piece) {
  Chunk& chunk = *lane.chunk;
  if (!lane.is_checked && !is_expected(lane)) {
    lane.is_refused = true;
    return false;
  }
  lane.is_checked = true;
  const int64_t dropped = std::min<int64_t>(lane.skip, static_cast<int64_t>(piece.size()));
  lane.skip -= dropped;
  piece = piece.subspan(static_cast<size_t>(dropped));
  if (static_cast<int64_t>(piece.size()) > chunk.end - chunk.begin - chunk.received) {
    lane.is_refused = true;
    return false;
  }
  if (piece.empty()) return true;
  chunk.failures = 0;
  chunk.received += static_cast<int64_t>(piece.size());
  if (chunk.begin == chunks_.begin()->first && chunk.held.empty()) {
    (*sink_)(piece);
    written_ += static_cast<int64_t>(piece.size());
  } else {
    chunk.held.append(piece.data(), piece.size());
  }
  return true;
}

void RangeFetch::hand_on() {
  while (!chunks_.empty()) {
    Chunk& first = chunks_.begin()->second;
    if (!first.held.empty()) {
      (*sink_)(first.held);
      written_ += static_cast<int64_t>(first.held.size());
      first.held = {};
    }
    if (!first.is_whole() || first.lane >= 0) return;
    chunks_.erase(chunks_.begin());
  }
}

void RangeFetch::settle(Lane& lane) {
  const Transfer& transfer = *lane.transfer;
  TransportError error = transfer.failure();  // throws what the sink threw
  const int status = transfer.status();
  if (error.what.empty() && is_redirect(status) && ++lane.num_hops <= kMaxHops) {
    lane.url = redirected(lane.url, transfer.header("location"));
    if (!lane.url.empty()) return begin_transfer(lane);
  }
  Chunk& chunk = *lane.chunk;
  chunk.lane = -1;
  lane.chunk = nullptr;
  if (chunk.is_whole() && !lane.is_refused) return;
  if (lane.is_refused && status == 200 && has_ranges_) return read_from_the_start();
  if (status >= 300 && !is_passing(status)) {
    refused_with_ = status;
    return;
  }
  if (status == 429 || status == 503)
    num_lanes_allowed_ = std::max<size_t>(1, num_lanes_allowed_ / 2);
  if (error.what.empty() && is_passing(status))
    error.what = fmt::format("the server says {}", status);
  if (error.what.empty() && lane.is_refused)
    error.what = "the server sent another part of the file";
  if (error.what.empty()) error.what = "the connection ended early";
  if (++chunk.failures >= settings_.max_failures || error.is_certificate) throw error;
  chunk.not_before =
      Clock::now() + retry_pause(settings_, chunk.failures - 1, transfer.header("retry-after"));
}

// For a server that answers every range with the whole file.
void RangeFetch::read_from_the_start() {
  has_ranges_ = false;
  num_lanes_allowed_ = 1;
  for (Lane& lane : lanes_) {
    if (lane.transfer) lane.transfer->leave();
    lane.chunk = nullptr;
  }
  chunks_.clear();
  planned_ = written_;
}

}  // namespace weft::hub
