// src/serve/openapi.json: the routes, what they take and what they answer, in OpenAPI 3.1.
#pragma once

#include <string_view>

namespace weft::serve {

std::string_view openapi_document();

}  // namespace weft::serve
