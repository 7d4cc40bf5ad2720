// What the routes of OpenAI's API share.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "fleet/engine_client.h"
#include "serve/admission.h"
#include "serve/chat_tools.h"
#include "serve/openai_routes.h"
#include "serve/prompt_ids.h"
#include "serve/request_error.h"
#include "serve/task_pool.h"
#include "text/chat_profile.h"

namespace weft::serve {

class OpenAiService {
 public:
  OpenAiService(std::shared_ptr<fleet::EngineClient> engine, Admission* admission,
                OpenAiOptions options);

  // Waits for what the pools do and lets go of the engine: what an engine still says to requests
  // is not listened to any more.
  void close();

  fleet::EngineClient& engine() const { return *engine_; }
  Admission& admission() const { return *admission_; }
  // Reads bodies, encodes, writes long answers: its tasks may take seconds.
  TaskPool& pool() { return pool_; }
  // Hands on what engines say, pings and the server's end: each task is short.
  TaskPool& writer() { return writer_; }
  const OpenAiOptions& options() const { return options_; }
  const std::vector<std::string>& model_names() const { return options_.model_names; }
  const text::ChatTemplate* chat_template() const;
  PromptSource prompt_source() const;
  // What the template can render; found out by the first who asks.
  const text::ChatProfile& chat_profile() const;
  // What tools and calls make of the conversation: as of chat_input. RequestError where there is no
  // template to show tools in.
  void show_tools(const ChatTools& tools, RequestBody* body) const;
  int64_t started() const { return started_; }  // Unix time, seconds

  // RequestError(404, model_not_found) for a name that is not served; empty: any.
  void check_model(const std::string& name) const;
  uint64_t draw_seed();
  // Room for a request of so many answers, one of which has its place already.
  std::optional<Admission::Ticket> enter(int64_t num_answers, Admission::Refusal* refusal);

 private:
  std::shared_ptr<fleet::EngineClient> engine_;
  Admission* admission_;
  OpenAiOptions options_;
  std::unique_ptr<text::ChatTemplate> chat_template_;
  mutable std::once_flag is_probed_;
  mutable text::ChatProfile chat_profile_;
  int64_t started_;
  uint64_t seed_;
  std::atomic<uint64_t> num_seeds_{0};
  TaskPool pool_, writer_;  // the last members: their threads use all others
};

// Seconds.
int64_t unix_time();

// What an answer ends with that the server's end cuts.
RequestError cut_by_shutdown();

// What a request gets that asks for this priority; the smaller goes first. With keys, who asks may
// step back behind what the key has, and never before it.
int32_t granted_priority(const Principal& principal, int32_t asked);

// Takes ownership of what went wrong: what `work` throws becomes an answer. body: as of
// error_object.
void respond_or_refuse(Exchange& exchange, const std::function<void()>& work,
                       const nlohmann::json* body = nullptr);

// What routes hold: with the router the service ends.
struct ServiceOwner {
  explicit ServiceOwner(std::shared_ptr<OpenAiService> owned) : service(std::move(owned)) {}
  ~ServiceOwner() { service->close(); }
  ServiceOwner(const ServiceOwner&) = delete;
  ServiceOwner& operator=(const ServiceOwner&) = delete;
  const std::shared_ptr<OpenAiService> service;
};
using ServiceRef = std::shared_ptr<const ServiceOwner>;

// A route whose work is done by the pool, with the place of one answer taken at the door: who finds
// none is refused within microseconds. 503 where too much waits for the pool. The work gives the
// place back before it answers, or by what it throws: who asks again at once finds it free.
using PooledWork = std::function<void(const std::shared_ptr<OpenAiService>& service,
                                      const std::shared_ptr<Exchange>& exchange,
                                      std::shared_ptr<Admission::Ticket> place)>;
Route pooled(ServiceRef owner, PooledWork work);

void add_generation_routes(Router* router, const ServiceRef& owner);
void add_model_routes(Router* router, const ServiceRef& owner);
void add_token_routes(Router* router, const ServiceRef& owner);
void add_embedding_routes(Router* router, const ServiceRef& owner);
void add_response_routes(Router* router, const ServiceRef& owner);

}  // namespace weft::serve
