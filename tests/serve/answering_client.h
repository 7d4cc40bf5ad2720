// An engine client whose answers a test writes: it keeps what it is asked, and says what it is told
// to. Its tokens are bytes; id 256 ends a text.
#pragma once

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "serve/scripted_client.h"

namespace weft::serve {

class ByteTokenizer : public text::Tokenizer {
 public:
  int64_t vocab_size() const override { return 257; }
  std::vector<int32_t> encode(std::string_view text, bool, bool) const override {
    std::vector<int32_t> ids;
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  std::string piece(int32_t id, bool special) const override {
    if (id == 256) return special ? "<|end|>" : "";
    return id < 0 || id > 256 ? "" : std::string(1, static_cast<char>(id));
  }
  std::string decode(std::span<const int32_t> ids, bool special) const override {
    std::string text;
    for (const int32_t id : ids) text += piece(id, special);
    return text;
  }
  bool is_special(int32_t id) const override { return id == 256; }
  std::optional<int32_t> find_token(std::string_view) const override { return std::nullopt; }
  std::string description() const override { return "bytes"; }
};

class AnsweringClient : public ScriptedClient {
 public:
  // What comes of a request, at once.
  using Answer = std::function<void(const fleet::Generate&, const fleet::OnEvent&)>;

  AnsweringClient() {
    card_.limits = {.vocab_size = 257, .max_model_len = 512, .context_length = 512};
    card_.fingerprint = "fp_test";
    card_.report.hidden_size = 4;
  }

  const text::Tokenizer& tokenizer() const override { return tokenizer_; }
  uint64_t generate(fleet::Generate request, fleet::OnEvent on_event) override {
    const uint64_t number = remember(request);
    if (answer) {
      answer(request, on_event);
    } else {
      const std::lock_guard lock(mutex_);
      waiting_.emplace(number, std::move(on_event));
    }
    return number;
  }
  uint64_t embed(fleet::Embed request, fleet::OnEmbedding on_embedding) override {
    {
      const std::lock_guard lock(mutex_);
      embeds_.push_back(request);
      if (embed_fails_at && embeds_.size() == *embed_fails_at)
        throw Error(ErrorKind::kCommunication, "the engine has gone");
      if (embed_waits) return embeds_.size();
    }
    const auto length = static_cast<float>(request.prompt_ids.size());
    on_embedding({{length, 0.5f, 0, -2}, static_cast<int64_t>(request.prompt_ids.size()), {}});
    return embeds().size();
  }
  void cancel(uint64_t request) override {
    fleet::OnEvent on_event;
    {
      const std::lock_guard lock(mutex_);
      cancelled_.push_back(request);
      const auto found = waiting_.find(request);
      if (found == waiting_.end()) return;
      on_event = std::move(found->second);
      waiting_.erase(found);
    }
    fleet::Event event;
    event.finish = engine::FinishReason::kCancelled;
    event.ended = true;
    on_event(event);
  }

  std::vector<fleet::Generate> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }
  std::vector<uint64_t> cancelled() const {
    const std::lock_guard lock(mutex_);
    return cancelled_;
  }

  std::vector<fleet::Embed> embeds() const {
    const std::lock_guard lock(mutex_);
    return embeds_;
  }

  Answer answer;
  bool embed_waits = false;              // for ever
  std::optional<size_t> embed_fails_at;  // the so-many-th throws

 private:
  uint64_t remember(const fleet::Generate& request) {
    const std::lock_guard lock(mutex_);
    requests_.push_back(request);
    return requests_.size();
  }

  ByteTokenizer tokenizer_;
  mutable std::mutex mutex_;
  std::vector<fleet::Generate> requests_;
  std::vector<fleet::Embed> embeds_;
  std::vector<uint64_t> cancelled_;
  std::map<uint64_t, fleet::OnEvent> waiting_;
};

// One event of a choice: a text of one byte a token, and its end.
inline fleet::Event event_of(const fleet::Generate& request, size_t choice, std::string text,
                             std::optional<engine::FinishReason> finish = std::nullopt,
                             bool ended = false) {
  fleet::Event event;
  event.choice = choice;
  event.num_prompt_tokens = static_cast<int64_t>(request.prompt_ids.size());
  event.num_cached_tokens = 2;
  for (const char c : text) {
    event.token_ids.push_back(static_cast<unsigned char>(c));
    if (request.sampling.logprobs)
      event.logprobs.push_back({{event.token_ids.back(), -0.25f}, {'z', -1.5f}});
  }
  event.text = std::move(text);
  event.finish = finish;
  event.ended = ended;
  return event;
}

}  // namespace weft::serve
