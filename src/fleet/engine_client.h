// An engine as it is seen from outside: plain messages to it and back. `serve` reaches engines in
// no other way, so that one in this process, one behind a socket and a whole fleet look alike, and
// a journal of the messages is enough to go on with an answer elsewhere.
//
// A message carries ids and numbers, no pointers: what a request depends on is all in it. Every
// number of it is checked twice, here by check_generate before it is queued and again by the
// engine.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/engine.h"
#include "engine/limits.h"
#include "fleet/prefix_snapshot.h"
#include "text/grammar.h"
#include "text/text.h"

namespace weft::fleet {

// Asks for the answers to one prompt.
struct Generate {
  std::string request_id;  // the gateway's name for it, for logs and the journal
  std::string principal;   // who asks, by name (serve/exchange.h)
  std::vector<int32_t> prompt_ids;
  engine::SamplingParams sampling;  // with a seed: the gateway draws one where the user gave none
  std::optional<text::GrammarSpec> grammar;
  int32_t priority = 0;     // the smaller goes first
  uint64_t cache_salt = 0;  // of the principal: cached prefixes are shared within one salt only
};

// What came of it, in order. Each event tells only what is new.
struct Event {
  size_t choice = 0;
  std::vector<int32_t> token_ids;
  std::string text;
  std::vector<std::vector<engine::TokenLogprob>> logprobs;  // [token_ids], where asked for
  std::optional<engine::FinishReason> finish;               // of this choice
  std::string stop_reason;        // the stop string or id that ended it; else empty
  double cumulative_logprob = 0;  // so far, where logprobs or best_of asked for it

  // Of the request. The first event has the prompt's logprobs, where asked for; entry 0 is empty.
  std::vector<std::vector<engine::TokenLogprob>> prompt_logprobs;
  int64_t num_prompt_tokens = 0, num_cached_tokens = 0, num_preemptions = 0;
  // base/clock.h; 0 until they are known.
  int64_t arrived_ns = 0, scheduled_ns = 0, first_token_ns = 0;
  bool ended = false;          // the last event of the request
  std::optional<Error> error;  // where finish is kError
};

// Error(kUsage) naming the field, with the numbers.
void check_generate(const Generate& request, const engine::RequestLimits& limits);

// Called by the client's own thread, in order, and never after an event that says `ended`. Must not
// block, and must not throw.
using OnEvent = std::function<void(Event event)>;

// The vector of one prompt (/v1/embeddings).
struct Embed {
  enum class Pooling { kMean, kLast };
  std::string request_id;
  std::vector<int32_t> prompt_ids;
  Pooling pooling = Pooling::kLast;
  bool normalize = true;  // to length 1
  int32_t priority = 0;
  std::string principal;    // as in Generate
  uint64_t cache_salt = 0;  // the same
};
struct Embedding {
  std::vector<float> values;  // [hidden_size]
  int64_t num_prompt_tokens = 0;
  std::optional<Error> error;
};
using OnEmbedding = std::function<void(Embedding embedding)>;

// What an engine serves; does not change while it runs.
struct ModelCard {
  std::string name;         // as the user named it
  std::string fingerprint;  // of files and numerics: the same ones, the same bits (metrics.md)
  engine::ModelReport report;
  engine::SplitReport split;
  engine::RequestLimits limits;
  int64_t max_num_seqs = 0, max_num_batched_tokens = 0;
  int64_t block_size = 0, num_blocks = 0;
  std::string kv_cache_dtype, isa;
};

// A request that the engine holds, as a queue shows it: numbers alone, nothing of its text.
struct HeldRequest {
  uint64_t number = 0;  // as generate() and embed() return it
  std::string principal;
  bool running = false;  // let in; otherwise it waits
  int32_t priority = 0;
  size_t num_choices = 1;
  int64_t num_prompt_tokens = 0, num_cached_tokens = 0, num_generated_tokens = 0;
  int64_t num_preemptions = 0;
  // base/clock.h; 0 until they are known.
  int64_t arrived_ns = 0, scheduled_ns = 0, first_token_ns = 0;
};

struct Status {
  static constexpr size_t kMostListed = 256;

  engine::EngineStats stats;
  bool alive = true;  // false once a rank was lost: nothing will be answered any more
  bool paused = false;
  int64_t last_step_ns = 0;           // base/clock.h: when a step was completed last; 0: never
  int64_t in_step_since_ns = 0;       // a step is being waited for since; 0: none
  int64_t probe_ns = 0;               // idle for so long, it takes a step of its own; 0: never
  engine::PipelineReport pipeline;    // of the last seconds
  std::vector<HeldRequest> requests;  // the oldest kMostListed, oldest first
  int64_t started_ns = 0;             // base/clock.h: when the engine was ready
  std::optional<Error> failure;
};

// Any thread may call.
class EngineClient {
 public:
  virtual ~EngineClient() = default;

  virtual const ModelCard& card() const = 0;
  virtual const text::Tokenizer& tokenizer() const = 0;
  virtual const text::ChatTemplate* chat_template() const = 0;  // null where the model ships none

  // Queues a request and returns its number. Error(kUsage) for one that can never be served;
  // Error(kCommunication) where the engine is lost. A grammar is compiled meanwhile, off the loop
  // of steps; what is wrong with it comes as an event.
  virtual uint64_t generate(Generate request, OnEvent on_event) = 0;
  virtual uint64_t embed(Embed request, OnEmbedding on_embedding) = 0;
  // Its last event says kCancelled. Its blocks are free within a step. Unknown numbers: nothing.
  virtual void cancel(uint64_t request) = 0;

  // A snapshot at most so old as one step.
  virtual Status status() const = 0;
  // What every rank did, of the last window_ns as far as that is kept.
  virtual engine::PipelineTrace trace(int64_t window_ns) const = 0;

  // Steps stop, and nothing is lost; resume goes on.
  virtual void pause() = 0;
  virtual void resume() = 0;
  // Forgets cached prefixes that nobody uses.
  virtual void reset_prefix_cache() = 0;
  // Calls `done` once what was asked for before holds (a pause, say), with a status that shows it;
  // at once where the engine is lost. Perhaps from the thread that steps: it must not block.
  virtual void when_done(std::function<void(const Status&)> done) { done(status()); }
  // What the prefix cache holds, as of a moment ago (fleet/prefix_snapshot.h).
  // Error(kCommunication) where the engine is lost.
  virtual void prefixes(OnPrefixes on_prefixes) = 0;
};

}  // namespace weft::fleet
