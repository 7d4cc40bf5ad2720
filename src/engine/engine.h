// One replica: a model split over the ranks of a topology, answering any number of requests at a
// time (request.h). Everything else under engine/ is behind this door.
//
// Thread rule: one caller at a time; `cancel()` may be called from any thread or signal handler,
// `trace_since` and what does not change after the load from any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/range.h"
#include "cache/prefix_outline.h"
#include "comm/sum_wire.h"
#include "engine/pipeline_forecast.h"
#include "engine/pipeline_report.h"
#include "engine/pipeline_trace.h"
#include "engine/request.h"
#include "kernels/kernels.h"
#include "parallel/topology.h"
#include "text/text.h"

namespace weft::comm {
class Job;
}

namespace weft::engine {

// Tokens of the longest context that may be asked for.
inline constexpr int64_t kMaxModelLen = int64_t{1} << 24;

enum class Placement { kAuto, kDedicated, kPooled };

enum class SchedulePolicy {
  kFcfs,     // in the order of arrival
  kPrefix,   // the longest cached prefix first
  kShortest  // the fewest tokens to compute first
};

struct EngineOptions {
  std::string model_path;  // a file or a folder
  parallel::TopologyRequest topology;
  int threads_per_rank = 0;                // 0: cores / ranks, at least 1
  std::string devices;                     // "0-3", "numa:0"; empty: ranks may share cores
  Placement placement = Placement::kAuto;  // kPooled where ranks x threads exceed the cores
  int64_t max_model_len = 0;               // 0: the model's, as far as the cache memory allows
  int64_t max_num_batched_tokens = 512;    // tokens of one step
  int64_t max_num_seqs = 64;               // answers that run at a time
  int64_t micro_batch_size = 0;            // answers of one step; 0: by the measured step times
  SchedulePolicy schedule_policy = SchedulePolicy::kFcfs;
  bool chunked_prefill = true;  // false: prompts are computed whole, and answers wait for them
  // With chunks of prompts a step takes at most so many times what it would if all who run or wait,
  // as many as may run, decoded (half as much again while others wait for a place); 0: no limit.
  double max_slowdown = 2.0;
  bool prefix_caching = true;
  // Tokens of an answer that are guessed ahead and verified in one step, from what came before in
  // it, or by a draft model; 0: none. Bits are the same.
  int64_t num_speculative_tokens = 0;
  // A small model of the same vocabulary that guesses (engine/draft_model.h); empty: none.
  std::string speculative_model;
  int draft_tensor_parallel_size = 0;  // its ranks; 0: one, or those that it is packed for
  bool always_speculate = false;       // the draft model guesses also where it loses
  kernels::KvType kv_type = kernels::KvType::kBF16;
  int64_t block_size = 16;
  int64_t num_blocks = 0;  // of the cache; 0: by memory
  // Layers with a sliding window keep what they see and no more. Without it they keep everything:
  // the same bits from more memory.
  bool window_groups = true;
  int64_t num_window_blocks = 0;  // of each group with a window; 0: by memory (tests set it)
  // Over all ranks; 0: what max_num_seqs of max_model_len need, but a share of the free memory at
  // most.
  int64_t kv_cache_bytes = 0;
  int64_t deadline_ms = 60'000;  // of every wait between ranks
  // What is kept for `trace()` and for a report's steps: the last events of each worker, the last
  // steps. 0: none.
  int64_t num_kept_events = 0, num_kept_steps = 0;
  // [stages] For tests of the pipeline where cores are too few: each stage does its real work and
  // then sleeps until the step has taken it this long. Empty: as fast as it goes.
  std::vector<double> stage_seconds;
  std::optional<kernels::Isa> isa;  // none: kernels::choose_table()
  // The processes over which the ranks are shared out, which all load with the same options; null:
  // this one runs them all. It outlives the engine.
  comm::Job* job = nullptr;
  std::string ranks_per_process;  // "3,1"; empty: as even as can be
  bool verify_weights = false;    // compare every byte of the model between processes, not samples
  // How the sums of a stage travel between processes. All but kInt64 give up that the split does
  // not show in the bits (engine/numerics.h).
  comm::SumWire reduce = comm::SumWire::kInt64;
};

// What one rank holds: a row of `inspect`'s table and of the banner.
struct RankShare {
  int rank = 0, stage = 0, shard = 0;
  Range layers;
  std::string heads;  // "5", or "4-5" where layers differ
  std::string kv_heads;
  std::string ffn;         // columns
  int64_t vocab_rows = 0;  // of embedding and head together (tied: once)
  int64_t weight_bytes = 0;
  int64_t kv_bytes_per_token = 0;                 // of all layers
  std::vector<int64_t> kv_group_bytes_per_token;  // of the layers of each KvGroup
  int64_t kv_bytes = 0;                           // 0 in `inspect` when no cache is sized
  int64_t logits_bytes = 0;                       // of the rows that the head computes at once
  int64_t step_bytes = 0;              // scratch of the largest step; ranks of a pool share it
  int64_t reduce_bytes_per_token = 0;  // payload that it adds to all-reduces for one token
};

// Layers that keep keys and values of the same tokens (cache/group_layout.h).
struct KvGroup {
  int64_t window = 0;           // tokens that they see and keep; 0: all
  int64_t num_layers = 0;       // none, perhaps, in the first, which sees all
  int64_t bytes_per_token = 0;  // over all ranks
  int64_t num_blocks = 0;       // of the cache; 0 in `inspect`
};

// One of several processes that share the ranks out.
struct ProcessShare {
  std::string host, isa;
  Range ranks;
};

struct SplitReport {
  std::string topology;
  std::vector<KvGroup> kv_groups;  // the first one sees all
  std::vector<RankShare> ranks;
  double imbalance = 1.0;  // slowest rank's weight bytes (per weight) over the mean
  std::vector<std::string>
      asked_and_got;  // lines where weights are given: "rank 0: asked 50 %, got 48 %"
  std::vector<std::string> warnings;  // idle ranks, shared cores, …
  // The ranks of the draft model, which have all blocks of the cache too; empty without one.
  std::vector<RankShare> draft_ranks;
  std::string draft_model;              // its name or path
  std::vector<ProcessShare> processes;  // empty where this one runs all ranks
  std::string rounded_sums;             // "q8": between processes; empty: all sums are exact
};

struct ModelReport {
  std::string path, architecture, family, name, tokenizer, file_type;
  int64_t num_parameters = 0, file_bytes = 0;
  int64_t num_layers = 0, hidden_size = 0, num_heads = 0, num_kv_heads = 0, head_dim = 0;
  int64_t ffn_size = 0, vocab_size = 0, context_length = 0;
  bool tied_embeddings = false;
  std::vector<int32_t> end_ids;  // tokens that end an answer, ascending
  int32_t eos_id = -1;           // of these the one that the files name first; -1: there is none
  struct TypeCount {
    std::string dtype;
    int64_t num_tensors = 0, num_bytes = 0;
  };
  std::vector<TypeCount> types;
  struct TensorRow {
    std::string name, dtype, shape;
    int64_t num_bytes = 0;
  };
  std::vector<TensorRow> tensors;
};

// Reads metadata only: no weight is touched. For `weft inspect`.
struct Inspection {
  ModelReport model;
  SplitReport split;
};
Inspection inspect(const EngineOptions& options);

// One answer, for callers that have nothing else to do meanwhile.
struct GenerationResult {
  std::vector<int32_t> token_ids;  // generated; the end-of-text token is included
  std::string text;
  FinishReason finish_reason = FinishReason::kStop;
  std::string stop_reason;  // the stop string or the stop token's id that ended it; else empty
  std::vector<std::vector<TokenLogprob>> logprobs;         // [generated]
  std::vector<std::vector<TokenLogprob>> prompt_logprobs;  // [prompt]; entry 0 is empty
  std::vector<std::vector<float>> prompt_logits;           // [prompt][vocab], where asked for
  uint64_t logits_hash = 0;
  double prompt_s = 0, generation_s = 0;
  int64_t weight_bytes_read = 0;  // by generation steps, on all ranks
  SpeculationStats speculation;
  std::vector<RankTimes> ranks;  // of the request's time
};

// Equal sequences that are answered side by side, for measuring and for tests of batches: each
// has `depth` tokens in the cache before the clock starts, then `input_len` tokens of prompt, then
// `output_len` generated ones, greedily. Sequences differ in their random ids, which follow from
// the sequence's number alone.
struct BatchWorkload {
  int64_t batch_size = 1, depth = 0, input_len = 128, output_len = 128;
  bool hash_logits = false;
  // One number a sequence in place of 0 .. batch_size - 1.
  std::vector<uint64_t> sequences;
};

struct BatchTiming {
  double prompt_s = 0;                // all prompts, to the first generated token of each
  std::vector<double> step_s;         // [output_len - 1] steps of batch_size tokens
  std::vector<uint64_t> logits_hash;  // [batch_size], where asked for
  int64_t step_weight_bytes = 0;      // weights that each step reads, on all ranks
};

// The largest steps that a forecast will be asked for.
struct CalibrationRange {
  int64_t num_decodes = 1;   // sequences that generate at once
  int64_t chunk_tokens = 1;  // prompt tokens of one step
  int64_t context = 32;      // tokens of a sequence
};
// Sizes done, and of how many.
using OnCalibration = std::function<void(int64_t done, int64_t total)>;

// How the weights came into memory: a part of load_seconds().
struct WeightLoading {
  double seconds = 0;        // of the slowest worker
  int64_t source_bytes = 0;  // read: of the model's files, or of mapped panels
  int64_t weight_bytes = 0;  // of all ranks, with the small vectors
  bool mapped = false;       // the panels of a packed model, as they are
};

// A model that was opened: its metadata were read, its split and context are settled, and none of
// its weights is in memory. Valid for the time of the call.
struct OpenedModel {
  const ModelReport& report;
  const text::Tokenizer& tokenizer;
  const text::ChatTemplate* chat_template;  // null where the model ships none
  int64_t max_model_len;
  // Throws what Engine::generate would throw for such a prompt.
  std::function<void(std::span<const int32_t> prompt_ids)> check_prompt;
};

// Called with each piece of text as it becomes certain. Returning false cancels.
using OnText = std::function<bool(const std::string& text)>;
// Bytes loaded so far and in all. Called by one thread at a time, and not any more once the load
// has returned or thrown (but for a rank that became silent inside of it).
using OnLoad = std::function<void(int64_t done, int64_t total)>;
// Called before any weight is read, which may take long; what it throws ends the load.
using OnOpen = std::function<void(const OpenedModel& model)>;

class Engine {
 public:
  // Ends within a moment after a failure, and so does the engine's destruction: a lost rank is left
  // behind with the memory that it may touch (the process should then end).
  static std::unique_ptr<Engine> load(const EngineOptions& options, const OnLoad& on_load = {},
                                      const OnOpen& on_open = {});
  virtual ~Engine() = default;

