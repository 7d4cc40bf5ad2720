// POST /v1/responses, GET and DELETE /v1/responses/{id}, GET /v1/responses/{id}/input_items.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "serve/answer_json.h"
#include "serve/generation.h"
#include "serve/openai_service.h"
#include "serve/request_error.h"
#include "serve/request_fields.h"
#include "serve/response_store.h"
#include "serve/response_writer.h"

namespace weft::serve {
namespace {

constexpr std::string_view kPath = "/v1/responses/";

using Store = std::shared_ptr<ResponseStore>;

// Of the path behind kPath, without what may follow the id.
std::string id_in(const HttpRequest& request) {
  const std::string rest = request.path.substr(std::min(kPath.size(), request.path.size()));
  return rest.substr(0, rest.find('/'));
}

StoredResponse find_or_refuse(const ResponseStore& store, const HttpRequest& request) {
  const std::string id = id_in(request);
  std::optional<StoredResponse> found = store.find(id, request.principal.name);
  if (found) return std::move(*found);
  throw RequestError(fmt::format("there is no response '{}'", id.substr(0, 64)),
                     {.code = "response_not_found",
                      .status = 404,
                      .why = "it was not stored, was deleted, or had to make room for newer ones"});
}

void create(const Store& store, const std::shared_ptr<OpenAiService>& service,
            const std::shared_ptr<Exchange>& exchange, std::shared_ptr<Admission::Ticket> place) {
  const HttpRequest& http = exchange->request();
  const std::string owner = http.principal.name;
  ResponseRequest request =
      read_response(http.body, [&](const std::string& id) -> std::optional<std::string> {
        std::optional<StoredResponse> found = store->find(id, owner);
        if (!found) return {};
        return std::move(found->messages);
      });
  // Drawn, not the request's id: that is the client's word, and ids of responses are looked up.
  const std::string id =
      fmt::format("resp_{:016x}{:016x}", service->draw_seed(), service->draw_seed());
  KeepResponse keep;
  if (request.store) {
    keep = [store, id, owner, input = dump(request.input)](const std::string& object,
                                                           const std::string& messages) {
      return store->put(id, {owner, object, messages, input});
    };
  }
  Generation::Dialect dialect{.body = request.chat_body, .id = id};
  dialect.retell = retell_of_response;
  dialect.make_writer = [request = std::move(request), keep = std::move(keep)](
                            const AnswerHead& head, const AnswerFormat& format,
                            const text::AnswerFormat& parser) {
    return make_response_writer(head, format, parser, request, keep);
  };
  std::make_shared<Generation>(service, exchange, std::move(place))->start_as(std::move(dialect));
}

// A route that looks something up: no work of the pool's.
template <typename Work>
Route looking_up(Store store, Work work) {
  return [store = std::move(store), work](std::shared_ptr<Exchange> exchange) {
    respond_or_refuse(*exchange, [&] {
      exchange->respond(200, "application/json", work(*store, exchange->request()));
    });
  };
}

std::string input_items(const StoredResponse& response) {
  Json items = Json::parse(response.input);
  for (size_t i = 0; i < items.size(); ++i) {
    if (!items[i].contains("id")) items[i]["id"] = fmt::format("item_{}", i);
    if (!items[i].contains("type")) items[i]["type"] = "message";
    if (items[i].contains("content") && items[i]["content"].is_string())
      items[i]["content"] = Json::array({{{"type", "input_text"}, {"text", items[i]["content"]}}});
  }
  const Json none;
  return dump({{"object", "list"},
               {"data", items},
               {"first_id", items.empty() ? none : items.front()["id"]},
               {"last_id", items.empty() ? none : items.back()["id"]},
               {"has_more", false}});
}

}  // namespace

void add_response_routes(Router* router, const ServiceRef& owner) {
  const auto store = std::make_shared<ResponseStore>();
  router->add("POST", "/v1/responses",
              pooled(owner, [store](const auto& service, const auto& exchange, auto place) {
                create(store, service, exchange, std::move(place));
              }));
  router->add("GET", "/v1/responses/{id}",
              looking_up(store, [](const ResponseStore& kept, const HttpRequest& request) {
                if (request.query.find("stream=true") != std::string::npos)
                  throw RequestError("stream: a stored response is told as a whole",
                                     {.param = "stream"});
                return find_or_refuse(kept, request).object;
              }));
  // Its items are parsed: not the network's work.
  router->add("GET", "/v1/responses/{id}/input_items",
              pooled(owner, [store](const auto&, const auto& exchange, auto) {
                exchange->respond(200, "application/json",
                                  input_items(find_or_refuse(*store, exchange->request())));
              }));
  router->add("DELETE", "/v1/responses/{id}",
              looking_up(store, [](ResponseStore& kept, const HttpRequest& request) {
                find_or_refuse(kept, request);
                kept.erase(id_in(request), request.principal.name);
                return dump({{"id", id_in(request)}, {"object", "response"}, {"deleted", true}});
              }));
}

}  // namespace weft::serve
