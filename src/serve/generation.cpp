#include "serve/generation.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "base/random.h"
#include "serve/grammar_fields.h"
#include "serve/lark_marks.h"
#include "serve/request_error.h"
#include "serve/request_id.h"
#include "serve/tool_grammar.h"

namespace weft::serve {
namespace {

// One salt of the key's and the caller's: neither alone can name the other's prefixes.
uint64_t mixed_salt(uint64_t of_key, uint64_t asked) {
  return asked == 0 ? of_key : uniform_bits(of_key, asked, 1);
}

// How the answer's id begins: as the request is named in its header, or, as vLLM has it, in its
// body.
std::string answer_name(const HttpRequest& request, const Fields& fields) {
  const std::optional<std::string> named = fields.text("request_id");
  const bool takes_it = named && request.header("x-request-id").empty() &&
                        request_id(*named) == *named;  // fit to print
  return takes_it ? *named : request.request_id;
}

// Of what logprobs take in an answer that is told whole: what they take in one that is streamed.
constexpr int64_t kStreamShare = 4;

// Tokens and logprobs of an answer whose JSON takes no time that a stream would notice.
constexpr int64_t kLongAnswer = 16'384;

// No place for it now.
struct Refused {
  Admission::Refusal refusal;
};

engine::SamplingParams defaults(bool is_chat) {
  engine::SamplingParams params;
  if (is_chat) params.max_tokens = kOpenMaxTokens;
  return params;
}

}  // namespace

Generation::Generation(std::shared_ptr<OpenAiService> service, std::shared_ptr<Exchange> exchange,
                       std::shared_ptr<Admission::Ticket> place)
    : service_(std::move(service)),
      exchange_(std::move(exchange)),
      feed_(service_, std::move(place)) {}

void Generation::start(bool is_chat) {
  const nlohmann::json json = parse_json(body_text(), "the body");
  try {
    read_body(json, is_chat);
    enter();
    make_writer();
    release_body();
    submit();
  } catch (const Refused& refused) {
    refuse(in_dialect(refused.refusal.error), refused.refusal.headers);
  } catch (const Error& error) {
    refuse(in_dialect(error_object(error, &json)));
  }
}

ErrorObject Generation::in_dialect(ErrorObject error) const {
  if (dialect_ && dialect_->retell) dialect_->retell(&error);
  return error;
}

// What an engine says of a request that was checked before is mostly about its grammar, which it
// compiles.
ErrorObject Generation::object_of(const Error& error) const {
  ErrorObject object = error_object(error);
  if (object.status == 400 && object.param.empty() && body_.grammar)
    object.param = body_.grammar_name;
  return in_dialect(std::move(object));
}

void Generation::start_as(Dialect dialect) {
  dialect_ = std::move(dialect);
  start(/*is_chat=*/true);
}

const std::string& Generation::body_text() const {
  return dialect_ ? dialect_->body : exchange_->request().body;
}

// What was read of it is kept elsewhere, and an answer may take long.
void Generation::release_body() {
  exchange_->release_body();
  if (dialect_) std::string().swap(dialect_->body);
}

void Generation::read_body(const nlohmann::json& json, bool is_chat) {
  const HttpRequest& request = exchange_->request();
  const Fields fields(json, "", "", body_text());
  body_.sampling = defaults(is_chat);
  const BodyLimits& limits = service_->options().limits;
  is_chat ? read_chat(fields, limits, &body_) : read_completion(fields, limits, &body_);
  service_->check_model(body_.model);
  if (is_chat) read_tools();
  if (!body_.sampling.seed) body_.sampling.seed = service_->draw_seed();
  body_.cache_salt = mixed_salt(request.principal.cache_salt, body_.cache_salt);
  body_.priority = granted_priority(request.principal, body_.priority);
  // Its name is the client's word, and several requests may have the same.
  head_ = {fmt::format("{}{}-{:016x}", is_chat ? "chatcmpl-" : "cmpl-",
                       answer_name(request, fields), service_->draw_seed()),
           unix_time(), body_.model.empty() ? service_->model_names().front() : body_.model,
           service_->engine().card().fingerprint};
  if (dialect_) head_.id = dialect_->id;
}

// What tools and calls make of the conversation.
void Generation::read_tools() {
  tools_ = serve::read_tools(body_text());
  const bool forced =
      tools_.choice == ChatTools::Choice::kRequired || tools_.choice == ChatTools::Choice::kNamed;
  // Of an answer that is a call no text has a format; of OpenAI's clients some always name one.
  if (forced && body_.grammar_name == kResponseFormat) body_.grammar.reset();
  if (body_.grammar && forced)
    throw RequestError(
        fmt::format("{} and a tool_choice that requires a call are both given", body_.grammar_name),
        {.param = "tool_choice"});
  service_->show_tools(tools_, &body_);
}

// How the answer is to be read, and what it is held to, now that the prompt is known.
void Generation::prepare_parser(const std::string& rendered) {
  if (!body_.is_chat || service_->chat_template() == nullptr) return;
  const text::ChatProfile& profile = service_->chat_profile();
  const text::Tokenizer& tokenizer = service_->engine().tokenizer();
  parser_.reasoning = profile.reasoning;
  if (profile.reasoning)
    parser_.reasoning_opened = text::opens_reasoning(*profile.reasoning, rendered);
  if (tools_.may_call()) {
    parser_.tools = profile.tools;
    parser_.tool_names = tools_.names();
    if (!body_.grammar) {
      body_.grammar = tool_grammar(tools_, profile, tokenizer);
      body_.grammar_name = "tools";
    }
  }
  if (profile.reasoning && body_.grammar)
    body_.grammar->frame = reasoning_frame(*profile.reasoning, parser_.reasoning_opened, tokenizer);
  const bool reads_marks = parser_.reasoning || parser_.tools;
  if (reads_marks && text::needs_special_tokens(profile, tokenizer))
    body_.sampling.skip_special_tokens = false;
}

// Answers are charged before anything is encoded, tokens before anything runs.
void Generation::enter() {
  const int64_t num_choices = body_.sampling.num_choices();
  Refused refused;
  if (!feed_.enter(num_choices, &refused.refusal)) throw refused;
  const PromptSource source = service_->prompt_source();
  body_.sampling.bad_words = bad_word_ids(body_, source.tokenizer);
  std::string rendered;
  std::vector<std::vector<int32_t>> prompts = prompt_ids_of(body_, source, &rendered);
  prepare_parser(rendered);
  const char* const field = body_.is_chat ? "messages" : "prompt";
  std::vector<int64_t> num_prompt_tokens, costs;
  for (const std::vector<int32_t>& ids : prompts) {
    num_prompt_tokens.push_back(static_cast<int64_t>(ids.size()));
    max_tokens_.push_back(max_tokens_after(body_, num_prompt_tokens.back(), source.max_model_len));
    check_prompt_ids(ids, service_->engine().card().limits, field);
  }
  hold_logprobs(bound_logprobs(body_, num_prompt_tokens, service_->options().limits.logprob_entries,
                               &max_tokens_));
  for (size_t i = 0; i < prompts.size(); ++i)
    costs.push_back(num_choices * (num_prompt_tokens[i] + max_tokens_[i]));
  if (!feed_.charge(std::move(costs), &refused.refusal,
                    body_.names_max_tokens ? body_.max_tokens_name.c_str() : field))
    throw refused;
  for (std::vector<int32_t>& ids : prompts) {
    parts_.push_back(make_part(std::move(ids), body_.sampling.n));
    fleet::check_generate(message_of(parts_.size() - 1), service_->engine().card().limits);
  }
}

// Until its client has the answer. A stream's are told as they come and kept for nobody but the
// engine, unless its last event repeats the whole.
void Generation::hold_logprobs(int64_t count) {
  if (body_.streams && !dialect_) count /= kStreamShare;
  if (count == 0) return;
  Refused refused;
  std::optional<Admission::Ticket> held =
      service_->admission().hold_logprobs(count, &refused.refusal);
  if (!held) throw refused;
  exchange_->keep(std::make_shared<Admission::Ticket>(std::move(*held)));
}

// Each message has a copy of what the body says of sampling: not before it is sent.
fleet::Generate Generation::message_of(size_t part) const {
  fleet::Generate message;
  message.request_id = exchange_->request().request_id;
  message.principal = exchange_->request().principal.name;
  message.prompt_ids = parts_[part].prompt_ids;
  message.sampling = body_.sampling;
  message.sampling.max_tokens = max_tokens_[part];
  message.sampling.min_tokens = std::min(body_.sampling.min_tokens, max_tokens_[part]);
  message.grammar = body_.grammar;
  message.priority = body_.priority;
  message.cache_salt = body_.cache_salt;
  return message;
}

void Generation::make_writer() {
  const AnswerFormat format{service_->engine().tokenizer(), body_};
  if (dialect_) {
    writer_ = dialect_->make_writer(head_, format, parser_);
    return;
  }
  writer_ = body_.is_chat ? make_chat_writer(head_, format, parser_)
                          : make_completion_writer(head_, format);
}

void Generation::submit() {
  num_open_ = parts_.size();
  exchange_->on_gone([weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->feed_.cancel();
  });
  exchange_->on_shutdown([weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->shut_down();
  });
  if (body_.streams && service_->options().ping_ns > 0)
    exchange_->on_quiet(service_->options().ping_ns, [weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->ping();
    });
  try {
    feed_.start([this](size_t part) { return ask(part); });
  } catch (...) {
    done_ = true;
    feed_.cancel();
    throw;
  }
  drain();
}

uint64_t Generation::ask(size_t part) {
  return service_->engine().generate(message_of(part),
                                     [self = shared_from_this(), part](fleet::Event event) {
                                       self->receive(part, std::move(event));
                                     });
}

void Generation::receive(size_t part, fleet::Event event) {
  {
    const std::lock_guard lock(mutex_);
    inbox_.emplace_back(part, std::move(event));
    if (draining_) return;
    draining_ = true;
  }
  service_->writer().post([self = shared_from_this()] { self->drain(); });
}

// A stream that waits, in the queue or for its prompt, says that it is alive: what stands between a
// client and this server takes silence for death after a minute or so. From the first such comment
// on a failure is the stream's last event; until then it has a status.
void Generation::ping() { wake(&wants_ping_); }

// Its client is told, and does not take what it has for the whole answer.
void Generation::shut_down() { wake(&wants_end_); }

void Generation::wake(bool* wish) {
  {
    const std::lock_guard lock(mutex_);
    *wish = true;
    if (draining_) return;
    draining_ = true;
  }
  service_->writer().post([self = shared_from_this()] { self->drain(); });
}

void Generation::drain() {
  for (;;) {
    std::vector<std::pair<size_t, fleet::Event>> events;
    bool pings = false, ends = false;
    {
      const std::lock_guard lock(mutex_);
      events.swap(inbox_);
      pings = std::exchange(wants_ping_, false);
      ends = std::exchange(wants_end_, false);
      draining_ = !events.empty() || pings || ends;
      if (!draining_) return;
    }
    try {
      if (pings && events.empty() && !done_) write(": keep-alive\n\n");
      for (const auto& [part, event] : events) take(part, event);
      if (ends) fail(cut_by_shutdown());
    } catch (const std::exception& error) {
      log_error("an answer failed: {} (request {})", error.what(), exchange_->request().request_id);
      fail(Error(ErrorKind::kInternal, error.what()));
    }
  }
}

void Generation::take(size_t index, const fleet::Event& event) {
  AnsweredPart& part = parts_[index];
  if (done_) return;
  if (event.error) return fail(*event.error);
  if (event.finish == engine::FinishReason::kCancelled && feed_.is_cancelled()) {
    done_ = true;  // the client has gone: there is nobody to tell
    return;
  }
  if (event.finish == engine::FinishReason::kCancelled)
    return fail(Error(ErrorKind::kCommunication, "the answer was cancelled"));
  apply_event(event, &part);
  if (body_.streams) {
    std::string text = writer_->chunks(index, part, event);
    if (!text.empty()) write(std::move(text));
  }
  if (!event.ended || done_) return;
  if (--num_open_ == 0) return finish();
  try {
    feed_.answered(index);
  } catch (const Error& error) {
    fail(error);
  }
}

void Generation::write(std::string text) {
  if (!streaming_)
    exchange_->begin_stream(200, "text/event-stream; charset=utf-8",
                            {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}});
  streaming_ = true;
  if (exchange_->write(std::move(text))) return;
  done_ = true;
  feed_.cancel();
}

