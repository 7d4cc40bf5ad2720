// The engine of this process behind EngineClient: one thread loads it, steps it while there is
// work, and sleeps otherwise. All others talk to that thread through a mailbox, which it looks into
// between two steps; what comes of a request is told from it.
//
//   generate, cancel, embed, pause, …        any thread
//        | Message                               ^ status(), trace(): a snapshot
//        v                                       |
//     Mailbox ──> turn(): take messages, engine->step(), publish ──> on_event
//                 the stepping thread
//
// A request that fails ends alone. A step that throws has lost a rank: all that runs ends with its
// error, nothing is taken any more, and status() says so; the process should then end.
//
// Rejected: a lock around the engine (a caller would wait for a whole step); a thread a request
// (the engine batches by itself).
#pragma once

#include <atomic>
#include <functional>
#include <future>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <variant>
#include <vector>

#include "fleet/engine_client.h"
#include "fleet/grammar_compilations.h"
#include "fleet/mailbox.h"
#include "fleet/prefix_snapshot.h"

namespace weft::fleet {

struct LocalEngineOptions {
  std::string name;         // of the model, as the user named it
  std::string fingerprint;  // empty: fleet/fingerprint.h says it
  engine::EngineOptions engine;
  // Idle for so long, it answers a prompt of one token by another, of which nobody is told: a step
  // that was completed shows that the next one can be. 0: never.
  int64_t probe_ns = 0;
};

class LocalEngine final : public EngineClient {
 public:
  // Called once, by the stepping thread: engine::Engine::load, with a progress bar perhaps. The
  // options are those given, with room for a trace where they have none.
  using Load = std::function<std::unique_ptr<engine::Engine>(const engine::EngineOptions&)>;

  // Returns when the model is loaded; throws what `load` throws.
  static std::unique_ptr<LocalEngine> start(LocalEngineOptions options, const Load& load);
  // Ends what is left as cancelled; not from on_event. After a failure within a moment, otherwise
  // when the step under way is over.
  ~LocalEngine() override;

  const ModelCard& card() const override { return card_; }
  const text::Tokenizer& tokenizer() const override { return engine_->tokenizer(); }
  const text::ChatTemplate* chat_template() const override { return engine_->chat_template(); }

  uint64_t generate(Generate request, OnEvent on_event) override;
  uint64_t embed(Embed request, OnEmbedding on_embedding) override;
  void cancel(uint64_t request) override;
  Status status() const override;
  engine::PipelineTrace trace(int64_t window_ns) const override;
  void pause() override;
  void resume() override;
  void reset_prefix_cache() override;
  void when_done(std::function<void(const Status&)> done) override;
  void prefixes(OnPrefixes on_prefixes) override;

 private:
  struct GenerateMessage {
    uint64_t number;
    Generate request;
    OnEvent on_event;
    int64_t arrived_ns;
  };
  struct EmbedMessage {
    uint64_t number;
    Embed request;
    OnEmbedding on_embedding;
    int64_t arrived_ns;
  };
  struct CancelMessage {
    uint64_t number;
  };
  struct PauseMessage {
    bool paused;
  };
  struct ResetCacheMessage {};
  struct DoneMessage {
    std::function<void(const Status&)> done;
  };
  struct PrefixesMessage {
    OnPrefixes on_prefixes;
  };
  struct GrammarMessage {
    uint64_t number;
    std::shared_ptr<const text::Grammar> grammar;
    std::optional<Error> error;
  };
  using Message = std::variant<GenerateMessage, EmbedMessage, CancelMessage, PauseMessage,
                               ResetCacheMessage, DoneMessage, PrefixesMessage, GrammarMessage>;

  // A request that has not ended.
  struct Held {
    HeldRequest row;
    uint64_t engine_id = 0;   // 0: the engine has not got it yet
    engine::Request request;  // while its grammar is compiled
    OnEvent on_event;
    OnEmbedding on_embedding;        // in its place, of a request for a vector
    bool normalizes = false;         // that vector
    std::vector<bool> has_finished;  // [choices]
    bool is_told = false;            // an event has been
  };
  using HeldList = std::list<Held>;  // in order of arrival

  explicit LocalEngine(LocalEngineOptions options);
  void post(Message message);
  // ---- the stepping thread's
  void run(const Load& load, std::promise<void>& ready);
  void describe();
  void serve();
  void turn();
  void handle(GenerateMessage& message);
  void handle(EmbedMessage& message);
  void handle(CancelMessage& message);
  void handle(PauseMessage& message) { is_paused_ = message.paused; }
  void handle(ResetCacheMessage&) { engine_->reset_prefix_cache(); }
  void handle(DoneMessage& message);
  void handle(PrefixesMessage& message);
  void handle(GrammarMessage& message);
  HeldList::iterator hold(Held held);
  void submit(HeldList::iterator held, engine::Request request);
  void step();
  int64_t probe_at() const;
  void probe();
  engine::EngineStats stats_without_probes() const;
  void take(const engine::RequestEvent& event);
  void take_embedding(HeldList::iterator held, const engine::RequestState& state);
  // Ends a request with an event of our own for each choice that has not ended.
  void end(HeldList::iterator held, engine::FinishReason reason, const std::optional<Error>& error);
  void close(engine::FinishReason reason, const std::optional<Error>& error);
  void forget(HeldList::iterator held);
  void lose(const Error& error);
  void publish(int64_t now);
  void publish_requests();
  void publish_pipeline();

  LocalEngineOptions options_;
  ModelCard card_;
  std::unique_ptr<engine::Engine> engine_;
  Mailbox<Message> mailbox_;
  std::atomic<bool> stopping_{false};
  std::atomic<int64_t> last_step_ns_{0}, in_step_since_ns_{0};

  mutable std::mutex status_mutex_;  // held to copy, never for long
  Status status_;                    // as published last
  PrefixWatch prefix_watch_;

  // The stepping thread's.
  std::unique_ptr<GrammarCompilations> compilations_;
  std::vector<Message> messages_;
  HeldList held_;
  SaltOwners owners_;
  std::unordered_map<uint64_t, HeldList::iterator> by_number_, by_engine_id_;
  bool has_work_ = false, is_paused_ = false, is_closed_ = false;
  int64_t published_ns_ = 0, listed_ns_ = 0, reported_ns_ = 0;
  uint64_t probe_id_ = 0;  // the engine's number of the last one
  int64_t num_probes_ = 0;

  std::thread thread_;  // the last member: it uses all others
};

}  // namespace weft::fleet
