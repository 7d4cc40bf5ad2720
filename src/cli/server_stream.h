// The answer of /v1/chat/completions as it streams in.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "serve/sse_reader.h"

namespace weft::cli {

class ServerStream {
 public:
  struct Reader {
    std::function<void(const std::string& piece)> on_text, on_reasoning;
  };
  explicit ServerStream(Reader reader) : reader_(std::move(reader)) {}

  // Bytes of an answer with status 200.
  void take(std::span<const char> bytes);
  // All bytes have come. Some servers answer whole, though a stream was asked for.
  void end();

  const std::string& text() const { return text_; }
  const std::string& finish_reason() const { return finish_reason_; }  // empty: not told
  const std::string& model() const { return model_; }
  const std::string& error() const { return error_; }  // the server's words; empty: none
  bool is_whole() const { return is_done_ || !finish_reason_.empty(); }
  // By the server's usage; < 0: not told.
  int64_t prompt_tokens() const { return prompt_tokens_; }
  int64_t cached_tokens() const { return cached_tokens_; }  // of the prompt
  int64_t output_tokens() const { return output_tokens_; }
  int64_t num_pieces() const { return num_pieces_; }

 private:
  void take_event(std::string_view data);

  Reader reader_;
  serve::SseReader events_;
  std::string text_, finish_reason_, model_, error_;
  std::string body_;  // until the first event, and no more than a whole answer has
  bool has_events_ = false, is_done_ = false;
  int64_t prompt_tokens_ = -1, cached_tokens_ = -1, output_tokens_ = -1, num_pieces_ = 0;
};

}  // namespace weft::cli
