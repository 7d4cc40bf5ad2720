// How many tokens texts have, for a client that has no tokenizer of its own.
#pragma once

#include <atomic>
#include <string>

#include "cli/http_streams.h"
#include "cli/load_prompts.h"

namespace weft::cli {

// By the server's /tokenize (vLLM and Weft have it), some at a time. Where a server has none, a
// token is taken for four bytes, as is usual for English, and `estimated` says so.
class ServerTokenCounts {
 public:
  // base: http://host:port. stop: nothing more is asked, and what is not counted is estimated.
  ServerTokenCounts(HttpStreams* streams, std::string base, std::string model, std::string api_key,
                    const std::atomic<bool>& stop)
      : streams_(*streams),
        base_(std::move(base)),
        model_(std::move(model)),
        api_key_(std::move(api_key)),
        stop_(stop) {}

  std::vector<int64_t> operator()(const std::vector<std::string>& texts);
  bool estimated() const { return estimated_; }

 private:
  HttpStreams& streams_;
  std::string base_, model_, api_key_;
  const std::atomic<bool>& stop_;
  bool estimated_ = false;
};

}  // namespace weft::cli
