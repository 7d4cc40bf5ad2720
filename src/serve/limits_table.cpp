#include "serve/limits_table.h"

#include <fmt/format.h>

#include "engine/engine.h"
#include "serve/admission.h"
#include "serve/embedding_body.h"
#include "serve/request_body.h"
#include "text/grammar.h"
#include "text/matcher_memory.h"
#include "text/template_limits.h"

namespace weft::serve {
namespace {

std::string bytes(int64_t count) {
  if (count >= 1 << 20 && count % (1 << 20) == 0) return fmt::format("{} MiB", count >> 20);
  if (count >= 1 << 10 && count % (1 << 10) == 0) return fmt::format("{} KiB", count >> 10);
  return fmt::format("{} bytes", count);
}
std::string bytes(size_t count) { return bytes(static_cast<int64_t>(count)); }

std::string seconds(int64_t milliseconds) {
  return fmt::format("{} s", static_cast<double>(milliseconds) * 1e-3);
}

void add_http(const HttpServerOptions& http, std::vector<Limit>* table) {
  const RequestLimits& request = http.request;
  const HttpTimes& times = http.times;
  table->insert(table->end(),
                {{"connections", fmt::format("{}", http.max_connections), "open at a time", 0},
                 {"header", bytes(request.header_bytes), "request line and fields together", 431},
                 {"fields", fmt::format("{}", request.num_headers), "of one header", 431},
                 {"target", bytes(request.target_bytes), "path and query", 414},
                 {"body", bytes(request.body_bytes), "of one request", 413},
                 {"open body", bytes(http.open_body_bytes), "of a request that needs no key", 413},
                 {"all bodies", bytes(http.max_body_bytes), "of all requests in hand", 503},
                 {"idle time", seconds(times.idle), "between requests of a connection", 0},
                 {"header time", seconds(times.header), "from its first byte to its end", 408},
                 {"body time", seconds(times.body), "from its header to its end", 408},
                 {"write time", seconds(times.write), "without any progress", 0},
                 {"slow reader", bytes(http.answer.slow_bytes),
                  fmt::format("waiting for a client that took nothing for {} s",
                              static_cast<double>(http.answer.slow_ns) * 1e-9),
                  0},
                 {"waiting", bytes(http.answer.waiting_bytes),
                  fmt::format("for all clients, beyond {} each; then the slowest are dropped",
                              bytes(http.answer.slow_bytes)),
                  0}});
}

void add_body(std::vector<Limit>* table) {
  const BodyLimits body;
  const auto count = [](int64_t value) { return fmt::format("{}", value); };
  table->insert(table->end(),
                {{"JSON depth", count(kMaxJsonDepth), "objects and lists inside each other", 400},
                 {"JSON keys", count(kMaxObjectKeys), "of one object", 400},
                 {"all JSON keys", count(kMaxJsonKeys), "of one body", 400},
                 {"JSON key compares", count(kMaxJsonCompares), "each with those before it", 400},
                 {"JSON containers", count(kMaxJsonContainers), "objects and lists of a body", 400},
                 {"JSON texts", count(kMaxJsonTexts), "of one body, keys apart", 400},
                 {"JSON values", count(kMaxJsonValues), "of one body, numbers and all else", 400},
                 {"choices", count(body.choices), "n and best_of", 400},
                 {"prompts", count(body.prompts), "of one completion", 400},
                 {"inputs", count(kMostInputs), "of one request for embeddings", 400},
                 {"messages", count(body.messages), "of one chat", 400},
                 {"documents", count(body.documents), "of one chat", 400},
                 {"document bytes", bytes(body.document_bytes), "of all of one chat", 400},
                 {"stop token ids", count(body.stop_ids), "of one request", 400},
                 {"stop strings", count(body.stops), "of one request", 400},
                 {"stop string", bytes(body.stop_bytes), "each", 400},
                 {"bad words", count(body.bad_words), "of one request", 400},
                 {"bad word bytes", bytes(body.bad_word_bytes), "of all of one request", 400},
                 {"logit biases", count(body.biases), "of one request", 400},
                 {"top logprobs", count(body.logprobs), "of a position", 400},
                 {"all logprobs", count(body.logprob_entries), "positions x (1 + top), n x", 400},
                 {"logprobs in hand", count(AdmissionLimits().max_logprobs),
                  "of all answers, until they are sent; of a stream a quarter", 429}});
}

void add_template(std::vector<Limit>* table) {
  const text::TemplateLimits of = text::template_limits();
  table->insert(
      table->end(),
      {{"template source", bytes(of.source_bytes), "--chat-template, or the model's own", kNoStart},
       {"template values", fmt::format("{}", of.values), "values, keys and lists of a chat", 400},
       {"template steps", fmt::format("{}", of.steps), "of one rendering", 400},
       {"template time", seconds(of.run_ms), "of one rendering", 400},
       {"template memory", bytes(of.run_bytes),
        fmt::format("of one rendering, and {} bytes for each of its chat", of.bytes_per_input),
        400}});
}

void add_engine(std::vector<Limit>* table) {
  const text::GrammarLimits grammar;
  table->insert(
      table->end(),
      {{"context", fmt::format("{} tokens", engine::kMaxModelLen),
        "--max-model-len at most; prompt and answer", 400},
       {"grammar source", bytes(grammar.source_bytes), "schema, expression or grammar", 400},
       {"grammar depth", fmt::format("{}", grammar.depth), "of its brackets", 400},
       {"grammar time", seconds(grammar.compile_ms), "to compile it", 400},
       {"grammar memory", bytes(grammar.grammar_bytes), "of it, compiled; and what an answer adds",
        400},
       {"grammar places", bytes(text::kMatcherBytes),
        "in their grammars, of all answers that run; of one request's alone: 400", 503}});
}

}  // namespace

std::vector<Limit> limits_table(const HttpServerOptions& http, const QueueLimits& queue) {
  std::vector<Limit> table;
  add_http(http, &table);
  table.push_back({"queued requests", fmt::format("{}", queue.num_requests),
                   "prompts x n, beside those that run (--max-num-seqs)", 429});
  table.push_back({"queued tokens",
                   queue.num_tokens > 0 ? fmt::format("{}", queue.num_tokens) : "their contexts",
                   "prompts x n x (prompt + max_tokens), beside the cache", 429});
  add_body(&table);
  add_template(&table);
  add_engine(&table);
  add_limits_of_fields(&table);
  return table;
}

}  // namespace weft::serve
