#include "serve/request_error.h"

#include <fmt/format.h>

#include <cctype>
#include <nlohmann/json.hpp>

namespace weft::serve {
namespace {

using nlohmann::json;

bool is_name_character(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }

// Where `name` stands in the text as a word of its own.
size_t find_word(std::string_view text, std::string_view name) {
  if (name.empty()) return std::string_view::npos;
  for (size_t at = text.find(name); at != std::string_view::npos; at = text.find(name, at + 1)) {
    const size_t end = at + name.size();
    const bool begins = at == 0 || !is_name_character(text[at - 1]);
    if (begins && (end == text.size() || !is_name_character(text[end]))) return at;
  }
  return std::string_view::npos;
}

std::string param_in(std::string_view text, const json* body) {
  if (body == nullptr || !body->is_object()) return "";
  std::string param;
  size_t first = std::string_view::npos;
  for (const auto& [name, value] : body->items()) {
    const size_t at = find_word(text, name);
    if (at < first) {
      first = at;
      param = name;
    }
  }
  return param;
}

std::string sentence(const Error& error) {
  return error.why().empty() ? error.summary()
                             : fmt::format("{} ({})", error.summary(), error.why());
}

}  // namespace

RequestError::RequestError(std::string_view what, Details details)
    : Error(ErrorKind::kUsage, what, details.why), details_(std::move(details)) {}

ErrorObject error_object(const Error& error, const json* body) {
  if (const auto* refusal = dynamic_cast<const RequestError*>(&error))
    return {refusal->status(), sentence(error), "", refusal->param(), refusal->code()};
  switch (error.kind()) {
    case ErrorKind::kUsage:
    case ErrorKind::kMemory:  // a prompt that the cache cannot hold
    case ErrorKind::kModel:   // a conversation that the template refuses
      return {400, sentence(error), "", param_in(error.summary(), body), "invalid_value"};
    case ErrorKind::kCommunication:
      return {503, "the engine is not available", "", "", "engine_unavailable"};
    case ErrorKind::kBusy:
      return {503, sentence(error), "", "", "overloaded"};
    case ErrorKind::kInternal:
      break;
  }
  return internal_error();
}

ErrorObject internal_error() {
  return {500, "the server failed to answer this request; its log says why", "", "",
          "internal_error"};
}

}  // namespace weft::serve
