// Names of requests: a client's own X-Request-Id where it is fit to print, otherwise one drawn.
#pragma once

#include <string>
#include <string_view>

namespace weft::serve {

// wanted: as the client sent it. Visible ASCII without quotes, 128 characters at most.
std::string request_id(std::string_view wanted);

}  // namespace weft::serve
