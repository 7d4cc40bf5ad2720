#include "serve/exchange.h"

namespace weft::serve {
namespace {

std::string_view find(const HttpHeaders& pairs, std::string_view wanted) {
  for (const auto& [name, value] : pairs)
    if (name == wanted) return value;
  return {};
}

}  // namespace

std::string_view HttpRequest::header(std::string_view lower_case_name) const {
  return find(headers, lower_case_name);
}

std::string_view HttpRequest::path_param(std::string_view name) const {
  return find(path_params, name);
}

}  // namespace weft::serve
