// What the page at / shows of an engine, as JSON. Pure functions of what fleet tells: no clock, no
// socket. Numbers and names alone: no text of any prompt or answer, no path, no address.
//
// Times are microseconds of the server's monotonic clock (base/clock.h), which a double holds
// exactly for centuries; `now_us` is there so that a reader can tell ages.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "fleet/engine_client.h"
#include "serve/exchange.h"

namespace weft::serve {

// GET /weft/state: model, split, memory, time of the stages, cache, queue. Other principals'
// requests are listed without their names.
//
//   {now_us, engine: {alive, paused, failure, last_step_us, in_step_since_us, started_us},
//    model: {name, fingerprint, architecture, family, file_type, parameters, file_bytes, layers,
//            hidden_size, heads, kv_heads, vocab_size, max_model_len, isa},
//    split: {topology, imbalance, ranks: [{rank, stage, shard, layers: [b, e], heads, kv_heads,
//    ffn,
//            vocab_rows, weight_bytes, kv_bytes, step_bytes, reduce_bytes_per_token}],
//            draft: null | {model, ranks}, asked_and_got, warnings},
//    pipeline: {pooled, window_s, steps, stages: [{ranks: [b, e], busy_s, collectives_s, input_s,
//               nothing_s, sending_s, scheduler_s, window_s, bubble}]},
//    cache: {dtype, block_size, blocks, used, cached, free, window: null | {…},
//            prompt_tokens, cached_prompt_tokens},
//    work: {prompt_tokens, generated_tokens, steps, preemptions, scheduler_s,
//           guessed_tokens, accepted_tokens},
//    limits: {max_num_seqs, max_num_batched_tokens},
//    queue: {waiting, running, requests: [{number, mine, principal, running, priority, choices,
//            prompt_tokens, cached_tokens, generated_tokens, preemptions, arrived_us, scheduled_us,
//            first_token_us}]}}
std::string state_json(const fleet::ModelCard& card, const fleet::Status& status,
                       std::string_view viewer, int64_t now_ns);

// Segments that end after `since_ns` are told; the summary is of the last `window_ns` of the trace.
struct TimelineQuery {
  int64_t since_ns = 0;
  int64_t window_ns = 10'000'000'000;
};
// "since_us=12&window_s=5". Error(kUsage) for what is no number, or none of its range.
TimelineQuery parse_timeline_query(std::string_view query);

// GET /weft/timeline: what every worker did (serve/timeline.h), the latest kMostSegments of it.
//
//   {now_us, begin_us, pooled,
//    workers: [{row, ranks: [b, e], stage, layers: [b, e], dropped,
//               segments: [[begin_us, duration_us, kind, step, collective_us], …]}],
//    steps: [[id, submitted_us, tokens, sequences, has_prompt, first_position, end_position,
//             running, waiting, used_blocks], …],
//    summary: {active_s, steps, in_flight, rows: [{measured, predicted}]}}
//
// kind is the name of a TimelineKind; step is -1 where there is none.
std::string timeline_json(const fleet::ModelCard& card, const engine::PipelineTrace& trace,
                          const TimelineQuery& query, int64_t now_ns);

using EngineOf = std::function<std::shared_ptr<fleet::EngineClient>()>;
// Answers of a GET of the two routes; 503 while the engine is not there yet (null).
Route state_route(EngineOf engine);
Route timeline_route(EngineOf engine);

}  // namespace weft::serve
