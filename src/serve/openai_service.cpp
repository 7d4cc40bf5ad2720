#include "serve/openai_service.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <random>

#include "base/log.h"
#include "base/random.h"
#include "serve/request_error.h"

namespace weft::serve {
namespace {

uint64_t draw_bits() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

// What an encoded text begins with, where that is a special token.
std::string first_token(const text::Tokenizer& tokenizer) {
  const std::vector<int32_t> ids = tokenizer.encode("", true, false);
  return ids.empty() || !tokenizer.is_special(ids[0]) ? "" : tokenizer.piece(ids[0], true);
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return result;
}

// What its body is said to be, in lower case, without parameters: "application/json".
std::string media_type(const HttpRequest& request) {
  std::string_view type = request.header("content-type");
  type = type.substr(0, type.find(';'));
  while (!type.empty() && (type.back() == ' ' || type.back() == '\t')) type.remove_suffix(1);
  return lower(type);
}

// gzip and the like: what is said to be no encoding is none.
bool is_encoded(const HttpRequest& request) {
  const std::string coding = lower(request.header("content-encoding"));
  return !coding.empty() && coding != "identity";
}

// JSON, nothing at all, or what clients say whose users said nothing (curl -d, fetch, sockets). The
// rest is plainly something else: a file that was uploaded, a form with parts.
bool may_be_json(std::string_view media_type) {
  constexpr std::array<std::string_view, 4> kUnsaid{"", "application/x-www-form-urlencoded",
                                                    "text/plain", "application/octet-stream"};
  return media_type.find("json") != std::string_view::npos ||
         std::ranges::find(kUnsaid, media_type) != kUnsaid.end();
}

std::string name_of(const fleet::ModelCard& card) {
  return card.name.empty() ? card.report.name : card.name;
}

}  // namespace

int64_t unix_time() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

RequestError cut_by_shutdown() {
  return {"the server is shutting down before the answer's end",
          {.code = "shutting_down", .status = 503}};
}

int32_t granted_priority(const Principal& principal, int32_t asked) {
  const bool has_key = principal.cache_salt != 0;  // no key has 0 (serve/access.h)
  const int64_t sum = int64_t{principal.priority} + (has_key ? std::max(asked, 0) : asked);
  return static_cast<int32_t>(std::clamp<int64_t>(sum, INT32_MIN, INT32_MAX));
}

OpenAiService::OpenAiService(std::shared_ptr<fleet::EngineClient> engine, Admission* admission,
                             OpenAiOptions options)
    : engine_(std::move(engine)),
      admission_(admission),
      options_(std::move(options)),
      started_(unix_time()),
      seed_(draw_bits()),
      pool_(options_.num_threads, options_.most_waiting),
      writer_(/*num_threads=*/1, /*most_waiting=*/0) {
  if (options_.model_names.empty()) options_.model_names.push_back(name_of(engine_->card()));
  if (options_.chat_template.empty()) return;
  chat_template_ =
      text::ChatTemplate::compile(options_.chat_template, first_token(engine_->tokenizer()), "");
}

void OpenAiService::close() {
  pool_.stop();
  writer_.stop();
  engine_.reset();
}

const text::ChatTemplate* OpenAiService::chat_template() const {
  return chat_template_ ? chat_template_.get() : engine_->chat_template();
}

PromptSource OpenAiService::prompt_source() const {
  return {engine_->tokenizer(), chat_template(), engine_->card().limits.max_model_len};
}

const text::ChatProfile& OpenAiService::chat_profile() const {
  std::call_once(is_probed_, [this] {
    chat_profile_ = text::probe_chat(chat_template(), engine_->tokenizer());
    const ParserNames& named = options_.parsers;
    // vLLM has one name for both of Mistral's formats; which one it is the template says.
    const bool is_known = named.tools == text::ToolFormat::kMistral &&
                          chat_profile_.tools == text::ToolFormat::kMistralNamed;
    if (named.tools && !is_known) chat_profile_.tools = named.tools;
    if (named.reasoning) chat_profile_.reasoning = named.reasoning;
  });
  return chat_profile_;
}

void OpenAiService::show_tools(const ChatTools& tools, RequestBody* body) const {
  if (tools.may_call() && chat_template() == nullptr)
    throw RequestError(
        "tools: this model has no chat template to show them in",
        {.param = "tools", .why = "--chat-template names one at the server's start"});
  const bool has_calls = body->messages.find("\"tool") != std::string::npos;
  if (tools.tools.empty() && !has_calls) return;
  ChatInput input = chat_input(tools, chat_profile(), body->messages, body->template_variables);
  body->messages = std::move(input.messages);
  body->template_variables = std::move(input.variables);
}

void OpenAiService::check_model(const std::string& name) const {
  const std::vector<std::string>& names = options_.model_names;
  if (name.empty() || std::find(names.begin(), names.end(), name) != names.end()) return;
  throw RequestError(
      fmt::format("the model '{}' does not exist; '{}' is served", name.substr(0, 200), names[0]),
      {.param = "model", .code = "model_not_found", .status = 404});
}

std::optional<Admission::Ticket> OpenAiService::enter(int64_t num_answers,
                                                      Admission::Refusal* refusal) {
  // Of more than there ever are, all are asked for: the refusal is for good then.
  const int64_t most = admission_->limits().max_answers;
  return admission_->enter(most > 0 && num_answers > most ? num_answers : num_answers - 1, refusal);
}

uint64_t OpenAiService::draw_seed() { return uniform_bits(seed_, num_seeds_.fetch_add(1), 0); }

void respond_or_refuse(Exchange& exchange, const std::function<void()>& work,
                       const nlohmann::json* body) {
  try {
    return work();
  } catch (const Error& error) {
    const ErrorObject object = error_object(error, body);
    if (object.status >= 500)
      log_error("{} (request {})", error.what(), exchange.request().request_id);
    return respond_error(exchange, object);
  } catch (const std::exception& error) {
    log_error("a route failed: {} (request {})", error.what(), exchange.request().request_id);
  }
  respond_error(exchange, internal_error());
}

Route pooled(ServiceRef owner, PooledWork work) {
  return [owner = std::move(owner), work = std::move(work)](std::shared_ptr<Exchange> exchange) {
    const std::shared_ptr<OpenAiService>& service = owner->service;
    const HttpRequest& request = exchange->request();
    if (const std::string type = media_type(request);
        request.method == "POST" && !may_be_json(type))
      return respond_error(*exchange,
                           {415,
                            fmt::format("the body is said to be {}; application/json is read here",
                                        type.substr(0, 64)),
                            "", "", "unsupported_media_type"});
    if (is_encoded(request))
      return respond_error(*exchange,
                           {415, "the body is compressed; it is read as it is here", "", "",
                            "unsupported_media_type"},
                           {{"Accept-Encoding", "identity"}});
    Admission::Refusal refusal;
    std::optional<Admission::Ticket> place = service->admission().enter(1, &refusal);
    if (!place) return respond_error(*exchange, refusal.error, std::move(refusal.headers));
    std::shared_ptr<Admission::Ticket> ticket =
        std::make_shared<Admission::Ticket>(std::move(*place));
    // The task holds the service and not its owner, so that it never is what ends it.
    const bool taken = service->pool().try_post([service, exchange, work, ticket]() mutable {
      if (exchange->is_gone()) return;
      respond_or_refuse(*exchange, [&] { work(service, exchange, std::move(ticket)); });
    });
    ticket.reset();
    if (!taken)
      respond_error(*exchange, {503, "too many requests wait to be read", "", "", "overloaded"},
                    retry_headers(1));
  };
}

void add_openai_routes(Router* router, std::shared_ptr<fleet::EngineClient> engine,
                       Admission* admission, OpenAiOptions options) {
  const auto owner = std::make_shared<const ServiceOwner>(
      std::make_shared<OpenAiService>(std::move(engine), admission, std::move(options)));
  add_generation_routes(router, owner);
  add_model_routes(router, owner);
  add_token_routes(router, owner);
  add_embedding_routes(router, owner);
  add_response_routes(router, owner);
}

}  // namespace weft::serve
