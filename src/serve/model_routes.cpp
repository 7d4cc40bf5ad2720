// GET /v1/models and /v1/models/{id}, in vLLM's shape, and GET /openapi.json.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "serve/answer_json.h"
#include "serve/openai_service.h"
#include "serve/openapi_document.h"
#include "serve/request_error.h"

namespace weft::serve {
namespace {

constexpr std::string_view kPrefix = "/v1/models/";

Json model_json(const OpenAiService& service, const std::string& name) {
  const fleet::ModelCard& card = service.engine().card();
  return {{"id", name},
          {"object", "model"},
          {"created", service.started()},
          {"owned_by", "weft"},
          {"root", name},
          {"parent", nullptr},
          {"max_model_len", card.limits.max_model_len},
          {"system_fingerprint", card.fingerprint}};
}

void list_models(const OpenAiService& service, Exchange& exchange) {
  Json data = Json::array();
  for (const std::string& name : service.model_names()) data.push_back(model_json(service, name));
  exchange.respond(200, "application/json", dump({{"object", "list"}, {"data", std::move(data)}}));
}

void show_model(const OpenAiService& service, Exchange& exchange) {
  const std::string name = exchange.request().path.substr(kPrefix.size());
  service.check_model(name);
  exchange.respond(200, "application/json", dump(model_json(service, name)));
}

}  // namespace

void add_model_routes(Router* router, const ServiceRef& owner) {
  router->add("GET", "/v1/models", [owner](const std::shared_ptr<Exchange>& exchange) {
    list_models(*owner->service, *exchange);
  });
  router->add("GET", "/openapi.json", [](const std::shared_ptr<Exchange>& exchange) {
    exchange->respond(200, "application/json", std::string(openapi_document()));
  });
  router->add("GET", "/v1/models/{id*}", [owner](const std::shared_ptr<Exchange>& exchange) {
    respond_or_refuse(*exchange, [&] { show_model(*owner->service, *exchange); });
  });
}

}  // namespace weft::serve