  virtual const ModelReport& model() const = 0;
  virtual const SplitReport& split() const = 0;
  virtual const text::Tokenizer& tokenizer() const = 0;
  // null where the model ships none.
  virtual const text::ChatTemplate* chat_template() const = 0;
  virtual int64_t max_model_len() const = 0;
  virtual int64_t kv_cache_tokens() const = 0;
  virtual int64_t kv_cache_blocks() const = 0;
  virtual int threads_per_rank() const = 0;
  virtual bool pooled() const = 0;
  virtual double load_seconds() const = 0;
  virtual WeightLoading weight_loading() const = 0;
  virtual std::string_view isa() const = 0;

  // Over a job's processes the first one plans; the others load the same and `follow`, which is all
  // that may be asked of them, until the first one's engine ends.
  virtual bool plans() const { return true; }
  virtual void follow() {}
  // Why no step can be taken any more, where that shows without one: a process of the job is lost.
  // Any thread.
  virtual std::optional<Error> lost() const { return {}; }

  // Queues a request and returns its number. Error(kUsage) for one that can never be served (empty,
  // too long, a parameter out of its range: with the numbers).
  virtual uint64_t submit(Request request) = 0;
  // Ends a request; its last event says kCancelled. Unknown numbers: nothing happens.
  virtual void cancel(uint64_t request) = 0;
  // Fills the ring of steps and takes the oldest step's answers. False where nothing is left to do.
  // on_event may submit and cancel. What ends one request is in its state (kModel naming the layer
  // where a row-parallel sum left its range); Error(kCommunication) for a lost rank.
  virtual bool step(const OnEvent& on_event) = 0;
  virtual EngineStats stats() const = 0;
  // How far a request has come; null once it has ended. Valid until the next call.
  virtual const RequestState* state(uint64_t request) const = 0;
  // Forgets the cached prefixes that no sequence holds.
  virtual void reset_prefix_cache() = 0;
  // What the prefix cache holds now. PrefixRun::is_new: written by the step that was answered last
  // or by one in flight; PrefixRun::idle_since: base/clock.h, to within a step.
  virtual cache::PrefixOutline prefix_outline(const cache::OutlineLimits& limits) const = 0;

