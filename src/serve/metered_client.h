// An engine whose requests are measured as their events pass: EngineClient in front of another.
#pragma once

#include <memory>
#include <utility>

#include "fleet/engine_client.h"
#include "serve/metrics.h"

namespace weft::serve {

class MeteredClient final : public fleet::EngineClient {
 public:
  // metrics outlives every request.
  MeteredClient(std::shared_ptr<fleet::EngineClient> engine, std::shared_ptr<Metrics> metrics)
      : engine_(std::move(engine)), metrics_(std::move(metrics)) {}

  const fleet::ModelCard& card() const override { return engine_->card(); }
  const text::Tokenizer& tokenizer() const override { return engine_->tokenizer(); }
  const text::ChatTemplate* chat_template() const override { return engine_->chat_template(); }

  uint64_t generate(fleet::Generate request, fleet::OnEvent on_event) override;
  uint64_t embed(fleet::Embed request, fleet::OnEmbedding on_embedding) override;
  void cancel(uint64_t request) override { engine_->cancel(request); }
  fleet::Status status() const override { return engine_->status(); }
  engine::PipelineTrace trace(int64_t window_ns) const override {
    return engine_->trace(window_ns);
  }
  void pause() override { engine_->pause(); }
  void resume() override { engine_->resume(); }
  void reset_prefix_cache() override { engine_->reset_prefix_cache(); }
  void when_done(std::function<void(const fleet::Status&)> done) override {
    engine_->when_done(std::move(done));
  }
  void prefixes(fleet::OnPrefixes on_prefixes) override {
    engine_->prefixes(std::move(on_prefixes));
  }

 private:
  std::shared_ptr<fleet::EngineClient> engine_;
  std::shared_ptr<Metrics> metrics_;
};

}  // namespace weft::serve