// Places are left before the last word is said: who asks again at once finds room.
void Generation::fail(const Error& error) {
  if (done_) return;
  done_ = true;
  const ErrorObject object = object_of(error);
  if (object.status >= 500)
    log_error("{} (request {})", error.what(), exchange_->request().request_id);
  feed_.leave();
  if (streaming_) {
    exchange_->write(writer_->failure(object));
    exchange_->end_stream();
  } else {
    respond_error(*exchange_, object);
  }
  feed_.cancel();
}

void Generation::refuse(const ErrorObject& error, HttpHeaders headers) {
  if (error.status >= 500)
    log_error("{} (request {})", error.message, exchange_->request().request_id);
  feed_.leave();
  respond_error(*exchange_, error, std::move(headers));
}

void Generation::finish() {
  done_ = true;
  feed_.leave();
  if (!body_.streams) {
    // Nobody's stream waits for the JSON of a long answer.
    const auto write_whole = [self = shared_from_this()] {
      respond_or_refuse(*self->exchange_, [&] {
        self->exchange_->respond(200, "application/json", self->writer_->whole(self->parts_));
      });
    };
    is_long() ? service_->pool().post(write_whole) : write_whole();
  } else {
    done_ = false;
    write(writer_->end());
    if (!done_) exchange_->end_stream();
    done_ = true;
  }
}

bool Generation::is_long() const {
  const engine::SamplingParams& p = body_.sampling;
  int64_t count = 0;
  for (const AnsweredPart& part : parts_) {
    count += engine::logprobs_of_position(p.prompt_logprobs) * part.state.num_prompt_tokens;
    for (const engine::Choice& choice : part.state.choices)
      count += (1 + engine::logprobs_of_position(p.logprobs)) * std::ssize(choice.token_ids);
  }
  return count > kLongAnswer;
}

void add_generation_routes(Router* router, const ServiceRef& owner) {
  const auto add = [&](const char* path, bool is_chat) {
    router->add("POST", path,
                pooled(owner, [is_chat](const auto& service, const auto& exchange, auto place) {
                  std::make_shared<Generation>(service, exchange, std::move(place))->start(is_chat);
                }));
  };
  add("/v1/chat/completions", true);
  add("/v1/completions", false);
}

}  // namespace weft::serve
