// An engine client without an engine: it tells what a test sets, and remembers what it was told.
#pragma once

#include <atomic>
#include <mutex>
#include <stdexcept>

#include "fleet/engine_client.h"

namespace weft::serve {

class ScriptedClient : public fleet::EngineClient {
 public:
  ScriptedClient() {
    card_.name = "tiny";
    card_.max_num_seqs = 4;
    card_.block_size = 16;
    card_.num_blocks = 64;
    card_.limits.max_model_len = 512;
    card_.limits.vocab_size = 100;
    status_.started_ns = 1;
  }

  const fleet::ModelCard& card() const override { return card_; }
  const text::Tokenizer& tokenizer() const override { throw std::logic_error("no tokenizer"); }
  const text::ChatTemplate* chat_template() const override { return nullptr; }
  uint64_t generate(fleet::Generate, fleet::OnEvent) override { return 1; }
  uint64_t embed(fleet::Embed, fleet::OnEmbedding) override { return 1; }
  void cancel(uint64_t) override {}
  fleet::Status status() const override {
    const std::lock_guard lock(mutex_);
    return status_;
  }
  engine::PipelineTrace trace(int64_t window_ns) const override {
    traced_ns_ = window_ns;
    return trace_;
  }
  // As an engine does: what is asked for holds a moment later.
  void pause() override { asked_ = true; }
  void resume() override { asked_ = false; }
  void when_done(std::function<void(const fleet::Status&)> done) override {
    set([this](fleet::Status& status) { status.paused = asked_; });
    done(status());
  }
  void reset_prefix_cache() override { ++num_resets; }
  void prefixes(fleet::OnPrefixes on_prefixes) override { on_prefixes(prefixes_); }

  template <typename Change>
  void set(Change change) {
    const std::lock_guard lock(mutex_);
    change(status_);
  }

  std::atomic<int> num_resets{0};
  engine::PipelineTrace trace_;
  mutable std::atomic<int64_t> traced_ns_{0};  // asked for last
  std::shared_ptr<const fleet::PrefixSnapshot> prefixes_;
  fleet::ModelCard card_;

 private:
  std::atomic<bool> asked_{false};  // to pause
  mutable std::mutex mutex_;
  fleet::Status status_;
};

}  // namespace weft::serve