  // From here on the times of the stages are told (engine/pipeline_report.h), until the next call.
  virtual void begin_window() = 0;
  // Of the window so far; since the load where none was begun.
  virtual PipelineReport report_window() const = 0;
  // What happened in the window, as far as num_kept_events and num_kept_steps reach.
  virtual PipelineTrace trace() const = 0;
  // The same from a moment on (base/clock.h), whatever the window; also while steps run.
  virtual PipelineTrace trace_since(int64_t begin_ns) const = 0;
  // With nothing queued: the stage times of steps as the range has them, measured one at a time.
  // Takes seconds; what the prefix cache holds is given up.
  virtual PipelineCosts calibrate(const CalibrationRange& range,
                                  const OnCalibration& on_size = {}) = 0;

  // Answers one request of one choice, beside those that are queued (whose events nobody sees).
  // Errors as of `submit` and `step`, and the request's own; kUsage where sampling.n is not 1.
  virtual GenerationResult generate(const Request& request, const OnText& on_text = {}) = 0;
  // With nothing queued. Errors as of `generate`; kUsage where the batch does not fit max_num_seqs,
  // max_model_len or the cache.
  virtual BatchTiming run_batch(const BatchWorkload& workload) = 0;
  // Ends what `generate` answers after the current token. Async-signal-safe.
  virtual void cancel() = 0;
};

}  // namespace weft::engine
