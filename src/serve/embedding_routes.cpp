// POST /v1/embeddings. The vectors are those of the loaded model, pooled over the prompt; "pooling"
// chooses how.
#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <mutex>
#include <nlohmann/json.hpp>

#include "serve/answer_json.h"
#include "serve/embedding_body.h"
#include "serve/openai_service.h"
#include "serve/prompt_feed.h"
#include "serve/request_error.h"

namespace weft::serve {
namespace {

static_assert(std::endian::native == std::endian::little, "base64 holds little-endian numbers");

constexpr std::string_view kDigits =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

// The first `dimensions` numbers, of length 1 again where the whole was: OpenAI's rule.
std::vector<float> cut(std::vector<float> values, const EmbeddingBody& body) {
  if (body.dimensions == 0 || static_cast<size_t>(body.dimensions) >= values.size()) return values;
  values.resize(static_cast<size_t>(body.dimensions));
  if (!body.normalize) return values;
  double sum = 0;
  for (const float value : values) sum += double{value} * value;
  const auto scale = static_cast<float>(sum > 0 ? 1 / std::sqrt(sum) : 1);
  for (float& value : values) value *= scale;
  return values;
}

std::string base64_of(std::string_view bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t at = 0; at < bytes.size(); at += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - at);
    uint32_t word = 0;
    for (size_t i = 0; i < 3; ++i)
      word = word << 8 | (i < count ? static_cast<unsigned char>(bytes[at + i]) : 0u);
    for (size_t i = 0; i < 4; ++i) text += i <= count ? kDigits[word >> (18 - 6 * i) & 63] : '=';
  }
  return text;
}

// Vectors whose JSON takes no time that a stream would notice.
constexpr size_t kMostWrittenAtOnce = 16;

Json vector_json(const std::vector<float>& values, bool base64) {
  if (!base64) return values;
  return base64_of({reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)});
}

// The embeddings of one body, as they come.
class Embedding : public std::enable_shared_from_this<Embedding> {
 public:
  Embedding(std::shared_ptr<OpenAiService> service, std::shared_ptr<Exchange> exchange,
            std::shared_ptr<Admission::Ticket> place)
      : service_(std::move(service)),
        exchange_(std::move(exchange)),
        feed_(service_, std::move(place)) {}

  void start() {
    const nlohmann::json json = parse_json(exchange_->request().body, "the body");
    const Fields fields(json, "");
    body_ = read_embedding(fields, service_->engine().card().report.hidden_size);
    service_->check_model(body_.model);
    Admission::Refusal refusal;
    bool has_place = feed_.enter(/*num_choices=*/1, &refusal);
    if (has_place) prompts_ = encode();
    std::vector<int64_t> costs;
    for (const std::vector<int32_t>& ids : prompts_)
      costs.push_back(static_cast<int64_t>(ids.size()));
    has_place = has_place && feed_.charge(std::move(costs), &refusal, "input");
    if (!has_place) return respond_error(*exchange_, refusal.error, std::move(refusal.headers));
    exchange_->release_body();
    submit();
  }

 private:
  std::vector<std::vector<int32_t>> encode() const {
    const PromptSource source = service_->prompt_source();
    const int64_t most = body_.truncate_prompt_tokens == kTruncateToContext
                             ? source.max_model_len
                             : body_.truncate_prompt_tokens;
    std::vector<std::vector<int32_t>> prompts;
    for (const Prompt& input : body_.inputs) {
      const std::string* text = std::get_if<std::string>(&input);
      prompts.push_back(text == nullptr ? std::get<std::vector<int32_t>>(input)
                                        : encode_prompt(*text, true, source, "input"));
      std::vector<int32_t>& ids = prompts.back();
      keep_last(most, &ids);
      if (ids.empty()) throw RequestError("input holds an empty text", {.param = "input"});
      if (static_cast<int64_t>(ids.size()) > source.max_model_len)
        throw RequestError(fmt::format("an input has {} tokens; the context holds {}", ids.size(),
                                       source.max_model_len),
                           {.param = "input", .code = "context_length_exceeded"});
      check_prompt_ids(ids, service_->engine().card().limits, "input");
    }
    return prompts;
  }

