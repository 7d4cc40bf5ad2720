// What the page at / shows of an engine, as JSON, and what its other views (serve/timeline_data.h,
// serve/cache_data.h) share. Numbers and names alone: no text of any prompt or answer, no path, no
// address.
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

using EngineOf = std::function<std::shared_ptr<fleet::EngineClient>()>;
// Answers a GET; 503 while the engine is not there yet (null).
Route state_route(EngineOf engine);

// --- what the routes of the page share ---

// Null where the engine is not there yet; the exchange is answered then.
std::shared_ptr<fleet::EngineClient> engine_or_refuse(const EngineOf& engine, Exchange& exchange);
// Of a moment: nobody may keep it.
void respond_page_json(Exchange& exchange, std::string json);

}  // namespace weft::serve
