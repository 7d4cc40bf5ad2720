// [begin, total) of one file, in chunks through several connections, handed on in order.
//
// The chunk that comes next goes to the sink as it arrives; the others are held in memory until it
// is their turn, so at most num_connections chunks are. What the sink has is therefore always a
// beginning of the file without holes, which any later run, and huggingface_hub, can go on from.
// Rejected: writing chunks where they belong in the file. It needs no memory, but after a kill the
// file's size says nothing, and a side file that says more is not read by others.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "hub/http.h"
#include "hub/transfer.h"

namespace weft::hub {

class RangeFetch {
 public:
  RangeFetch(const Settings& settings, const std::atomic<bool>& stop, CURLM* multi);
  HttpClient::RangeResult run(const std::string& location, int64_t begin, int64_t total_bytes,
                              const HttpClient::Sink& sink);

 private:
  struct Chunk {
    int64_t begin = 0, end = 0;
    int64_t received = 0;
    std::string held;  // received, and not yet given to the sink
    int lane = -1;     // that fetches it; < 0: none
    int failures = 0;  // in a row
    std::chrono::steady_clock::time_point not_before{};

    bool is_whole() const { return received == end - begin; }
  };
  struct Lane {
    std::unique_ptr<Transfer> transfer;
    Chunk* chunk = nullptr;
    std::string url;
    bool is_checked = false;  // the answer's head, to be what was asked for
    bool is_refused = false;  // it is not, or the body is longer than it says
    int64_t skip = 0;         // bytes to drop before the chunk's, of a server without ranges
    int num_hops = 0;
  };

  void plan_chunks();
  void start_lanes();
  void begin_transfer(Lane& lane);
  bool take(Lane& lane, std::span<const char> piece);
  bool is_expected(const Lane& lane) const;
  void hand_on();
  // After a transfer ended: done, redirected, to be tried again, or refused for good.
  void settle(Lane& lane);
  void read_from_the_start();

  const Settings& settings_;
  const std::atomic<bool>& stop_;
  CURLM* multi_;
  const HttpClient::Sink* sink_ = nullptr;
  std::string location_;
  int64_t written_ = 0, planned_ = 0, total_ = 0;
  bool has_ranges_ = true;           // the server's
  int refused_with_ = 0;             // the status that ends it all
  size_t num_lanes_allowed_;         // fewer once the server says that there are too many
  std::map<int64_t, Chunk> chunks_;  // by their begin; the first is the one to hand on
  std::vector<Lane> lanes_;
};

}  // namespace weft::hub