  void submit() {
    results_.resize(prompts_.size());
    num_open_ = prompts_.size();
    exchange_->on_gone([weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->feed_.cancel();
    });
    exchange_->on_shutdown([weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->shut_down();
    });
    feed([this] { feed_.start([this](size_t index) { return ask(index); }); });
  }

  uint64_t ask(size_t index) {
    return service_->engine().embed(message_of(std::move(prompts_[index])),
                                    [self = shared_from_this(), index](fleet::Embedding embedding) {
                                      self->receive(index, std::move(embedding));
                                    });
  }

  // An engine's refusal is the answer.
  template <typename Work>
  void feed(Work work) {
    try {
      work();
    } catch (...) {
      const bool was_done = end();
      feed_.leave();
      feed_.cancel();
      if (!was_done) throw;
    }
  }

  fleet::Embed message_of(std::vector<int32_t> prompt_ids) const {
    const Principal& principal = exchange_->request().principal;
    fleet::Embed message;
    message.request_id = exchange_->request().request_id;
    message.principal = principal.name;
    message.prompt_ids = std::move(prompt_ids);
    message.pooling = body_.pooling;
    message.normalize = body_.normalize;
    message.priority = granted_priority(principal, body_.priority);
    message.cache_salt = principal.cache_salt;
    return message;
  }

  // The engine's thread.
  void receive(size_t index, fleet::Embedding embedding) {
    bool is_last = false;
    {
      const std::lock_guard lock(mutex_);
      if (done_) return;
      is_last = embedding.error || --num_open_ == 0;
      results_[index] = std::move(embedding);
      done_ = is_last;
    }
    // No stream waits for the JSON of many vectors.
    const bool is_long = is_last && results_.size() > kMostWrittenAtOnce;
    TaskPool& threads = is_long ? service_->pool() : service_->writer();
    threads.post([self = shared_from_this(), index, is_last] {
      respond_or_refuse(*self->exchange_, [&] { self->go_on(index, is_last); });
    });
  }

  // Any thread: the server ends.
  void shut_down() {
    if (end()) return;
    service_->writer().post([self = shared_from_this()] {
      self->feed_.leave();
      respond_error(*self->exchange_, error_object(cut_by_shutdown()));
      self->feed_.cancel();
    });
  }

  // The threads of the pools.
  void go_on(size_t index, bool is_last) {
    if (is_last) return finish();
    feed([&] { feed_.answered(index); });
  }

  // Whether it had ended before.
  bool end() {
    const std::lock_guard lock(mutex_);
    return std::exchange(done_, true);
  }

  void finish() {
    feed_.leave();
    if (exchange_->is_gone()) return;
    Json data = Json::array();
    int64_t num_tokens = 0;
    for (const fleet::Embedding& result : results_) {
      if (!result.error) continue;
      feed_.cancel();  // the others
      throw Error(*result.error);
    }
    for (fleet::Embedding& result : results_) {
      num_tokens += result.num_prompt_tokens;
      data.push_back(
          {{"object", "embedding"},
           {"index", data.size()},
           {"embedding", vector_json(cut(std::move(result.values), body_), body_.base64)}});
    }
    const std::string& model = body_.model.empty() ? service_->model_names().front() : body_.model;
    exchange_->respond(
        200, "application/json",
        dump({{"object", "list"},
              {"data", std::move(data)},
              {"model", model},
              {"usage", {{"prompt_tokens", num_tokens}, {"total_tokens", num_tokens}}}}));
  }

  std::shared_ptr<OpenAiService> service_;
  std::shared_ptr<Exchange> exchange_;
  PromptFeed feed_;
  EmbeddingBody body_;
  std::vector<std::vector<int32_t>> prompts_;  // until the engine is asked
  std::mutex mutex_;                           // of what follows
  std::vector<fleet::Embedding> results_;
  size_t num_open_ = 0;
  bool done_ = false;
};

}  // namespace

void add_embedding_routes(Router* router, const ServiceRef& owner) {
  router->add("POST", "/v1/embeddings",
              pooled(owner, [](const auto& service, const auto& exchange, auto place) {
                std::make_shared<Embedding>(service, exchange, std::move(place))->start();
              }));
}

}  // namespace weft::serve
